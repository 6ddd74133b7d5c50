/** Refusals as an agent sees them: fixed text from the code table, never a cause, a header value or an upstream's words. */
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { ERROR_TABLE, type SidekeyError } from "../../core/errors.ts";

export interface Refusal {
  readonly status: number;
  /** Flat, without Content-Length. */
  readonly headers: string[];
  readonly body: Buffer;
}

export const createRefusal = ({ code, retryAfter }: SidekeyError, requestId: string): Refusal => {
  const entry = ERROR_TABLE[code];
  const body = Buffer.from(
    `${JSON.stringify({ error: { code, message: entry.message, request_id: requestId, hint: entry.hint } })}\n`,
  );
  const headers = ["content-type", "application/json", "x-sidekey-error", code];
  const wait = retryAfter ?? ("retryAfter" in entry ? entry.retryAfter : undefined);
  if (wait !== undefined) headers.push("retry-after", String(wait));
  if (entry.status === 405) headers.push("allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
  return { status: entry.status, headers, body };
};

/** For as long a client may take to read the refusal and close its side. `ms` */
const LINGER_MS = 500;

/** Writes the refusal on a socket that has no response object (CONNECT, unparsable requests) and ends it. */
export const refuseOnSocket = (socket: Socket, error: SidekeyError, requestId: string): void => {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, body } = createRefusal(error, requestId);
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Refused"}\r\nconnection: close\r\ncontent-length: ${body.length}\r\n`;
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  socket.end(Buffer.concat([Buffer.from(`${head}\r\n`, "latin1"), body]));
  // Closed at once with something unread in it, the connection would be reset under the refusal (RFC 9112 section 9.6).
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("close", () => clearTimeout(timer));
};
