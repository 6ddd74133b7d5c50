/**
 * One request and its response on one connection. The response goes straight to the sink; the body of the request is
 * read from the agent's own stream, which stays whole when the upstream answers before its end: destroying it would cut
 * the connection on which the agent waits for the answer.
 */
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { upstreamFailure } from "./failure.ts";
import type { ConnectionUser, HttpConnection } from "./http-connection.ts";
import type { ConnectionPool } from "./pool.ts";
import { requestHead } from "./request-head.ts";
import { keepAliveMs, type ResponseHead } from "./response-framing.ts";
import type { Flow, ResponseSink, UpstreamRequest } from "./upstream.ts";

/** Shorter than the idle timeout of common servers, so that a kept connection is rarely a dead one. `ms` */
const KEEP_ALIVE_MS = 15_000;

/** More of these before the real answer are an attack on our patience. */
const MAX_INFORMATIONAL = 20;

const badResponse = (detail: string): SidekeyError => new SidekeyError("UPSTREAM_BAD_RESPONSE", { detail });

const ignore = (): void => undefined;

export class Exchange implements ConnectionUser, Flow {
  readonly #request: UpstreamRequest;
  readonly #sink: ResponseSink;
  readonly #pool: ConnectionPool;
  #connection: HttpConnection | undefined;
  #giveUpOpening = ignore;
  /** Monotonic, `ms`: silence till then is too long. Looked at by the pool's sweep, which costs less than timers. */
  #deadline = Number.POSITIVE_INFINITY;
  /** Something came or went since the last look, from which the wait counts: to read the clock each time costs more. */
  #isHeard = false;
  #informational = 0;
  #response: ResponseHead | undefined;
  /** Of the request. */
  #bodySent = 0;
  #requestSent = false;
  #detachBody = ignore;
  #done = false;

  constructor(request: UpstreamRequest, sink: ResponseSink, pool: ConnectionPool) {
    this.#request = request;
    this.#sink = sink;
    this.#pool = pool;
  }

  start(): void {
    this.#sink.begin(this);
    // Begun, and given up at once by an agent that had gone.
    if (this.#done) return;
    const kept = this.#pool.take();
    if (kept !== undefined) {
      this.#run(kept);
      return;
    }
    this.#giveUpOpening = this.#pool.open((error, connection) => {
      if (this.#done) {
        if (connection !== null) this.#pool.discard(connection);
      } else if (connection === null) this.#fail(error);
      else this.#run(connection);
    });
  }

  #run(connection: HttpConnection): void {
    const { method, body } = this.#request;
    this.#connection = connection;
    connection.begin(this, method);
    try {
      const head = requestHead(this.#request);
      if (body === undefined) {
        connection.write(head);
        this.#requestSent = true;
      } else {
        connection.gather();
        connection.write(head);
        this.#attachBody(connection);
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#isHeard = true;
  }

  #attachBody(connection: HttpConnection): void {
    const { body } = this.#request;
    if (body === undefined) return;
    const { stream, length } = body;
    const onData = (chunk: Buffer): void => {
      this.#bodySent += chunk.length;
      if (length !== undefined && this.#bodySent > length) {
        this.#fail(new SidekeyError("INTERNAL", { detail: "a body longer than its length" }));
        return;
      }
      if (this.#response === undefined) this.#isHeard = true;
      const more = length === undefined ? writeChunk(connection, chunk) : connection.write(chunk);
      if (!more) stream.pause();
    };
    const onEnd = (): void => {
      this.#detachBody();
      if (length !== undefined && this.#bodySent !== length) {
        this.#brokeOff();
        return;
      }
      if (length === undefined) connection.write("0\r\n\r\n");
      this.#requestSent = true;
    };
    // A stream closes after its end too.
    const onBreak = (error?: unknown): void => {
      if (!stream.readableEnded) this.#brokeOff(error);
    };
    this.#detachBody = () => {
      this.#detachBody = ignore;
      stream.off("data", onData).off("end", onEnd).off("error", onBreak).off("close", onBreak);
      stream.on("error", ignore);
      if (!stream.readableEnded) stream.pause();
    };
    stream.on("data", onData).on("end", onEnd).on("error", onBreak).on("close", onBreak);
    // While the connection was opened it may have ended already, when nothing was in it, or broken off.
    if (stream.readableEnded) onEnd();
    else if (stream.destroyed) onBreak(stream.errored);
    else stream.resume();
  }

  /** `error`: what was wrong with the agent's body, where that is known. */
  #brokeOff(error?: unknown): void {
    if (isSidekeyError(error)) this.#fail(error);
    else this.#fail(new SidekeyError("INGRESS_BAD_REQUEST", { detail: "the agent's body broke off" }));
  }

  drained(): void {
    if (!this.#done && !this.#requestSent) this.#request.body?.stream.resume();
  }

  head(head: ResponseHead): void {
    if (head.status < 200) {
      this.#inform(head.status);
      return;
    }
    this.#response = head;
    this.#isHeard = true;
    this.#sink.head(head.status, head.headers, head.lines);
  }

  data(chunk: Buffer): void {
    if (this.#done) return;
    this.#isHeard = true;
    this.#sink.data(chunk);
  }

  end(surplus: boolean): void {
    const { connection, response } = this.#finish();
    if (connection === undefined || response === undefined) return;
    // Answered in the middle of its upload: the upstream may still read the rest, or not; nobody can tell.
    const keepMs = surplus || !this.#requestSent ? 0 : keepAliveMs(response, this.#request.method, KEEP_ALIVE_MS);
    this.#pool.release(connection, keepMs, response.framing.kind !== "none");
    this.#conclude();
  }

  /** Its connection is nobody's by now: a mistake of the sink's would be heard by no one, and its request have no end. */
  #conclude(): void {
    try {
      this.#sink.end();
    } catch (error) {
      this.#sink.fail(upstreamFailure(error));
    }
  }

  ended(endsBody: boolean, inOrder: boolean): void {
    if (!endsBody) {
      this.#fail(new SidekeyError("UPSTREAM_RESET", { detail: "the connection ended" }));
      return;
    }
    this.#pool.watchEnds();
    if (!inOrder) {
      this.#fail(new SidekeyError("UPSTREAM_RESET", { detail: "the end of the body is not vouched for" }));
      return;
    }
    const { connection } = this.#finish();
    if (connection !== undefined) this.#pool.discard(connection);
    this.#conclude();
  }

  broken(error: unknown): void {
    this.#fail(error);
  }

  pause(): void {
    // Done, it may carry another exchange by now.
    if (!this.#done) this.#connection?.pause();
  }

  resume(): void {
    if (!this.#done) this.#connection?.resume();
  }

  abort(): void {
    if (!this.#done) this.#giveUp();
  }

  #fail(error: unknown): void {
    if (this.#done) return;
    this.#giveUp();
    this.#sink.fail(upstreamFailure(error));
  }

  #giveUp(): void {
    const { connection } = this.#finish();
    this.#giveUpOpening();
    if (connection !== undefined) this.#pool.discard(connection);
  }

  #finish(): { readonly connection: HttpConnection | undefined; readonly response: ResponseHead | undefined } {
    this.#done = true;
    this.#detachBody();
    return { connection: this.#connection, response: this.#response };
  }

  tick(now: number): void {
    if (this.#done) return;
    const { headersMs, idleMs } = this.#request.timeouts;
    if (this.#isHeard) {
      this.#isHeard = false;
      this.#deadline = now + (this.#response === undefined ? headersMs : idleMs);
      return;
    }
    if (now < this.#deadline) return;
    // It is the agent that does not read.
    if (this.#connection?.isPaused === true) this.#deadline = now + idleMs;
    else this.#fail(new SidekeyError("UPSTREAM_TIMEOUT"));
  }

  /** Dropped (ruling 12), but neither without number nor for longer than an answer may take. */
  #inform(status: number): void {
    this.#informational += 1;
    if (status === 101) this.#fail(badResponse("101 to a request without Upgrade"));
    else if (status === 100) this.#fail(badResponse("100 to a request without Expect"));
    else if (this.#informational > MAX_INFORMATIONAL) this.#fail(badResponse("too many informational answers"));
  }
}

/** RFC 9112 section 7.1; one segment for the three parts. */
const writeChunk = (connection: HttpConnection, chunk: Buffer): boolean => {
  connection.gather();
  connection.write(`${chunk.length.toString(16)}\r\n`);
  connection.write(chunk);
  return connection.write("\r\n");
};
