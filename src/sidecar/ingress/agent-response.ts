/**
 * The answer to one request of an agent, written as HTTP/1.1 by ourselves: what is said in one turn of the loop leaves
 * together at its end, and a head never waits for its body longer than that.
 */
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { SidekeyError } from "../../core/errors.ts";
import { atTurnEnd, type TurnEnd } from "../../core/turn-end.ts";
import type { ClientResponse } from "../pipeline/messages.ts";
import type { AgentRequest } from "./agent-request.ts";
import type { ConnectionKind } from "./connection-kind.ts";
import { createRefusal } from "./reply.ts";

/** What an answer needs of the connection it is for. */
export interface ResponseConnection {
  readonly socket: Socket;
  readonly kind: ConnectionKind;
  /** No request follows the one that is answered. */
  readonly endsHere: boolean;
  /** All of its body has come. */
  readonly isWhole: boolean;
  /** It is answered to its end, of which something may not be written yet. `closes`: as the last on this connection. */
  finished(closes: boolean): void;
  /** All of a finished answer is written. */
  sent(): void;
}

/** How long a connection is kept between two requests. `ms` */
export const KEEP_ALIVE_MS = 120_000;
/** An unread body up to this size is read to keep the connection; behind a larger one it is closed. `bytes` */
const DRAIN_LIMIT = 64 * 1024;
/** Pieces of less than this are joined, which costs less than what the system takes for each. `bytes` */
const JOIN_LIMIT = 32 * 1024;
/** More is not kept back. `bytes` */
const GATHER_LIMIT = 64 * 1024;

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const CLOSE = "connection: close\r\n\r\n";
/** The hint keeps clients from using a connection that is about to be closed. */
const KEEP_ALIVE = `connection: keep-alive\r\nkeep-alive: timeout=${KEEP_ALIVE_MS / 1000}\r\n\r\n`;

const STATUS_LINES = new Map<number, string>();
for (const [status, reason] of Object.entries(STATUS_CODES)) {
  STATUS_LINES.set(Number(status), `HTTP/1.1 ${status} ${reason}\r\n`);
}

/** Anything else could end a line. What comes here was judged before: a hit is a mistake of ours. */
const NO_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

export class AgentResponse implements ClientResponse, TurnEnd {
  readonly #connection: ResponseConnection;
  readonly #request: AgentRequest;
  /** It was not told yet to go on. */
  #expectsContinue: boolean;
  #isChunked = false;
  #isBodyless = false;
  #closes = false;
  #isStarted = false;
  #isOver = false;
  #pieces: (string | Buffer)[] = [];
  #bytes = 0;
  #onClose: (() => void) | undefined;

  constructor(connection: ResponseConnection, request: AgentRequest) {
    this.#connection = connection;
    this.#request = request;
    this.#expectsContinue = !(request.framing instanceof SidekeyError) && request.framing.expectsContinue;
  }

  get started(): boolean {
    return this.#isStarted;
  }

  /** Said to its end. */
  get over(): boolean {
    return this.#isOver;
  }

  /** Something that was said is not written yet. */
  get isWaiting(): boolean {
    return this.#pieces.length > 0;
  }

  get open(): boolean {
    return !this.#connection.socket.destroyed;
  }

  continue(): void {
    if (!this.#expectsContinue) return;
    this.#expectsContinue = false;
    this.#connection.socket.write(CONTINUE, "latin1");
  }

  head(status: number, headers: string[], length: number | undefined): void {
    const { method, minor } = this.#request.head;
    this.#closes ||= this.#connection.endsHere;
    // RFC 9110 sections 6.4.1 and 8.6: these never have a body, whatever their headers say.
    this.#isBodyless = method === "HEAD" || status === 204 || status === 304;
    let head = STATUS_LINES.get(status) ?? `HTTP/1.1 ${status} unknown\r\n`;
    const isGateway = this.#connection.kind.way === "gateway";
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string;
      const value = headers[i + 1] as string;
      if (NO_VALUE.test(value))
        throw new SidekeyError("UPSTREAM_BAD_RESPONSE", { detail: "a header that can't be sent" });
      if (isGateway && isCors(name)) continue;
      head += `${name}: ${value}\r\n`;
    }
    if (length !== undefined) {
      if (status !== 204) head += `content-length: ${length}\r\n`;
    } else if (!this.#isBodyless && minor === 1) {
      this.#isChunked = true;
      head += "transfer-encoding: chunked\r\n";
    }
    this.#isStarted = true;
    this.#add(head + (this.#closes ? CLOSE : KEEP_ALIVE));
  }

  write(chunk: Buffer): boolean {
    if (this.#isBodyless || chunk.length === 0) return true;
    if (this.#isChunked) {
      this.#add(`${chunk.length.toString(16)}\r\n`);
      this.#add(chunk);
      this.#add("\r\n");
    } else this.#add(chunk);
    if (this.#bytes >= GATHER_LIMIT) this.flush();
    return !this.#connection.socket.writableNeedDrain;
  }

  end(): void {
    if (this.#isChunked) this.#add("0\r\n\r\n");
    this.#isOver = true;
    this.#connection.finished(this.#closes);
  }

  abort(): void {
    const { socket } = this.#connection;
    this.flush();
    // HTTP/1.0 has no chunks: there the end of the connection ends a body, and only a reset says that it broke off. In
    // TLS that is what leaving out close_notify says. A unix socket has neither an address nor a reset.
    const isTcp = !(socket instanceof TLSSocket) && socket.remoteAddress !== undefined;
    if (this.#request.head.minor === 0 && isTcp) socket.resetAndDestroy();
    else socket.destroy();
  }

  onClose(listener: () => void): void {
    this.#onClose = listener;
  }

  /** The agent has gone. */
  left(): void {
    if (!this.#isOver) this.#onClose?.();
  }

  onDrain(listener: () => void): void {
    this.#connection.socket.once("drain", listener);
  }

  /** Answers with a coded refusal, or cuts the connection when an answer has already begun. */
  refuse(error: SidekeyError, requestId: string): void {
    if (this.#isStarted || !this.open) {
      this.abort();
      return;
    }
    const { status, headers, body } = createRefusal(error, requestId);
    // Refused instead of told to go on, some agents send the body all the same and some the next request: only closing
    // leaves one reading of what comes (RFC 9110 section 10.1.1).
    this.#closes = error.code.startsWith("INGRESS_") || this.#expectsContinue || this.#unreadBodyIsLarge();
    this.head(status, headers, body.length);
    this.write(body);
    this.end();
  }

  #unreadBodyIsLarge(): boolean {
    const { framing } = this.#request;
    if (this.#connection.isWhole || framing instanceof SidekeyError) return false;
    return framing.bodyLength === undefined || framing.bodyLength > DRAIN_LIMIT;
  }

  /** One char per byte. */
  #add(piece: string | Buffer): void {
    if (this.#pieces.length === 0) atTurnEnd(this);
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  turnEnds(): void {
    this.flush();
  }

  /** Everything said so far leaves. */
  flush(): void {
    const pieces = this.#pieces;
    const { socket } = this.#connection;
    const [first] = pieces;
    if (first === undefined) return;
    this.#pieces = [];
    if (this.#isOver) this.#connection.sent();
    if (socket.destroyed) return;
    if (pieces.length === 1) send(socket, first);
    else if (this.#bytes <= JOIN_LIMIT) socket.write(join(pieces, this.#bytes));
    else {
      socket.cork();
      for (const piece of pieces) send(socket, piece);
      socket.uncork();
    }
    this.#bytes = 0;
  }
}

const send = (socket: Socket, piece: string | Buffer): void => {
  if (typeof piece === "string") socket.write(piece, "latin1");
  else socket.write(piece);
};

const join = (pieces: readonly (string | Buffer)[], length: number): Buffer => {
  const joined = Buffer.allocUnsafe(length);
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === "string") joined.write(piece, at, "latin1");
    else joined.set(piece, at);
    at += piece.length;
  }
  return joined;
};

/** The gateway has the address of a web server: no page may read its answers, whatever the upstream allows (ruling 20). */
const isCors = (name: string): boolean => name.toLowerCase().startsWith("access-control-");
