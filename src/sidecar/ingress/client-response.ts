/** The agent's side of an exchange, on a node:http response. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import type { SidekeyError } from "../../core/errors.ts";
import type { ClientResponse } from "../pipeline/messages.ts";
import type { ConnectionKind } from "./connection.ts";
import { createRefusal } from "./reply.ts";

/** An unread body up to this size is drained to keep the connection; behind a larger one it is closed. `bytes` */
const DRAIN_LIMIT = 64 * 1024;

const LINGER_MS = 500;
const LINGER_BYTES = 1024 * 1024;

export class NodeClientResponse implements ClientResponse {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  /** It was not told yet to go on. */
  #expectsContinue: boolean;
  readonly #isGateway: boolean;
  #bodyless = false;
  #headAlone: NodeJS.Immediate | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue = false,
    way: ConnectionKind["way"] = "forward",
  ) {
    this.#request = request;
    this.#response = response;
    this.#expectsContinue = expectsContinue;
    this.#isGateway = way === "gateway";
    response.sendDate = false;
  }

  get started(): boolean {
    return this.#response.headersSent;
  }

  get open(): boolean {
    return !this.#response.destroyed && !this.#request.socket.destroyed;
  }

  continue(): void {
    if (!this.#expectsContinue) return;
    this.#expectsContinue = false;
    this.#response.writeContinue();
  }

  head(status: number, headers: string[], length: number | undefined): void {
    // RFC 9110 sections 6.4.1 and 8.6: these never have a body, whatever their headers say.
    this.#bodyless = this.#request.method === "HEAD" || status === 204 || status === 304;
    if (length !== undefined && status !== 204) headers.push("content-length", String(length));
    this.#response.writeHead(status, this.#isGateway ? withoutCors(headers) : headers);
    // Node keeps it back until the first of the body, which may be minutes away, or wait for what the agent does next.
    // In the same turn of the loop the two leave together.
    this.#headAlone = setImmediate(() => {
      if (!this.#response.destroyed) this.#response.flushHeaders();
    });
  }

  write(chunk: Buffer): boolean {
    clearImmediate(this.#headAlone);
    return this.#bodyless || this.#response.write(chunk);
  }

  end(): void {
    clearImmediate(this.#headAlone);
    if (!this.#request.complete) this.#response.once("finish", () => this.#linger());
    this.#response.end();
  }

  abort(): void {
    const { socket, httpVersionMinor } = this.#request;
    // HTTP/1.0 has no chunks: there the end of the connection ends a body, and only a reset says that it broke off. In
    // TLS that is what leaving out close_notify says. A unix socket has neither an address nor a reset.
    const isTcp = !(socket instanceof TLSSocket) && socket.remoteAddress !== undefined;
    if (httpVersionMinor === 0 && isTcp) socket.resetAndDestroy();
    else socket.destroy();
  }

  onClose(listener: () => void): void {
    this.#response.once("close", listener);
  }

  onDrain(listener: () => void): void {
    this.#response.once("drain", listener);
  }

  /** Answers with a coded refusal, or cuts the connection when an answer has already begun. */
  refuse(error: SidekeyError, requestId: string): void {
    if (this.#response.headersSent || this.#response.destroyed) {
      this.abort();
      return;
    }
    const { status, headers, body } = createRefusal(error, requestId);
    // Refused instead of told to go on, some agents send the body all the same and some the next request: only closing
    // leaves one reading of what comes (RFC 9110 section 10.1.1).
    if (error.code.startsWith("INGRESS_") || this.#expectsContinue || this.#unreadBodyIsLarge()) {
      headers.push("connection", "close");
    } else if (!this.#request.complete) this.#response.once("finish", () => this.#linger());
    this.#response.writeHead(status, headers);
    this.#response.end(body);
  }

  /**
   * Answered in the middle of its upload: closing at once would reset the connection under the answer (RFC 9112 section
   * 9.6), so a little of the rest is read and dropped first. An upload that ends meanwhile keeps the connection.
   */
  #linger(): void {
    const { socket } = this.#request;
    let dropped = 0;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    const stop = (): void => clearTimeout(timer);
    this.#request.once("end", stop).once("close", stop);
    this.#request.on("data", (chunk: Buffer) => {
      dropped += chunk.length;
      if (dropped > LINGER_BYTES) socket.destroy();
    });
    this.#request.resume();
  }

  #unreadBodyIsLarge(): boolean {
    if (this.#request.complete) return false;
    const length = Number(this.#request.headers["content-length"] ?? Number.NaN);
    return !(length <= DRAIN_LIMIT);
  }
}

/** The gateway has the address of a web server: no page may read its answers, whatever the upstream allows (ruling 20). */
const withoutCors = (headers: readonly string[]): string[] => {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!name.toLowerCase().startsWith("access-control-")) kept.push(name, headers[i + 1] as string);
  }
  return kept;
};
