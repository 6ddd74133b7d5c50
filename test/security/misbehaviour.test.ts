/**
 * Everything at once, by fixed dice: agents that pipeline, dribble and leave, upstreams that answer early, twice, by half
 * or not at all. Whoever waits gets an answer of their own or an end; what was begun has exactly one ending on record;
 * nothing is sent twice; and nothing stays open.
 */
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { type Dice, diceOf } from "../support/dice.ts";
import { openConnection, openTlsTunnel, type RawConnection } from "../support/raw-client.ts";
import { type RawPeer, type RawRequest, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar } from "../support/sidecar.ts";

const CONNECTIONS = 120;
const AT_ONCE = 24;
const POISON = "POISON-9c1f";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const numberOf = (path: string): number => Number(/n=(\d+)/.exec(path)?.[1]);

const leave = (peer: RawPeer, dice: Dice): void => {
  const way = [peer.end, peer.cut, peer.reset, () => undefined][dice(4)];
  way?.();
};

/** `bytes`, or the first of them, in pieces. */
const dribble = async (peer: RawPeer, dice: Dice, bytes: string | Buffer, until = bytes.length): Promise<void> => {
  for (let at = 0; at < until; ) {
    const size = 1 + dice(dice(2) === 0 ? 8 : 900);
    await peer.send(bytes.slice(at, Math.min(until, at + size)));
    at += size;
    if (dice(4) === 0) await pause(dice(3));
  }
};

/** Each says for which request it is, in `X-N` and in its body. */
const answersOf = (n: number, dice: Dice) => {
  const body = `n=${n}\n${"z\n".repeat(dice(2_000))}`;
  const zipped = gzipSync(body);
  const head = (lines: string, status = "200 OK"): string => `HTTP/1.1 ${status}\r\nX-N: ${n}\r\n${lines}\r\n`;
  return {
    counted: `${head(`Content-Length: ${body.length}\r\n`)}${body}`,
    chunked: `${head("Transfer-Encoding: chunked\r\n")}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    closing: `${head("Connection: close\r\n")}${body}`,
    zipped: Buffer.concat([
      Buffer.from(head(`Content-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n`)),
      zipped,
    ]),
    unauthorized: `${head("Content-Length: 3\r\n", "401 No")}no\n`,
    tooLarge: `${head("Content-Length: 0\r\n", "413 Large")}`,
    bodyless: head("", ["204 None", "304 Same"][dice(2)]),
  };
};

const answer = async ({ path, method }: RawRequest, peer: RawPeer): Promise<void> => {
  const n = numberOf(path);
  const dice = diceOf(n);
  const a = answersOf(n, dice);
  const headOnly = (bytes: string): string =>
    method === "HEAD" ? bytes.slice(0, bytes.indexOf("\r\n\r\n") + 4) : bytes;
  switch (dice(15)) {
    case 0:
      return;
    case 1:
      await dribble(peer, dice, a.counted, 1 + dice(60));
      return leave(peer, dice);
    case 2:
      await dribble(peer, dice, a.chunked, a.chunked.length - 1 - dice(20));
      return leave(peer, dice);
    case 3:
      await peer.send(`${a.counted}HTTP/1.1 200 OK\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`);
      return;
    case 4:
      await peer.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(dice(25)) + headOnly(a.counted));
      return;
    case 5:
      await dribble(peer, dice, a.zipped);
      return;
    case 6:
      await dribble(peer, dice, a.zipped, a.zipped.length - 1 - dice(20));
      return leave(peer, dice);
    case 7:
      await peer.send(headOnly(a.counted));
      setTimeout(() => leave(peer, dice), dice(10));
      return;
    case 8:
      await peer.send(a.closing);
      return peer.end();
    case 9:
      await peer.send(headOnly(a.unauthorized));
      return;
    case 10:
      await peer.send(a.bodyless);
      return;
    case 11:
      await dribble(peer, dice, headOnly(a.chunked));
      return;
    default:
      await dribble(peer, dice, headOnly(a.counted));
  }
};

/** With the head of a request with a body. */
const answerEarly = async ({ path }: RawRequest, peer: RawPeer): Promise<void> => {
  const n = numberOf(path);
  const dice = diceOf(n);
  const a = answersOf(n, dice);
  const way = dice(4);
  if (way === 3) await pause(dice(20));
  else await peer.send(way === 0 ? a.counted : way === 1 ? a.tooLarge : a.chunked);
  if (dice(2) === 0) leave(peer, dice);
};

interface Asked {
  readonly n: number;
  readonly method: string;
  readonly bytes: string;
}

const ask = (n: number, base: string, host: string, dice: Dice): Asked => {
  const method = ["GET", "GET", "POST", "HEAD", "PUT"][dice(5)] ?? "GET";
  const head = `${method} ${base}${dice(15) === 0 ? "/a//b" : "/x"}?n=${n} HTTP/1.1\r\nHost: ${host}\r\n`;
  if (method !== "POST" && method !== "PUT") return { n, method, bytes: `${head}\r\n` };
  const size = [0, 5, 3_000, 60_000][dice(4)] ?? 0;
  const body = "u".repeat(size);
  const chunk = size === 0 ? "" : `${size.toString(16)}\r\n${body}\r\n`;
  const rest =
    dice(2) === 0 ? `Content-Length: ${size}\r\n\r\n${body}` : `Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`;
  return { n, method, bytes: head + rest };
};

const send = async (connection: RawConnection, dice: Dice, bytes: Buffer): Promise<void> => {
  for (let at = 0; at < bytes.length && !connection.socket.destroyed; ) {
    const size = dice(3) === 0 ? 1 + dice(2_000) : bytes.length;
    connection.send(bytes.subarray(at, at + size));
    at += size;
    if (dice(2) === 0) await pause(dice(3));
  }
};

it("ends each request once, with its own answer or none, and leaves nothing open", { timeout: 300_000 }, async () => {
  const authority = await createTestAuthority();
  const tls = await authority.issue({ names: ["evil.test"] });
  const scripts = { script: answer, early: answerEarly };
  const upstreams = [await startRawUpstream({ tls, ...scripts }), await startRawUpstream(scripts)] as const;
  const route = "secret: KEY, timeouts: { connect: 5s, headers: 1s, idle: 1s }";
  const sidecar = await startTestSidecar({
    environment: { KEY: "sk-canary-7be24c553f9a61d0c8" },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  evil: { match: "https://evil.test/**", ${route} }
  plain: { match: "http://plain.test/**", ${route} }
upstream:
  ca: ./ca.pem
  connect: { "evil.test:443": "${upstreams[0].address}", "plain.test:80": "${upstreams[1].address}" }
`,
  });
  const wrong: string[] = [];
  let answered = 0;
  let numbers = 0;

  const talk = async (index: number): Promise<void> => {
    const dice = diceOf(1_000_000 + index);
    const isPlain = dice(3) === 0;
    const host = isPlain ? "plain.test" : "evil.test";
    const connection = isPlain
      ? await openConnection(sidecar.port)
      : await openTlsTunnel(sidecar.port, `${host}:443`, sidecar.ca);
    connection.socket.on("error", () => undefined);
    const count = 1 + dice(dice(5) === 0 ? 12 : 3);
    const asked = Array.from({ length: count }, () => ask(++numbers, isPlain ? `http://${host}` : "", host, dice));
    void send(connection, dice, Buffer.from(asked.map(({ bytes }) => bytes).join("")));
    if (dice(12) === 0) setTimeout(() => connection.destroy(), dice(200));
    // Twice what each may take, and the rest for a busy machine.
    const hang = setTimeout(
      () => {
        wrong.push(`connection ${index} hangs: ${connection.transcript.subarray(-200).toString("latin1")}`);
        connection.destroy();
      },
      15_000 + 4_000 * count,
    );
    try {
      for (const { n, method } of asked) {
        const { status, headers, body } = await connection.receive(method);
        answered += 1;
        const isOurs = headers.has("x-sidekey-error");
        if (!isOurs && headers.get("x-n")?.[0] !== String(n))
          wrong.push(`${n} got the answer of ${headers.get("x-n")}`);
        if (!isOurs && status === 200 && method !== "HEAD" && !String(body).startsWith(`n=${n}\n`))
          wrong.push(`${n} got the body ${body.subarray(0, 20)}`);
        if (headers.get("connection")?.[0] === "close") break;
      }
    } catch {
      // It was cut: in the middle of a broken answer, or by this test.
    }
    clearTimeout(hang);
    if (connection.transcript.includes(POISON)) wrong.push(`connection ${index} got what belongs to nothing`);
    connection.destroy();
  };

  try {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < CONNECTIONS) await talk(next++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    expect(wrong).toEqual([]);
    expect(answered).toBeGreaterThan(CONNECTIONS);

    const unended = async (): Promise<string[]> => {
      const types = new Map<unknown, string>();
      for (const { request_id, type } of await sidecar.audit()) {
        if (request_id !== undefined) types.set(request_id, `${types.get(request_id) ?? ""} ${type}`);
      }
      return [...types.values()].filter((all) => all !== " intent outcome" && all !== " refusal");
    };
    await expect.poll(unended).toEqual([]);
    const sent = upstreams.flatMap(({ requests }) => requests.map(({ path }) => numberOf(path)));
    expect(new Set(sent).size).toBe(sent.length);
    await sidecar.close();
    await expect.poll(() => upstreams[0].open + upstreams[1].open).toBe(0);
  } finally {
    await sidecar.close();
    for (const upstream of upstreams) await upstream.close();
  }
});
