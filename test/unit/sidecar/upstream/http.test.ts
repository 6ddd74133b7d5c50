/**
 * The way out as a whole: whose connection a request may go on, and the timer that is there while something can be in
 * flight and gone with what a reload has replaced.
 */
import { Duplex } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import type { Connection } from "../../../../src/sidecar/net/connection.ts";
import type { Connector, ConnectRequest } from "../../../../src/sidecar/net/connector.ts";
import { createHttpUpstream } from "../../../../src/sidecar/upstream/http.ts";
import type { ResponseSink, UpstreamRequest } from "../../../../src/sidecar/upstream/upstream.ts";
import { REQUEST } from "../../../support/upstream-parts.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("ends once it is retired and nothing is in flight, and comes back with a request that began before", () => {
  let refuse = (): void => undefined;
  const connector: Connector = (_request, done) => {
    refuse = () => done(new SidekeyError("UPSTREAM_UNREACHABLE"), null);
    return refuse;
  };
  const failed: string[] = [];
  const sink: ResponseSink = {
    begin: () => undefined,
    head: () => undefined,
    data: () => undefined,
    end: () => undefined,
    fail: ({ code }) => void failed.push(code),
  };
  const upstream = createHttpUpstream(connector);
  for (let round = 1; round <= 2; round++) {
    upstream.send(REQUEST, sink);
    upstream.retire();
    vi.advanceTimersByTime(5_000);
    expect([upstream.busy, vi.getTimerCount()]).toEqual([true, 1]);
    refuse();
    vi.advanceTimersByTime(1_000);
    expect([upstream.busy, vi.getTimerCount(), failed.length]).toEqual([false, 0, round]);
  }
});

it.each<readonly [string, Partial<UpstreamRequest>]>([
  ["another scheme", { scheme: "http", cleartext: "loopback" }],
  ["another rule for cleartext", { cleartext: "opened" }],
  ["an address that the operator wrote", { written: true }],
  ["another time to connect", { timeouts: { ...REQUEST.timeouts, connectMs: 7 } }],
])("never takes a kept connection that was checked for %s", (_, other) => {
  const asked: ConnectRequest[] = [];
  const sockets: Duplex[] = [];
  const upstream = createHttpUpstream((request, done) => {
    asked.push(request);
    const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, written) => written() });
    sockets.push(socket);
    done(null, { socket, endedInOrder: () => false } as unknown as Connection);
    return () => undefined;
  });
  let answered = 0;
  const sink: ResponseSink = {
    begin: () => undefined,
    head: () => undefined,
    data: () => undefined,
    end: () => {
      answered += 1;
    },
    fail: (error) => {
      throw error;
    },
  };
  const ask = (request: UpstreamRequest): void => {
    const before = sockets.length;
    upstream.send(request, sink);
    const socket = sockets[before] ?? sockets[0];
    socket?.emit("data", Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  };
  ask(REQUEST);
  ask(REQUEST);
  expect([asked.length, answered]).toEqual([1, 2]);
  ask({ ...REQUEST, ...other });
  expect([asked.length, answered]).toEqual([2, 3]);
  expect(asked[1]).toMatchObject({
    scheme: other.scheme ?? "https",
    cleartext: other.cleartext ?? "never",
    written: other.written ?? false,
    timeoutMs: other.timeouts?.connectMs ?? REQUEST.timeouts.connectMs,
  });
  void upstream.close();
});
