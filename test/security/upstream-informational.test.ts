/** 1xx: every one is dropped (ruling 12), their number and their time are bounded, and 101 is no answer to us. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, type HostileStage, POISON } from "../support/hostile-stage.ts";
import type { RawScript } from "../support/raw-upstream.ts";
import { watchStalls } from "../support/stalls.ts";

const HINT = `HTTP/1.1 103 Early Hints\r\nLink: <${POISON}>\r\nSet-Cookie: a=${POISON}\r\n\r\n`;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const answers: Record<string, RawScript> = {
  "one-103": (_request, peer) => peer.send(HINT + OK),
  "one-102": (_request, peer) => peer.send(`HTTP/1.1 102 Processing\r\n\r\n${OK}`),
  "one-199": (_request, peer) => peer.send(`HTTP/1.1 199 Own\r\nX: ${POISON}\r\n\r\n${OK}`),
  "twenty-103": (_request, peer) => peer.send(HINT.repeat(20) + OK),
  "103-with-length": (_request, peer) => peer.send(`HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n${OK}`),
  "one-100": (_request, peer) => peer.send(`HTTP/1.1 100 Continue\r\n\r\n${OK}`),
  "twenty-one-103": (_request, peer) => peer.send(HINT.repeat(21) + OK),
  "endless-103": async (_request, peer) => {
    while (!peer.closed) await peer.send(HINT.repeat(50));
  },
  "dripping-103": async (_request, peer) => {
    const timer = setInterval(() => (peer.closed ? clearInterval(timer) : void peer.send(HINT)), 200);
  },
  "101-bare": (_request, peer) => peer.send("HTTP/1.1 101 Switching Protocols\r\n\r\nraw bytes"),
  "101-websocket": (_request, peer) =>
    peer.send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi",
    ),
  "101-h2c": (_request, peer) =>
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n"),
  "101-and-an-answer": (_request, peer) =>
    peer.send(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${OK}`),
  "hint-and-101": (_request, peer) => peer.send(`${HINT}HTTP/1.1 101 Switching\r\n\r\n`),
};

let stage: HostileStage;
const stalls = watchStalls();
afterAll(() => stalls.stop());

beforeAll(async () => {
  stage = await createHostileStage({ answers, timeouts: "{ connect: 5s, headers: 1s, idle: 20s }" });
});

afterAll(() => stage.close());

describe("informational answers", () => {
  it.each(["one-103", "one-102", "one-199", "twenty-103", "103-with-length"])("(%s) are dropped", async (name) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, String(response.body)]).toEqual([200, "ok"]);
    expect(connection.transcript.includes(POISON)).toBe(false);
    // Nothing but the one answer came.
    expect(connection.transcript.toString("latin1").match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(await stage.after(connection)).toBe(stage.peerOf(`/${name}`)?.number);
  });

  it.each(["twenty-one-103", "endless-103"])("without end (%s) are refused", async (name) => {
    expect(await stage.refusal(`/${name}`)).toEqual([502, "UPSTREAM_BAD_RESPONSE"]);
    expect(await stage.after()).not.toBe(stage.peerOf(`/${name}`)?.number);
    await expect.poll(() => stage.peerOf(`/${name}`)?.closed).toBe(true);
  });

  it("do not put the timeout off", async () => {
    const began = stalls.now();
    expect(await stage.refusal("/dripping-103")).toEqual([504, "UPSTREAM_TIMEOUT"]);
    expect(stalls.now() - began).toBeLessThan(4_000);
    await expect.poll(() => stage.peerOf("/dripping-103")?.closed).toBe(true);
  });

  it("of the kind 100, which nobody asked for, end the exchange", async () => {
    expect(await stage.refusal("/one-100")).toEqual([502, "UPSTREAM_BAD_RESPONSE"]);
    expect(await stage.after()).not.toBe(stage.peerOf("/one-100")?.number);
  });
});

describe("an unsolicited 101", () => {
  it.each(Object.keys(answers).filter((name) => name.includes("101")))("(%s) is refused", async (name) => {
    expect(await stage.refusal(`/${name}`)).toEqual([502, "UPSTREAM_BAD_RESPONSE"]);
    expect(await stage.after()).not.toBe(stage.peerOf(`/${name}`)?.number);
    await expect.poll(() => stage.peerOf(`/${name}`)?.closed).toBe(true);
  });
});
