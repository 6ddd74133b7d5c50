/** Bytes of real sockets past the stream's queue: none lost, none twice, none out of order, whatever pauses there are. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { onIncoming } from "../../../../src/sidecar/net/incoming.ts";

const server = createServer();
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

const openPair = async (): Promise<{ readonly from: Socket; readonly to: Socket }> => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  const accepted = once(server, "connection");
  const from = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [to] = (await accepted) as [Socket];
  sockets.push(from, to);
  return { from, to };
};

/** Each byte tells its place. */
const numbered = (length: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff));

it("hands on every byte once and in order, also when the reader pauses in the middle of it", async () => {
  const { from, to } = await openPair();
  const sent = numbered(4 * 1024 * 1024);
  const received: Buffer[] = [];
  onIncoming(to, (chunk) => {
    received.push(chunk);
    if (received.length % 3 !== 0) return;
    to.pause();
    if (received.length % 2 === 0) setImmediate(() => to.resume());
    else to.resume();
  });
  to.resume();
  from.end(sent);
  await once(to, "end");
  expect(Buffer.concat(received).equals(sent)).toBe(true);
});

it("hands on what was put back before what comes", async () => {
  const { from, to } = await openPair();
  to.pause();
  to.unshift(Buffer.from("first "));
  const received: Buffer[] = [];
  onIncoming(to, (chunk) => void received.push(chunk));
  from.end("second");
  to.resume();
  await once(to, "end");
  expect(Buffer.concat(received).toString()).toBe("first second");
});

it("lets the sender wait while the reader pauses, and goes on behind it", async () => {
  const { from, to } = await openPair();
  const sent = Buffer.alloc(64 * 1024 * 1024);
  let received = 0;
  onIncoming(to, (chunk) => {
    received += chunk.length;
    if (received === chunk.length) to.pause();
  });
  to.resume();
  const ended = once(to, "end");
  from.end(sent);
  // Reading stops with a queue that is full.
  await expect.poll(() => to.readableLength).toBeGreaterThan(0);
  expect(to.readableLength).toBeLessThan(1024 * 1024);
  expect(from.writableFinished).toBe(false);
  to.resume();
  await ended;
  expect(received).toBe(sent.length);
});

it("leaves the socket as it was once it is told to stop", async () => {
  const { from, to } = await openPair();
  const first: string[] = [];
  const then: string[] = [];
  const incoming = onIncoming(to, (chunk) => {
    first.push(chunk.toString());
    incoming.stop();
    to.on("data", (next: Buffer) => void then.push(next.toString()));
    from.end("two");
  });
  to.resume();
  from.write("one");
  await once(to, "end");
  expect([first, then]).toEqual([["one"], ["two"]]);
});

it("hands on what came in a turn at its end, and knows of it before", async () => {
  const { to } = await openPair();
  const received: string[] = [];
  const incoming = onIncoming(to, (chunk) => void received.push(chunk.toString()));
  to.resume();
  await expect.poll(() => to.readableFlowing).toBe(true);
  expect(incoming.waits).toBe(false);
  to.push(Buffer.from("one"));
  expect([received, incoming.waits]).toEqual([[], true]);
  await nextTurn();
  expect([received, incoming.waits]).toEqual([["one"], false]);
});

it("keeps one chunk at most for the end of the turn", async () => {
  const { to } = await openPair();
  const received: string[] = [];
  onIncoming(to, (chunk) => void received.push(chunk.toString()));
  to.resume();
  await expect.poll(() => to.readableFlowing).toBe(true);
  to.push(Buffer.from("one"));
  to.push(Buffer.from("two"));
  expect(received).toEqual(["one"]);
  to.pause();
  to.push(Buffer.from("three"));
  expect(received).toEqual(["one"]);
  to.resume();
  await expect.poll(() => received.join(" ")).toBe("one two three");
});

it("hands on what came before a reset, and nothing that came before an end of our own", async () => {
  for (const isReset of [true, false]) {
    const { to } = await openPair();
    const order: string[] = [];
    onIncoming(to, (chunk) => void order.push(chunk.toString()));
    to.on("error", () => void order.push("error")).on("close", () => void order.push("close"));
    to.resume();
    await expect.poll(() => to.readableFlowing).toBe(true);
    to.push(Buffer.from("before"));
    to.destroy(isReset ? new Error("reset") : undefined);
    await expect.poll(() => order.includes("close")).toBe(true);
    await nextTurn();
    expect(order).toEqual(isReset ? ["before", "error", "close"] : ["close"]);
    server.close();
  }
});

it("puts back what it has not handed on when it is told to stop", async () => {
  const { to } = await openPair();
  const received: string[] = [];
  const incoming = onIncoming(to, (chunk) => void received.push(`before ${chunk}`));
  to.resume();
  await expect.poll(() => to.readableFlowing).toBe(true);
  to.push(Buffer.from("one"));
  to.pause();
  incoming.stop();
  to.on("data", (chunk: Buffer) => void received.push(`after ${chunk}`));
  to.resume();
  await expect.poll(() => received).toEqual(["after one"]);
});
