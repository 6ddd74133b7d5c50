/** Which connections carry another request. */
import { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Connection } from "../../../../src/sidecar/net/connection.ts";
import type { HttpConnection } from "../../../../src/sidecar/upstream/http-connection.ts";
import { createConnectionPool } from "../../../../src/sidecar/upstream/pool.ts";

const openPool = () => {
  const sockets: Duplex[] = [];
  const pool = createConnectionPool({
    connect: (_watchEnd, done) => {
      const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, written) => written() });
      sockets.push(socket);
      done(null, { socket, endedInOrder: () => false } as unknown as Connection);
      return () => undefined;
    },
    isSecure: false,
    now: () => 0,
  });
  const open = (): HttpConnection => {
    let opened: HttpConnection | null = null;
    pool.open((_error, connection) => {
      opened = connection;
    });
    if (opened === null) throw new Error("not opened");
    return opened;
  };
  return { pool, sockets, open };
};

it("are not those on which something came that nobody asked for, looked at or not", async () => {
  const { pool, sockets, open } = openPool();
  const [first, second] = [open(), open()];
  await nextTurn();
  pool.release(first, 1000, true);
  pool.release(second, 1000, true);
  sockets[1]?.push(Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  expect(pool.take()).toBe(first);
  expect(sockets.map(({ destroyed }) => destroyed)).toEqual([false, true]);
  pool.release(first, 1000, true);
  sockets[0]?.push(Buffer.from("x"));
  await nextTurn();
  expect(pool.take()).toBeUndefined();
  expect([sockets[0]?.destroyed, pool.isIdle]).toEqual([true, true]);
});
