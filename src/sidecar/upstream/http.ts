/**
 * HTTP/1.1 to upstreams. One pool per scheme, authority and cleartext rule, so that a connection is only ever used for
 * what it was checked for. No retries, no redirects, no caching: one request in, at most one out.
 */
import type { Connector } from "../net/connector.ts";
import { Exchange } from "./exchange.ts";
import { type ConnectionPool, createConnectionPool } from "./pool.ts";
import type { Upstream, UpstreamRequest } from "./upstream.ts";

const MAX_POOLS = 256;
/** Between two looks at what was kept, or has been silent, for too long: timeouts are twice that late at most. `ms` */
const SWEEP_MS = 500;

const now = (): number => performance.now();

export const createHttpUpstream = (connector: Connector): Upstream => {
  /** By authority: a key of all terms would have to be put together and hashed for each request. */
  const pools = new Map<string, Pooled[]>();
  let count = 0;
  let retired = false;

  const poolFor = ({ scheme, cleartext, authority, written, timeouts }: UpstreamRequest): ConnectionPool => {
    const { connectMs } = timeouts;
    const known = pools.get(authority.key);
    if (known !== undefined) {
      for (const one of known) {
        if (
          one.scheme === scheme &&
          one.cleartext === cleartext &&
          one.written === written &&
          one.connectMs === connectMs
        )
          return one.pool;
      }
    }
    // The pool opens all its connections as its first request asked for.
    const pool = createConnectionPool({
      connect: (watchEnd, done) =>
        connector({ scheme, authority, cleartext, written, watchEnd, timeoutMs: connectMs }, done),
      isSecure: scheme === "https",
      now,
    });
    const added = { scheme, cleartext, written, connectMs, pool };
    if (known === undefined) pools.set(authority.key, [added]);
    else known.push(added);
    if (retired) pool.retire();
    count += 1;
    if (count > MAX_POOLS && evict(pools)) count -= 1;
    return pool;
  };

  const each = (act: (pool: ConnectionPool) => void): void => {
    for (const list of pools.values()) for (const { pool } of list) act(pool);
  };

  const isBusy = (): boolean => [...pools.values()].some((list) => list.some(({ pool }) => !pool.isIdle));

  let sweeping: NodeJS.Timeout | undefined;
  const sweep = (): void => {
    const time = now();
    each((pool) => pool.sweep(time));
    // Nobody closes what a reload has replaced: a request that began before it may still come.
    if (retired && !isBusy()) stop();
  };
  const stop = (): void => {
    clearInterval(sweeping);
    sweeping = undefined;
  };

  return {
    send(request, sink) {
      sweeping ??= setInterval(sweep, SWEEP_MS).unref();
      new Exchange(request, sink, poolFor(request)).start();
    },
    retire() {
      retired = true;
      each((pool) => pool.retire());
    },
    get busy() {
      return isBusy();
    },
    async close() {
      stop();
      each((pool) => pool.close());
      pools.clear();
    },
  };
};

/** What a pool's connections were checked for. */
interface Pooled {
  readonly scheme: UpstreamRequest["scheme"];
  readonly cleartext: UpstreamRequest["cleartext"];
  /** A reload may have made the operator's own address one like any other, or the other way round. */
  readonly written: boolean;
  /** `ms` */
  readonly connectMs: number;
  readonly pool: ConnectionPool;
}

/** Drops one of the oldest that carry nothing; false: there is none. */
const evict = (pools: Map<string, Pooled[]>): boolean => {
  for (const [key, list] of pools) {
    const at = list.findIndex(({ pool }) => pool.isIdle);
    if (at === -1) continue;
    const [gone] = list.splice(at, 1);
    if (list.length === 0) pools.delete(key);
    gone?.pool.close();
    return true;
  }
  return false;
};
