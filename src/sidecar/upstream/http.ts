/**
 * HTTP/1.1 to upstreams by undici. One pool per scheme, authority and cleartext rule, so that a connection is only
 * ever used for what it was checked for; responses go straight to the sink, with no stream object between. No retries,
 * no redirects, no caching: one request in, at most one out.
 */
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { SidekeyError } from "../../core/errors.ts";
import type { Connector } from "../net/connector.ts";
import { detachedBody } from "./detached-body.ts";
import { upstreamFailure } from "./failure.ts";
import { type ConnectionPool, createConnectionPool, type Lane } from "./pool.ts";
import { type ResponseFraming, responseFraming } from "./response-framing.ts";
import type { Flow, ResponseSink, Upstream, UpstreamRequest } from "./upstream.ts";

const MAX_POOLS = 256;
/** Shorter than the idle timeout of common servers, so that a kept connection is rarely a dead one. `ms` */
const KEEP_ALIVE_MS = 15_000;
const MAX_HEADER_BYTES = 64 * 1024;

export const createHttpUpstream = (connector: Connector): Upstream => {
  const pools = new Map<string, ConnectionPool>();
  let retired = false;

  const createPool = (request: UpstreamRequest): ConnectionPool => {
    const { scheme, authority, cleartext, written, timeouts } = request;
    return createConnectionPool(
      `${scheme}://${authority.key}`,
      {
        pipelining: 1,
        allowH2: false,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (watchEnd, done) =>
        connector({ scheme, authority, cleartext, written, watchEnd, timeoutMs: timeouts.connectMs }, done),
    );
  };

  const poolFor = (request: UpstreamRequest): ConnectionPool => {
    // The pool opens all its connections as its first request asked for.
    const key = `${request.scheme} ${request.cleartext} ${request.timeouts.connectMs} ${request.authority.key}`;
    const known = pools.get(key);
    if (known !== undefined) return known;
    const pool = createPool(request);
    pools.set(key, pool);
    if (retired) pool.retire();
    if (pools.size > MAX_POOLS) evict(pools);
    return pool;
  };

  return {
    send(request, sink) {
      const { body, headers, timeouts } = request;
      if (body?.length !== undefined) headers.push("content-length", String(body.length));
      const pool = poolFor(request);
      const lane = pool.acquire();
      const loan = body === undefined ? undefined : detachedBody(body.stream);
      const exchange = new Exchange(request, loan, sink, pool, lane);
      // Begun, and given up at once by an agent that had gone.
      if (exchange.over) return;
      try {
        lane.client.dispatch(
          {
            path: request.target,
            method: request.method as Dispatcher.HttpMethod,
            headers,
            body: loan ?? null,
            headersTimeout: timeouts.headersMs,
            bodyTimeout: timeouts.idleMs,
          },
          exchange,
        );
      } catch (error) {
        exchange.fail(error);
      }
    },
    retire() {
      retired = true;
      for (const pool of pools.values()) pool.retire();
    },
    get busy() {
      return [...pools.values()].some((pool) => pool.inUse > 0);
    },
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
    },
  };
};

/** Drops the oldest pool that carries nothing. */
const evict = (pools: Map<string, ConnectionPool>): void => {
  for (const [key, pool] of pools) {
    if (pool.inUse > 0) continue;
    pools.delete(key);
    void pool.close();
    return;
  }
};

/** More than this many informational answers before the real one are an attack on our patience. */
const MAX_INFORMATIONAL = 20;

const badResponse = (detail: string): SidekeyError => new SidekeyError("UPSTREAM_BAD_RESPONSE", { detail });

/** One request on one connection. */
class Exchange implements Dispatcher.DispatchHandler, Flow {
  readonly #request: UpstreamRequest;
  readonly #body: Readable | undefined;
  readonly #sink: ResponseSink;
  readonly #pool: ConnectionPool;
  readonly #lane: Lane;
  #controller: Dispatcher.DispatchController | undefined;
  #framing: ResponseFraming = "length";
  #bodyless = false;
  #informational = 0;
  #deadline: NodeJS.Timeout | undefined;
  /** The sink has had its end; the connection may still be busy with what follows. */
  #answered = false;
  #done = false;

  constructor(
    request: UpstreamRequest,
    body: Readable | undefined,
    sink: ResponseSink,
    pool: ConnectionPool,
    lane: Lane,
  ) {
    this.#request = request;
    this.#body = body;
    this.#sink = sink;
    this.#pool = pool;
    this.#lane = lane;
    sink.begin(this);
  }

  get over(): boolean {
    return this.#done;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#done) return;
    if (status >= 100 && status < 200) {
      this.#inform(status);
      return;
    }
    clearTimeout(this.#deadline);
    const raw = controller.rawHeaders;
    if (!Array.isArray(raw)) throw new SidekeyError("INTERNAL", { detail: "no raw headers" });
    const headers = raw as unknown as readonly Buffer[];
    const framing = responseFraming(headers);
    // RFC 9110 section 15: there is no such class of status.
    if (framing === undefined || status < 200 || status > 599) {
      this.fail(badResponse(framing === undefined ? "ambiguous framing" : "no such status"));
      return;
    }
    const ended = status === 204 || status === 304;
    this.#bodyless = ended || this.#request.method === "HEAD";
    this.#framing = framing;
    this.#sink.head(status, headers);
    if (!ended || this.#done) return;
    // They end with their head (RFC 9112 section 6.3), also where a Content-Length tells of a body that would have been.
    this.#answered = true;
    this.#sink.end();
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#done && !this.#answered) this.#sink.data(chunk);
  }

  onResponseEnd(): void {
    if (this.#done) return;
    const endsByClose = this.#framing === "close" && !this.#bodyless;
    if (endsByClose) this.#pool.watchEnds();
    if (endsByClose && !this.#lane.endedInOrder()) {
      this.fail(new SidekeyError("UPSTREAM_RESET", { detail: "the end of the body is not vouched for" }));
      return;
    }
    this.#done = true;
    this.#pool.release(this.#lane, !this.#bodyless && !endsByClose);
    if (!this.#answered) this.#sink.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(error);
  }

  fail(error: unknown): void {
    if (this.#done) return;
    const failure = upstreamFailure(error);
    this.#giveUp(failure);
    if (!this.#answered) this.#sink.fail(failure);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (!this.#done) this.#giveUp(new SidekeyError("UPSTREAM_RESET"));
  }

  #giveUp(reason: SidekeyError): void {
    this.#done = true;
    clearTimeout(this.#deadline);
    // Given back also where the client had not begun to send it.
    this.#body?.destroy();
    this.#pool.discard(this.#lane, reason);
  }

  /** Dropped (ruling 12), but neither without number nor without end: each one starts the client's timeout afresh. */
  #inform(status: number): void {
    this.#informational += 1;
    if (status === 101) this.fail(badResponse("101 to a request without Upgrade"));
    else if (this.#informational > MAX_INFORMATIONAL) this.fail(badResponse("too many informational answers"));
    else {
      this.#deadline ??= setTimeout(
        () => this.fail(new SidekeyError("UPSTREAM_TIMEOUT")),
        this.#request.timeouts.headersMs,
      );
    }
  }
}
