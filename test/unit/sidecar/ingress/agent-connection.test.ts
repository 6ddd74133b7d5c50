/** One connection on its own: turns, limits and deadlines, with answers that the test gives when it likes. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { SidekeyError } from "../../../../src/core/errors.ts";
import { AgentConnection } from "../../../../src/sidecar/ingress/agent-connection.ts";
import type { AgentRequest } from "../../../../src/sidecar/ingress/agent-request.ts";
import type { AgentResponse } from "../../../../src/sidecar/ingress/agent-response.ts";
import { createListener } from "../../../../src/sidecar/ingress/listener.ts";
import { refuseOnSocket } from "../../../../src/sidecar/ingress/reply.ts";
import { openConnection, type RawConnection } from "../../../support/raw-client.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (let close = closers.pop(); close !== undefined; close = closers.pop()) close();
});

interface Turn {
  readonly request: AgentRequest;
  readonly response: AgentResponse;
}

/** `onTurn`: answers at once. */
const open = async (onTurn: (turn: Turn) => void = () => undefined) => {
  const time = { now: 0 };
  const turns: Turn[] = [];
  const refused: string[] = [];
  let answered = 0;
  let closed = 0;
  let connection: AgentConnection | undefined;
  const server = createListener((socket) => {
    const owner = {
      takesConnect: true,
      answer(request: AgentRequest, response: AgentResponse) {
        turns.push({ request, response });
        onTurn({ request, response });
      },
      answered: () => void answered++,
      connect: (_request: unknown, on: typeof socket) => void on.write("HTTP/1.1 299 Connected\r\n\r\n"),
      refuse(error: SidekeyError, on: typeof socket | undefined) {
        refused.push(error.code);
        if (on !== undefined) refuseOnSocket(on, error, "id");
      },
      closed: () => void closed++,
    };
    connection = new AgentConnection(socket, { way: "forward", isLocal: true }, owner, () => time.now);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  const client = await openConnection((server.address() as AddressInfo).port);
  closers.push(() => client.destroy());
  await expect.poll(() => connection).toBeDefined();
  return {
    client,
    turns,
    refused,
    counts: () => [answered, closed],
    isBusy: () => connection?.isBusy,
    socket: () => (connection as AgentConnection).socket,
    async turn(number: number): Promise<Turn> {
      await expect.poll(() => turns.length).toBeGreaterThan(number);
      return turns[number] as Turn;
    },
    /** Lets so many `ms` pass. */
    wait(ms: number) {
      time.now += ms;
      connection?.tick(time.now);
    },
  };
};

const get = (path: string, lines = ""): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${lines}\r\n`;
const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const answer = ({ request, response }: Turn): void => {
  response.head(200, [], request.head.target.length);
  response.write(Buffer.from(request.head.target));
  response.end();
};
/** Of all answers so far. */
const statuses = ({ transcript }: RawConnection): string[] => String(transcript).match(/(?<=HTTP\/1\.1 )\d+/g) ?? [];

describe("requests of one connection", () => {
  it("have their turns one by one, also when all of them come at once", async () => {
    const t = await open();
    t.client.send(get("/a") + post("/b", "body b") + get("/c"));
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) {
      const turn = await t.turn(i);
      expect(t.turns.length).toBe(i + 1);
      turn.request.body?.on("data", (chunk: Buffer) => seen.push(String(chunk)));
      if (turn.request.body !== undefined) await once(turn.request.body, "end");
      answer(turn);
      expect(String((await t.client.receive()).body)).toBe(turn.request.head.target);
    }
    expect(seen).toEqual(["body b"]);
    expect(t.counts()).toEqual([3, 0]);
  });

  it("are told to stop past 64 that wait, in their order, however many came with them", async () => {
    for (const count of [66, 67, 100]) {
      const t = await open();
      t.client.send(Array.from({ length: count }, (_, i) => get(`/${i}`)).join(""));
      for (let i = 0; i < 65; i++) {
        answer(await t.turn(i));
        expect(String((await t.client.receive()).body)).toBe(`/${i}`);
      }
      const last = await t.turn(65);
      expect(last.request.framing).toMatchObject({ code: "INGRESS_PIPELINE" });
      last.response.refuse(last.request.framing as SidekeyError, "id");
      const refusal = await t.client.receive();
      expect([refusal.status, refusal.headers.get("connection")]).toEqual([429, ["close"]]);
      await t.client.closed();
      await expect.poll(t.counts).toEqual([66, 1]);
      expect(t.turns.length).toBe(66);
    }
  });

  it("past those are dropped unread, and not without end", async () => {
    const flood = await open();
    flood.client.send(get("/x").repeat(100_000));
    await expect.poll(() => flood.client.socket.destroyed).toBe(true);
    await expect.poll(flood.counts).toEqual([1, 1]);
  });

  it("in thousands of chunks are handed on in as many pieces as they came in", async () => {
    const t = await open();
    const count = 5_000;
    t.client.send("POST /tiny HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    const { request } = await t.turn(0);
    const pieces: Buffer[] = [];
    const whole = once(request.body?.on("data", (piece: Buffer) => pieces.push(piece)) ?? t.client.socket, "end");
    t.client.send(`${Array.from({ length: count }, (_, i) => `1\r\n${i % 10}\r\n`).join("")}0\r\n\r\n`);
    await whole;
    expect(String(Buffer.concat(pieces))).toBe("0123456789".repeat(count / 10));
    // 30 KB on the wire: what is waiting may cost what came, not a hundred times that.
    expect(pieces.length).toBeLessThan(count / 50);
  });

  it("are not read on, however little each chunk holds, while nobody reads their body", async () => {
    const t = await open();
    const count = 300_000;
    t.client.send("POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    t.client.send(`${"1\r\nx\r\n".repeat(count)}0\r\n\r\n`);
    const turn = await t.turn(0);
    const { body } = turn.request;
    await expect.poll(() => t.socket().isPaused()).toBe(true);
    expect(body?.readableLength).toBeLessThan(count / 2);
    let bytes = 0;
    body?.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await expect.poll(() => body?.readableEnded).toBe(true);
    expect(bytes).toBe(count);
  });

  it("are not read on, however much comes behind one that is being answered", async () => {
    const t = await open();
    const body = "x".repeat(1024 * 1024);
    t.client.send(get("/a") + post("/b", body));
    const first = await t.turn(0);
    await expect.poll(() => t.socket().isPaused()).toBe(true);
    expect(t.turns.length).toBe(1);
    answer(first);
    const { request } = await t.turn(1);
    let bytes = 0;
    request.body?.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await expect.poll(() => request.body?.readableEnded).toBe(true);
    expect(bytes).toBe(body.length);
  });

  it("wait while nobody reads the answers before them", async () => {
    const t = await open();
    t.client.socket.pause();
    t.client.send(get("/big") + get("/next"));
    const { response } = await t.turn(0);
    const piece = Buffer.alloc(4 * 1024 * 1024);
    response.head(200, [], 4 * piece.length);
    for (let i = 0; i < 4; i++) response.write(piece);
    response.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(t.turns.length).toBe(1);
    t.client.socket.removeAllListeners("data").resume();
    await t.turn(1);
  });

  it("wait also when each is answered at once, and nobody reads the answers", async () => {
    const piece = Buffer.alloc(1024 * 1024);
    const t = await open(({ response }) => {
      response.head(200, [], piece.length);
      response.write(piece);
      response.end();
    });
    t.client.socket.pause();
    t.client.send(get("/flood").repeat(60));
    await t.turn(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    // No kernel takes this much for one connection.
    expect(t.turns.length).toBeLessThan(30);
    t.client.socket.removeAllListeners("data").resume();
    await t.turn(59);
  });

  it("are answered in their order, also by what leaves at once", async () => {
    const expecting = post("/b", "body").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    for (const [behind, answers] of [
      ["\0\0", ["200", "400"]],
      [expecting, ["200", "100", "200"]],
      ["CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n", ["200", "299"]],
    ] as const) {
      const t = await open((turn) => {
        turn.response.continue();
        answer(turn);
      });
      t.client.send(get("/a") + behind);
      await expect.poll(() => statuses(t.client)).toEqual(answers);
    }
  });

  it("end with what can't be read, behind the answers before it", async () => {
    const t = await open();
    t.client.send(`${get("/a")}\0\0`);
    const turn = await t.turn(0);
    await expect.poll(() => t.refused).toEqual(["INGRESS_BAD_REQUEST"]);
    answer(turn);
    const { status, headers } = await t.client.receive();
    expect([status, headers.get("connection")]).toEqual([200, ["close"]]);
    await t.client.closed();
  });

  it("break off with the reason, in the middle of a body", async () => {
    const t = await open();
    t.client.send("POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx");
    const { request, response } = await t.turn(0);
    request.body?.resume();
    await expect.poll(() => request.body?.errored).toMatchObject({ code: "INGRESS_BAD_REQUEST" });
    response.head(200, [], 0);
    response.end();
    expect((await t.client.receive()).headers.get("connection")).toEqual(["close"]);
    await expect.poll(t.counts).toEqual([1, 1]);
  });
});

describe("a connection on which nothing comes", () => {
  it("is refused 10 s after it began, and 10 s after a head began", async () => {
    for (const begun of ["", "GET / HT"]) {
      const t = await open();
      if (begun !== "") t.client.send(begun);
      await new Promise((resolve) => setTimeout(resolve, 20));
      t.wait(9_999);
      expect(t.refused).toEqual([]);
      t.wait(1);
      expect(t.refused).toEqual(["INGRESS_TIMEOUT"]);
      expect((await t.client.receive()).status).toBe(408);
    }
  });

  it("is kept for 120 s between two requests, and says so", async () => {
    const t = await open();
    t.client.send(get("/a"));
    const first = await t.turn(0);
    t.wait(60_000);
    answer(first);
    expect((await t.client.receive()).headers.get("keep-alive")).toEqual(["timeout=120"]);
    t.wait(119_999);
    t.client.send(get("/b"));
    answer(await t.turn(1));
    await t.client.receive();
    t.wait(119_999);
    expect(t.counts()).toEqual([2, 0]);
    t.wait(1);
    await t.client.closed();
    expect(t.refused).toEqual([]);
  });

  it("is busy until its answer is written", async () => {
    const busy: unknown[] = [];
    const t = await open((turn) => {
      answer(turn);
      busy.push(t.isBusy());
    });
    t.client.send(get("/a"));
    await t.client.receive();
    expect([...busy, t.isBusy()]).toEqual([true, false]);
  });

  it("stays while a request is answered, however long that takes", async () => {
    const t = await open();
    t.client.send(get("/a"));
    const turn = await t.turn(0);
    for (let i = 0; i < 10; i++) t.wait(600_000);
    answer(turn);
    expect((await t.client.receive()).status).toBe(200);
  });
});

describe("a client that leaves", () => {
  it("ends what it waited for, once", async () => {
    const t = await open();
    t.client.send(get("/a") + get("/b"));
    const { response } = await t.turn(0);
    let left = 0;
    response.onClose(() => left++);
    t.client.destroy();
    await expect.poll(t.counts).toEqual([1, 1]);
    expect([left, t.turns.length]).toEqual([1, 1]);
  });

  it("keeps its connection over many uploads that came behind their answers", async () => {
    const t = await open();
    const body = Buffer.alloc(65_000);
    for (let i = 0; i < 18; i++) {
      t.client.send(`POST /${i} HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n\r\n`);
      const turn = await t.turn(i);
      // However slow the machine is, each comes in time.
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      answer(turn);
      vi.useRealTimers();
      t.client.send(body);
      expect((await t.client.receive()).status).toBe(200);
    }
    await expect.poll(t.counts).toEqual([18, 0]);
  });

  it("right behind its request is still sent what was answered at once", async () => {
    const t = await open(answer);
    // Both are read in one turn of the loop.
    t.socket().push(Buffer.from(get("/a")));
    t.socket().push(null);
    await t.client.closed();
    expect(statuses(t.client)).toEqual(["200"]);
  });

  it("half-way is still sent what was answered", async () => {
    const size = 16 * 1024 * 1024;
    const t = await open();
    const { socket } = t.client;
    socket.removeAllListeners("data").pause();
    t.client.send(get("/a"));
    const { response } = await t.turn(0);
    response.head(200, [], size);
    response.write(Buffer.alloc(size));
    response.end();
    socket.end();
    await new Promise((resolve) => setTimeout(resolve, 20));
    let received = 0;
    socket.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    socket.resume();
    await once(socket, "close");
    expect(received).toBeGreaterThan(size);
  });

  it("has left also when its upload goes on behind the answer", async () => {
    const t = await open();
    t.client.send(post("/a", "x").replace("Content-Length: 1", "Content-Length: 2000000"));
    answer(await t.turn(0));
    expect((await t.client.receive()).status).toBe(200);
    t.client.send(Buffer.alloc(2_000_000));
    await expect.poll(t.counts).toEqual([1, 1]);
  });
});
