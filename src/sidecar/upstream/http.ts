/**
 * HTTP/1.1 to upstreams by undici. One pool per scheme, authority and cleartext rule, so that a connection is only
 * ever used for what it was checked for; responses go straight to the sink, with no stream object between. No retries,
 * no redirects, no caching: one request in, at most one out.
 */
import type { Client, Dispatcher } from "undici";
import { SidekeyError } from "../../core/errors.ts";
import type { Connector } from "../net/connector.ts";
import { upstreamFailure } from "./failure.ts";
import { type ConnectionPool, createConnectionPool } from "./pool.ts";
import type { Flow, ResponseSink, Upstream, UpstreamRequest } from "./upstream.ts";

const MAX_POOLS = 256;
/** Shorter than the idle timeout of common servers, so that a kept connection is rarely a dead one. `ms` */
const KEEP_ALIVE_MS = 15_000;
const MAX_HEADER_BYTES = 64 * 1024;

export const createHttpUpstream = (connector: Connector): Upstream => {
  const pools = new Map<string, ConnectionPool>();

  const createPool = (request: UpstreamRequest): ConnectionPool => {
    const { scheme, authority, cleartext, written, timeouts } = request;
    return createConnectionPool(`${scheme}://${authority.key}`, {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      connect: (_options, done) => {
        connector({ scheme, authority, cleartext, written, timeoutMs: timeouts.connectMs }, (error, socket) => {
          if (error !== null) done(error, null);
          else if (socket !== null) done(null, socket);
        });
      },
    });
  };

  const poolFor = (request: UpstreamRequest): ConnectionPool => {
    const key = `${request.scheme} ${request.cleartext} ${request.authority.key}`;
    const known = pools.get(key);
    if (known !== undefined) return known;
    const pool = createPool(request);
    pools.set(key, pool);
    if (pools.size > MAX_POOLS) evict(pools);
    return pool;
  };

  return {
    send(request, sink) {
      const { body, headers, timeouts } = request;
      if (body?.length !== undefined) headers.push("content-length", String(body.length));
      const pool = poolFor(request);
      const client = pool.acquire();
      const exchange = new Exchange(sink, pool, client);
      try {
        client.dispatch(
          {
            path: request.target,
            method: request.method as Dispatcher.HttpMethod,
            headers,
            body: body?.stream ?? null,
            headersTimeout: timeouts.headersMs,
            bodyTimeout: timeouts.idleMs,
          },
          exchange,
        );
      } catch (error) {
        exchange.fail(error);
      }
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

/** One request on one connection. */
class Exchange implements Dispatcher.DispatchHandler, Flow {
  readonly #sink: ResponseSink;
  readonly #pool: ConnectionPool;
  readonly #client: Client;
  #controller: Dispatcher.DispatchController | undefined;
  #done = false;

  constructor(sink: ResponseSink, pool: ConnectionPool, client: Client) {
    this.#sink = sink;
    this.#pool = pool;
    this.#client = client;
    sink.begin(this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (status < 200 || this.#done) return;
    const raw = controller.rawHeaders;
    if (!Array.isArray(raw)) throw new SidekeyError("INTERNAL", { detail: "no raw headers" });
    this.#sink.head(status, raw as unknown as readonly Buffer[]);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#done) this.#sink.data(chunk);
  }

  onResponseEnd(): void {
    if (this.#done) return;
    this.#done = true;
    this.#pool.release(this.#client);
    this.#sink.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(error);
  }

  fail(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    const failure = upstreamFailure(error);
    this.#pool.discard(this.#client, failure);
    this.#sink.fail(failure);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#done) return;
    this.#done = true;
    this.#pool.discard(this.#client, new SidekeyError("UPSTREAM_RESET"));
  }
}
