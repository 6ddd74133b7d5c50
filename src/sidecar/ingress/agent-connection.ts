/**
 * One connection of an agent that speaks HTTP/1.1: reads its requests, has them answered one at a time and in their
 * order, and ends it when it must. Nothing behind the last request is read, and nothing of one that waits for its turn
 * is judged by policy before that.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { type Incoming, onIncoming } from "../net/incoming.ts";
import type { BodyFraming } from "../net/message-parser.ts";
import { AgentBody, type AgentRequest } from "./agent-request.ts";
import { AgentResponse, KEEP_ALIVE_MS, type ResponseConnection } from "./agent-response.ts";
import type { ConnectionKind } from "./connection-kind.ts";
import { type Framing, judgeFraming } from "./framing.ts";
import { type RequestHead, RequestParser, type RequestReceiver } from "./request-parser.ts";

/** Whoever answers. Nothing here may throw. */
export interface ConnectionOwner {
  readonly takesConnect: boolean;
  /** It is this one's turn. */
  answer(request: AgentRequest, response: AgentResponse, connection: AgentConnection): void;
  /** The one whose turn it was has its answer, or nobody waits for it any more. */
  answered(): void;
  /** CONNECT: the socket is the caller's from here on, and what it sent already. */
  connect(request: { readonly target: string; readonly framing: Framing }, socket: Socket, sent: Buffer): void;
  /** What came is no request: puts that on record, and answers unless an answer is under way. */
  refuse(error: SidekeyError, socket: Socket | undefined): void;
  closed(connection: AgentConnection): void;
}

/** From the first byte, or from the connection's beginning, to the end of a head. `ms` */
const HEAD_MS = 10_000;
/** Requests that were parsed while one was in flight wait here; past this many the client is told to stop (ruling 23). */
const MAX_WAITING = 64;
/** Of what is not parsed yet; past it the connection is not read. `bytes` */
const MAX_HELD = 64 * 1024;
/** What is still read of an upload behind its answer. */
const LINGER_MS = 500;
const LINGER_BYTES = 1024 * 1024;

const NO_BODY: BodyFraming = { kind: "none" };
const CHUNKED: BodyFraming = { kind: "chunked" };

export class AgentConnection implements RequestReceiver, ResponseConnection {
  readonly socket: Socket;
  readonly kind: ConnectionKind;
  readonly #owner: ConnectionOwner;
  readonly #now: () => number;
  readonly #parser: RequestParser;
  readonly #waiting: AgentRequest[] = [];
  /** Whose turn it is; its request may still be coming. */
  #current: AgentResponse | undefined;
  /** Said to its end in this turn of the loop, and not written yet. Nothing may overtake it. */
  #unsent: AgentResponse | undefined;
  #body: AgentBody | undefined;
  /** The last of those that wait has a body, which is read in its turn. */
  #isStalled = false;
  #held: Buffer | undefined;
  #isReading = false;
  /** Nothing is read behind the request that is being read. */
  #isLast = false;
  /** Nothing is read at all; what comes is dropped. */
  #isDeaf = false;
  #connect: { readonly target: string; readonly framing: Framing } | undefined;
  #isOccupied = false;
  #isClosed = false;
  #linger: NodeJS.Timeout | undefined;
  /** Of this upload, or of what comes behind the last request. `bytes` */
  #dropped = 0;
  /** Monotonic, `ms`: while nothing is in flight, it ends then. */
  #deadline: number;
  #isBetween = false;
  readonly #incoming: Incoming;

  /** `now`: monotonic, `ms`. */
  constructor(socket: Socket, kind: ConnectionKind, owner: ConnectionOwner, now: () => number) {
    this.socket = socket;
    this.kind = kind;
    this.#owner = owner;
    this.#now = now;
    this.#parser = new RequestParser(this);
    this.#parser.begin();
    this.#deadline = now() + HEAD_MS;
    this.#incoming = onIncoming(socket, this.#onData);
    socket
      .on("end", this.#onEnd)
      .on("close", this.#onClose)
      .on("error", this.#onError)
      // What spoke on it before left it paused.
      .resume();
  }

  /** Something is in flight on it, or not sent to its end. */
  get isBusy(): boolean {
    const isAnswering = this.#current !== undefined || this.#unsent !== undefined;
    return this.#isOccupied || isAnswering || this.socket.writableLength > 0;
  }

  /** No request follows the one whose turn it is. */
  get endsHere(): boolean {
    return (this.#isDeaf || this.#isLast) && this.#waiting.length === 0;
  }

  /** In use for as long as it lasts: a tunnel that passes unread. */
  occupy(): void {
    this.#isOccupied = true;
  }

  /** What the client called the server in its TLS handshake; undefined without one. */
  get serverName(): string | undefined {
    if (!(this.socket instanceof TLSSocket)) return undefined;
    const { servername } = this.socket as TLSSocket & { servername?: string | false | null };
    return typeof servername === "string" ? servername : undefined;
  }

  /** A moment has passed. `now`: monotonic, `ms`. */
  tick(now: number): void {
    if (this.isBusy) this.#deadline = Math.max(this.#deadline, now + LINGER_MS);
    if (now < this.#deadline) return;
    if (this.#isBetween || this.#isDeaf) this.socket.destroy();
    else this.#fail(new SidekeyError("INGRESS_TIMEOUT"));
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isDeaf) this.#drop(chunk.length);
    else if (this.#isStalled) this.#hold(chunk);
    else this.#read(chunk);
  };

  readonly #onEnd = (): void => {
    this.#unsent?.flush();
    // Half open it could wait for its answer; but nobody can tell that from one that has left.
    const isAnswered = this.#current === undefined || (this.#current.over && this.#waiting.length === 0);
    if (isAnswered) this.socket.destroySoon();
    else this.socket.destroy();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  readonly #onClose = (): void => {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isDeaf = true;
    this.#waiting.length = 0;
    this.#unsent = undefined;
    this.#held = undefined;
    clearTimeout(this.#linger);
    const current = this.#current;
    this.#current = undefined;
    current?.left();
    this.#body?.destroy();
    if (current !== undefined) this.#owner.answered();
    this.#owner.closed(this);
  };

  #hold(chunk: Buffer): void {
    this.#held = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#held.length > MAX_HELD) this.socket.pause();
  }

  #read(chunk: Buffer): void {
    this.#isReading = true;
    let at = 0;
    try {
      while (at < chunk.length && !this.#isDeaf) {
        if (this.#isStalled) {
          this.#hold(chunk.subarray(at));
          break;
        }
        at = this.#parser.read(chunk, at);
        if (this.#connect !== undefined) {
          this.#detach(chunk.subarray(at));
          return;
        }
      }
    } catch (thrown) {
      this.#fail(toSidekeyError(thrown));
    }
    this.#isReading = false;
    if (this.#body?.flush() === false) this.socket.pause();
    if (this.#isBetween && this.#parser.isInHead) {
      this.#isBetween = false;
      this.#deadline = this.#now() + HEAD_MS;
    }
  }

  /** Another protocol takes the socket over. */
  #detach(sent: Buffer): void {
    const { socket } = this;
    const connect = this.#connect;
    this.#unsent?.flush();
    this.#isClosed = true;
    socket.pause();
    this.#incoming.stop();
    socket.off("end", this.#onEnd).off("close", this.#onClose).off("error", this.#onError);
    this.#owner.closed(this);
    if (connect !== undefined) this.#owner.connect(connect, socket, sent);
  }

  head(head: RequestHead): BodyFraming {
    const isIdle = this.#current === undefined;
    let framing: Framing | SidekeyError;
    try {
      framing = judgeFraming(head);
    } catch (thrown) {
      framing = toSidekeyError(thrown);
    }
    if (head.method === "CONNECT" && !(framing instanceof SidekeyError)) {
      if (isIdle && this.#owner.takesConnect) {
        this.#connect = { target: head.target, framing };
        return NO_BODY;
      }
      // An answer still to come would end up inside the tunnel.
      framing = new SidekeyError("INGRESS_BAD_REQUEST", { detail: "no CONNECT here" });
    }
    if (this.#waiting.length >= MAX_WAITING) framing = new SidekeyError("INGRESS_PIPELINE");
    // What came in the same segment was sent before it could be told: those before it have their answers still.
    if (framing instanceof SidekeyError) this.#isDeaf = true;
    const length = framing instanceof SidekeyError ? 0 : framing.bodyLength;
    this.#isLast = !(framing instanceof SidekeyError) && framing.closes;
    if (this.#isLast && length === 0) this.#isDeaf = true;
    const body = length === 0 ? undefined : new AgentBody(this.#wanted);
    const request: AgentRequest = { head, framing, body };
    if (isIdle) this.#start(request);
    else {
      this.#waiting.push(request);
      this.#isStalled = body !== undefined;
    }
    if (length === undefined) return CHUNKED;
    return length === 0 ? NO_BODY : { kind: "length", length };
  }

  #start(request: AgentRequest): void {
    this.#unsent?.flush();
    this.#isBetween = false;
    this.#body = request.body;
    const response = new AgentResponse(this, request);
    this.#current = response;
    this.#owner.answer(request, response, this);
  }

  data(chunk: Buffer): void {
    if (this.#linger !== undefined) this.#drop(chunk.length);
    else if (this.#body?.destroyed === false && !this.#body.add(chunk)) this.socket.pause();
  }

  readonly #wanted = (): void => {
    if (!this.#isStalled) this.socket.resume();
  };

  end(): void {
    this.#parser.begin();
    if (this.#isLast) this.#isDeaf = true;
    const body = this.#body;
    if (body === undefined) return;
    this.#body = undefined;
    body.end();
    // It is read on, to see the client leave.
    this.socket.resume();
    if (this.#linger === undefined) return;
    // Of a body behind its answer.
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#next();
  }

  /** All of its request's body has come. */
  get isWhole(): boolean {
    return this.#body === undefined;
  }

  /** The answer whose turn it was is written to its end. `closes`: it is the last on this connection. */
  finished(closes: boolean): void {
    if (this.#isClosed) return;
    const isLast = closes || this.endsHere;
    if (isLast) this.#isDeaf = true;
    if (isLast || this.#body !== undefined) this.#current?.flush();
    else if (this.#current?.isWaiting === true) this.#unsent = this.#current;
    if (this.#body !== undefined) {
      // Closing at once would reset the connection under the answer (RFC 9112 section 9.6), so a little of the rest is
      // read and dropped. An upload that ends meanwhile keeps the connection.
      this.#linger = setTimeout(() => this.socket.destroy(), LINGER_MS);
      this.#dropped = 0;
      this.#body.destroy();
      this.socket.resume();
      if (isLast) this.socket.end();
    } else if (isLast) this.#finish();
    else this.#next();
  }

  sent(): void {
    this.#unsent = undefined;
  }

  #finish(): void {
    this.#leaveTurn();
    this.#waiting.length = 0;
    this.#held = undefined;
    this.#deadline = this.#now() + LINGER_MS;
    this.socket.end();
    this.socket.resume();
  }

  #leaveTurn(): void {
    this.#current = undefined;
    this.#owner.answered();
  }

  #next(): void {
    if (this.#isClosed) return;
    const { socket } = this;
    if (socket.writableNeedDrain) {
      // Answers that nobody reads must not pile up: what comes till then waits, and there is a limit to that.
      socket.once("drain", () => this.#next());
      return;
    }
    this.#leaveTurn();
    const request = this.#waiting.shift();
    if (request !== undefined) {
      if (request.body !== undefined) this.#isStalled = false;
      this.#start(request);
    } else {
      this.#isBetween = !this.#parser.isInHead;
      this.#deadline = this.#now() + (this.#isBetween ? KEEP_ALIVE_MS : HEAD_MS);
    }
    const held = this.#held;
    if (held === undefined || this.#isStalled || this.#isReading) return;
    this.#held = undefined;
    socket.resume();
    this.#read(held);
  }

  #drop(bytes: number): void {
    this.#dropped += bytes;
    if (this.#dropped > LINGER_BYTES) this.socket.destroy();
  }

  /** What comes can't be read any further. */
  #fail(error: SidekeyError): void {
    this.#unsent?.flush();
    this.#isDeaf = true;
    if (this.#linger !== undefined) {
      this.socket.destroy();
    } else if (this.#current === undefined) {
      this.#deadline = this.#now() + LINGER_MS;
      this.#owner.refuse(error, this.socket);
    } else if (this.#body !== undefined && !this.#isStalled) {
      // In the middle of a body: the line hears of it, and answers if it still can.
      this.#body.destroy(error);
    } else {
      // Behind requests that have their answers to come it gets none of its own, and they are the last.
      this.#owner.refuse(error, undefined);
    }
  }
}
