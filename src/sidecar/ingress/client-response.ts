/** The agent's side of an exchange, on a node:http response. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { SidekeyError } from "../../core/errors.ts";
import type { ClientResponse } from "../pipeline/messages.ts";
import type { ConnectionKind } from "./connection.ts";
import { createRefusal } from "./reply.ts";

/** An unread body up to this size is drained to keep the connection; behind a larger one it is closed. `bytes` */
const DRAIN_LIMIT = 64 * 1024;

export class NodeClientResponse implements ClientResponse {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  readonly #isGateway: boolean;
  #bodyless = false;

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
    if (this.#expectsContinue) this.#response.writeContinue();
  }

  head(status: number, headers: string[], length: number | undefined): void {
    // RFC 9110 sections 6.4.1 and 8.6: these never have a body, whatever their headers say.
    this.#bodyless = this.#request.method === "HEAD" || status === 204 || status === 304;
    if (length !== undefined && status !== 204) headers.push("content-length", String(length));
    this.#response.writeHead(status, this.#isGateway ? withoutCors(headers) : headers);
  }

  write(chunk: Buffer): boolean {
    return this.#bodyless || this.#response.write(chunk);
  }

  end(): void {
    this.#response.end();
  }

  abort(): void {
    this.#request.socket.destroy();
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
    if (error.code.startsWith("INGRESS_") || this.#unreadBodyIsLarge()) headers.push("connection", "close");
    this.#response.writeHead(status, headers);
    this.#response.end(body);
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
