/** Which connections carry another request. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { HttpConnection } from "../../../../src/sidecar/upstream/http-connection.ts";
import type { ConnectionPool } from "../../../../src/sidecar/upstream/pool.ts";
import { openTestPool } from "../../../support/upstream-parts.ts";

const opened = (pool: ConnectionPool): HttpConnection => {
  let connection: HttpConnection | null = null;
  pool.open((_error, one) => {
    connection = one;
  });
  if (connection === null) throw new Error("not opened");
  return connection;
};

it("are not those on which something came that nobody asked for, looked at or not", async () => {
  const { pool, sockets } = openTestPool();
  const [first, second] = [opened(pool), opened(pool)];
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
