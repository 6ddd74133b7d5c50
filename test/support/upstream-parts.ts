/** What the parts of the way out are tried with: a request to nowhere, and a pool over sockets that write to nobody. */
import { Duplex } from "node:stream";
import { parseAuthority } from "../../src/core/authority.ts";
import type { Connection } from "../../src/sidecar/net/connection.ts";
import { type ConnectionPool, createConnectionPool } from "../../src/sidecar/upstream/pool.ts";
import type { UpstreamRequest } from "../../src/sidecar/upstream/upstream.ts";

const authority = parseAuthority("api.test:443");
if (authority === undefined) throw new Error("no authority");

/** GET https://api.test/ */
export const REQUEST: UpstreamRequest = {
  method: "GET",
  scheme: "https",
  authority,
  target: "/",
  headers: [],
  body: undefined,
  cleartext: "never",
  written: false,
  timeouts: { connectMs: 1000, headersMs: 1000, idleMs: 1000 },
};

/**
 * `sockets`: those that the pool has opened, in their order. What a test pushes has come from the upstream. `inOrder`: their
 * end is vouched for.
 */
export const openTestPool = (
  inOrder = false,
): { readonly pool: ConnectionPool; readonly sockets: readonly Duplex[] } => {
  const sockets: Duplex[] = [];
  const pool = createConnectionPool({
    connect: (_watchEnd, done) => {
      const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, written) => written() });
      sockets.push(socket);
      done(null, { socket, endedInOrder: () => inOrder } as unknown as Connection);
      return () => undefined;
    },
    isSecure: false,
    now: () => 0,
  });
  return { pool, sockets };
};
