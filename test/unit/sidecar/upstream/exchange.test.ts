/** An exchange on its own: how long it waits and for whom, and that it does nothing to its connection after its own end. */
import { Duplex, Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import type { Connection } from "../../../../src/sidecar/net/connection.ts";
import { Exchange } from "../../../../src/sidecar/upstream/exchange.ts";
import { createConnectionPool } from "../../../../src/sidecar/upstream/pool.ts";
import type { Flow, ResponseSink } from "../../../../src/sidecar/upstream/upstream.ts";
import { openTestPool, REQUEST } from "../../../support/upstream-parts.ts";

describe("an exchange that has ended", () => {
  it("does not touch the connection, which may carry the next one", () => {
    const { pool, sockets } = openTestPool();
    const flows: Flow[] = [];
    let ended = 0;
    const sink: ResponseSink = {
      begin: (flow) => void flows.push(flow),
      head: () => undefined,
      data: () => undefined,
      end: () => {
        ended += 1;
      },
      fail: (error) => {
        throw error;
      },
    };
    new Exchange(REQUEST, sink, pool).start();
    const [socket] = sockets as [Duplex];
    socket.emit("data", Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    expect([ended, pool.isIdle, socket.destroyed]).toEqual([1, true, false]);
    new Exchange(REQUEST, sink, pool).start();
    expect(pool.isIdle).toBe(false);
    flows[0]?.pause();
    expect(socket.isPaused()).toBe(false);
    flows[0]?.abort();
    expect(socket.destroyed).toBe(false);
    flows[1]?.pause();
    expect(socket.isPaused()).toBe(true);
    flows[1]?.abort();
    expect(socket.destroyed).toBe(true);
  });
});

describe("a sink that fails at the end", () => {
  it.each(["with a length", "with its connection"])("is told so, for an answer that ends %s", (framing) => {
    const { pool, sockets } = openTestPool(true);
    const failed: string[] = [];
    const sink: ResponseSink = {
      begin: () => undefined,
      head: () => undefined,
      data: () => undefined,
      end: () => {
        throw new TypeError("a mistake");
      },
      fail: ({ code }) => void failed.push(code),
    };
    new Exchange(REQUEST, sink, pool).start();
    const [socket] = sockets as [Duplex];
    const isCounted = framing === "with a length";
    socket.emit("data", Buffer.from(`HTTP/1.1 200 OK\r\n${isCounted ? "Content-Length: 0\r\n" : ""}\r\n`));
    if (!isCounted) expect(() => socket.emit("end")).not.toThrow();
    expect(failed).toEqual(["INTERNAL"]);
  });
});

describe("a request whose body ended while its connection was opened", () => {
  it("is sent whole all the same", async () => {
    const written: Buffer[] = [];
    const socket = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        written.push(chunk);
        done();
      },
    });
    let connected: (() => void) | undefined;
    const pool = createConnectionPool({
      connect: (_watchEnd, done) => {
        connected = () => done(null, { socket, endedInOrder: () => false } as unknown as Connection);
        return () => undefined;
      },
      isSecure: false,
      now: () => 0,
    });
    const stream = Readable.from([]);
    const ended = new Promise((resolve) => stream.once("end", resolve));
    stream.resume();
    const sink: ResponseSink = {
      begin: () => undefined,
      head: () => undefined,
      data: () => undefined,
      end: () => undefined,
      fail: (error) => {
        throw error;
      },
    };
    const body = { stream, length: undefined };
    new Exchange({ ...REQUEST, method: "POST", body }, sink, pool).start();
    await ended;
    connected?.();
    await new Promise(setImmediate);
    expect(Buffer.concat(written).toString("latin1")).toMatch(/^POST \/ HTTP\/1\.1\r\n.*chunked\r\n\r\n0\r\n\r\n$/s);
    pool.close();
  });
});

describe("an answer that has begun", () => {
  it("is given up when the upstream says no more for too long, and not while it is the agent that does not read", () => {
    const { pool, sockets } = openTestPool();
    const flows: Flow[] = [];
    const failed: string[] = [];
    const sink: ResponseSink = {
      begin: (flow) => void flows.push(flow),
      head: () => undefined,
      data: () => undefined,
      end: () => undefined,
      fail: ({ code }) => void failed.push(code),
    };
    new Exchange(REQUEST, sink, pool).start();
    const [socket] = sockets as [Duplex];
    socket.emit("data", Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    const { idleMs } = REQUEST.timeouts;
    let now = 0;
    pool.sweep(now);
    flows[0]?.pause();
    for (; now < 5 * idleMs; now += idleMs) pool.sweep(now);
    pool.sweep(now);
    expect(failed).toEqual([]);
    flows[0]?.resume();
    pool.sweep(now + idleMs - 1);
    expect(failed).toEqual([]);
    pool.sweep(now + idleMs);
    expect(failed).toEqual(["UPSTREAM_TIMEOUT"]);
    expect(socket.destroyed).toBe(true);
  });
});
