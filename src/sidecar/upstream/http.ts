/**
 * HTTP/1.1 to upstreams. One pool per scheme, authority and cleartext rule, so that a connection is only ever used for
 * what it was checked for. No retries, no redirects, no caching: one request in, at most one out.
 */
import type { Connector } from "../net/connector.ts";
import { Exchange } from "./exchange.ts";
import { type ConnectionPool, createConnectionPool } from "./pool.ts";
import type { Upstream, UpstreamRequest } from "./upstream.ts";

const MAX_POOLS = 256;
/** Between two looks at what was kept, or has been silent, for too long: timeouts are that much late at most. `ms` */
const SWEEP_MS = 500;

const now = (): number => performance.now();

export const createHttpUpstream = (connector: Connector): Upstream => {
  const pools = new Map<string, ConnectionPool>();
  let retired = false;

  const poolFor = ({ scheme, cleartext, authority, written, timeouts }: UpstreamRequest): ConnectionPool => {
    // The pool opens all its connections as its first request asked for.
    const key = `${scheme} ${cleartext} ${timeouts.connectMs} ${authority.key}`;
    const known = pools.get(key);
    if (known !== undefined) return known;
    const pool = createConnectionPool({
      connect: (watchEnd, done) =>
        connector({ scheme, authority, cleartext, written, watchEnd, timeoutMs: timeouts.connectMs }, done),
      isSecure: scheme === "https",
      now,
    });
    pools.set(key, pool);
    if (retired) pool.retire();
    if (pools.size > MAX_POOLS) evict(pools);
    return pool;
  };

  const sweep = setInterval(() => {
    const time = now();
    for (const pool of pools.values()) pool.sweep(time);
  }, SWEEP_MS).unref();

  return {
    send(request, sink) {
      new Exchange(request, sink, poolFor(request), now).start();
    },
    retire() {
      retired = true;
      for (const pool of pools.values()) pool.retire();
    },
    get busy() {
      return [...pools.values()].some((pool) => !pool.isIdle);
    },
    async close() {
      clearInterval(sweep);
      for (const pool of pools.values()) pool.close();
      pools.clear();
    },
  };
};

/** Drops the oldest pool that carries nothing. */
const evict = (pools: Map<string, ConnectionPool>): void => {
  for (const [key, pool] of pools) {
    if (!pool.isIdle) continue;
    pools.delete(key);
    pool.close();
    return;
  }
};
