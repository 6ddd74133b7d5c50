/** The stream of events: what is told, how it goes on after a break, and how it ends. */
import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { VaultEvent } from "../../../src/client/index.ts";
import { createEventParser, MAX_EVENT, type Piece } from "../../../src/client/transport/sse.ts";
import { answerOf, type RawVault, startRawVault } from "../../support/vault/raw-vault.ts";
import { createProofKey, failureOf, quickVault, TOKEN } from "./support.ts";

let raw: RawVault;
afterEach(() => raw?.close());

const key = createProofKey();
const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const event = (id: number, type: string, data: object): string =>
  `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
const ready = event(7, "ready", { generation: 7 });

/** What comes until `count` events are there; then the stream is let go. */
const collect = async (
  count: number,
  request: { idleMs?: number; lastEventId?: string } = {},
): Promise<VaultEvent[]> => {
  const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
  const events: VaultEvent[] = [];
  for await (const one of vault.events(request)) {
    events.push(one);
    if (events.length === count) break;
  }
  return events;
};

const lastEventIds = (): readonly (string | undefined)[] =>
  raw.requests.map((request) => /^last-event-id: (.*)\r$/im.exec(request)?.[1]);

describe("the stream of events", () => {
  it("tells what happens, proved with the sidecar's key", async () => {
    raw = await startRawVault((socket) => {
      socket.write(
        HEAD +
          ready +
          event(8, "secret.updated", { type: "secret.updated", path: "a/b", version: 3 }) +
          event(9, "secret.deleted", { path: "a/c", version: 1 }) +
          event(10, "token.revoked", { jti: "t-1" }) +
          event(11, "token.revoked", { id: "t-2" }) +
          event(12, "sidecar.revoked", { jkt: "thumb" }) +
          event(13, "something.new", { any: 1 }) +
          event(14, "reset", {}),
      );
    });
    expect(await collect(7)).toEqual([
      { type: "ready", generation: 7 },
      { type: "secret.updated", path: "a/b", version: 3 },
      { type: "secret.deleted", path: "a/c", version: 1 },
      { type: "token.revoked", id: "t-1" },
      { type: "token.revoked", id: "t-2" },
      { type: "sidecar.revoked", jkt: "thumb" },
      { type: "reset" },
    ]);
    expect(raw.requests[0]).toMatch(/^GET \/v1\/events HTTP\/1\.1\r\n/);
    expect(raw.requests[0]).toMatch(/^authorization: DPoP /im);
    expect(raw.requests[0]).toMatch(/^accept: text\/event-stream\r$/im);
    expect(lastEventIds()).toEqual([undefined]);
  });

  it("is made again when it breaks, and goes on where everything was told", async () => {
    const streams = [
      HEAD + ready + event(8, "secret.updated", { path: "a/b" }) + event(9, "secret.updated", { path: "a/c" }),
      `${HEAD + ready}: alive\n\n${event(9, "secret.updated", { path: "a/d" })}: alive\n\n`,
      HEAD + ready,
    ];
    raw = await startRawVault((socket, _request, count) => void socket.end(streams[count - 1] ?? HEAD));
    const events = await collect(9);
    expect(events.map(({ type }) => type).filter((type) => type === "lost")).toHaveLength(3);
    // Of id 9 there might have been more, the first time; the comment behind it says that there is not.
    expect(lastEventIds().slice(0, 3)).toEqual([undefined, "8", "9"]);
  });

  it("begins where an earlier one ended", async () => {
    raw = await startRawVault((socket) => void socket.write(HEAD + ready));
    await collect(1, { lastEventId: "42" });
    expect(lastEventIds()).toEqual(["42"]);
  });

  it("is lost when nothing comes for too long", async () => {
    raw = await startRawVault((socket) => void socket.write(HEAD + ready));
    const events = await collect(3, { idleMs: 60 });
    expect(events.map(({ type }) => type)).toEqual(["ready", "lost", "ready"]);
  });

  it("says that something changed when it cannot say what", async () => {
    raw = await startRawVault((socket) => {
      socket.write(
        `${HEAD + ready}event: secret.updated\ndata: not json\n\nevent: secret.deleted\ndata: {"path":7}\n\n` +
          `event: token.revoked\ndata: {}\n\nevent: sidecar.revoked\ndata: []\n\nevent: ready\ndata: {}\n\n`,
      );
    });
    expect((await collect(6)).slice(1)).toEqual([
      { type: "reset" },
      { type: "reset" },
      { type: "reset" },
      { type: "reset" },
      { type: "ready", generation: undefined },
    ]);
  });

  it.each<[string, string]>([
    ["a page", answerOf(200, "<html>", { "content-type": "text/html" })],
    ["a line without end", `${HEAD}data: ${"x".repeat(MAX_EVENT + 10)}`],
    ["an event without end", `${HEAD}${`data: ${"x".repeat(1000)}\n`.repeat(100)}`],
    ["a vault that is stopping", answerOf(503, { error: { code: "DRAINING", message: "Bye." } })],
    ["too many streams", answerOf(429, { error: { code: "RATE_LIMITED", message: "Later." } })],
  ])("is tried again after %s", async (_name, answer) => {
    raw = await startRawVault((socket, _request, count) => {
      if (count === 1) socket.end(answer);
      else socket.write(HEAD + ready);
    });
    expect((await collect(2)).map(({ type }) => type)).toEqual(["lost", "ready"]);
  });

  it("is tried again when nothing listens", async () => {
    raw = await startRawVault((socket: Socket) => void socket.destroy());
    await raw.close();
    expect((await collect(3)).map(({ type }) => type)).toEqual(["lost", "lost", "lost"]);
  });

  it("ends with an error when the token has ended", async () => {
    raw = await startRawVault((socket, _request, count) => {
      if (count === 1) socket.end(HEAD + ready);
      else socket.end(answerOf(401, { error: { code: "UNAUTHORIZED", message: "No." } }));
    });
    const error = await failureOf(collect(10));
    expect(error.code).toBe("CLIENT_UNAUTHORIZED");
  });

  it("ends when its caller says so, and lets the connection go", async () => {
    let closed = false;
    raw = await startRawVault((socket) => {
      socket.on("close", () => {
        closed = true;
      });
      socket.write(HEAD + ready);
    });
    const controller = new AbortController();
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
    const types: string[] = [];
    for await (const { type } of vault.events({ signal: controller.signal })) {
      types.push(type);
      controller.abort();
    }
    expect(types).toEqual(["ready"]);
    await expect.poll(() => closed).toBe(true);
  });
});

describe("the parser of events", () => {
  const TEXT =
    '\ufeffid: 1\r\nevent: a\r\ndata: {"x":\r\ndata: "é"}\r\n\r\n: c\n\ndata\n\nid:2\rdata:  two\r\revent: none\n\nid: \0\ndata: x\n\n';
  const EXPECTED: readonly Piece[] = [
    { type: "a", data: '{"x":\n"é"}', id: "1" },
    "comment",
    { type: "message", data: "", id: undefined },
    { type: "message", data: " two", id: "2" },
    { type: "message", data: "x", id: undefined },
  ];

  it.each([1, 2, 3, 7, 1000])("reads the same whatever the chunks: %i bytes each", (size) => {
    const bytes = Buffer.from(TEXT);
    const parser = createEventParser();
    const pieces: Piece[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(...parser.push(bytes.subarray(at, at + size)));
    expect(pieces).toEqual(EXPECTED);
  });

  it("refuses what is not UTF-8", () => {
    expect(() => createEventParser().push(Buffer.from([0x64, 0xff, 0x0a]))).toThrow(RangeError);
  });

  it("goes on for ever over comments", () => {
    const parser = createEventParser();
    const comments = Buffer.from(": alive and well, thank you\n".repeat(100));
    let count = 0;
    for (let round = 0; round < 100; round += 1) count += parser.push(comments).length;
    expect(count).toBe(10_000);
  });
});
