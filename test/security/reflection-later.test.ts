/**
 * Attack: an agent holds an answer open until its route has sent another credential (a rotation, a reload, another
 * placeholder), and has the upstream put that one into it. An answer is searched for all that its route sends while it lasts.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { constants, createGzip } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { leaksOf } from "../support/leaks.ts";
import { openConnection, type RawConnection } from "../support/raw-client.ts";
import { type RawPeer, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const FIRST = "sk-canary-first-7be24c553f9a61d0c8";
const SECOND = "canary/second+9d1c27b80e63a5f04ae1";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const HEAD = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
const chunk = (bytes: Buffer | string): Buffer =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), Buffer.from(bytes), Buffer.from("\r\n")]);

/** An answer that is under way: what the upstream adds to it, and how it ends. */
interface Open {
  say(text: string): Promise<void>;
  end(): Promise<void>;
}

const open = async (kind: string, peer: RawPeer): Promise<Open> => {
  if (kind === "events") {
    await peer.send(`${HEAD}Content-Type: text/event-stream\r\n\r\n`);
    await peer.send(chunk("data: begun\n\n"));
    return { say: (text) => peer.send(chunk(`data: ${text}\n\n`)), end: () => peer.send("0\r\n\r\n") };
  }
  if (kind === "gzip") {
    const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
    gzip.on("data", (bytes: Buffer) => void peer.send(chunk(bytes)));
    await peer.send(`${HEAD}Content-Encoding: gzip\r\n\r\n`);
    gzip.write("begun\n");
    return {
      say: (text) => new Promise((resolve) => gzip.write(`${text}\n`, () => resolve())),
      end: () =>
        new Promise((resolve) => {
          gzip.once("end", () => void peer.send("0\r\n\r\n").then(resolve));
          gzip.end();
        }),
    };
  }
  // Nothing of it yet: the answer to a request that was sent before.
  const said: string[] = [];
  return {
    say: async (text) => void said.push(text),
    end: () => {
      const body = `begun\n${said.join("\n")}`;
      const head = `HTTP/1.1 200 OK\r\nX-Said: ${said.join(" ")}\r\nContent-Length: ${body.length}\r\n\r\n`;
      return peer.send(head + body);
    },
  };
};

const KINDS = ["events", "gzip", "late"];

interface Stage {
  readonly sidecar: TestSidecar;
  /** What the upstream got last. */
  credential(): string;
  /** One request, whole. */
  ask(path: string): Promise<void>;
  /** Of this kind, begun, and where the agent waits for it. */
  begin(kind: string): Promise<{ readonly answer: Open; readonly connection: RawConnection }>;
  write(name: string, value: string): void;
  writeFile(secret: string): void;
}

const startStage = async (): Promise<Stage> => {
  const opened = new Map<string, Open>();
  let credential = "";
  const upstream = await startRawUpstream({
    script: async ({ head, path }, peer) => {
      credential = /^authorization: bearer (.*)$/im.exec(head)?.[1]?.trim() ?? "";
      const [, kind = ""] = /^\/open\/(.*)$/.exec(path) ?? [];
      if (kind === "") await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else opened.set(kind, await open(kind, peer));
    },
  });
  closers.push(() => upstream.close());
  const fileFor = (secret: string): string => `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { files: { kind: file, root: ./keys } }
routes:
  r: { match: "http://${upstream.address}/**", secret: ${secret}, max_age: 0s }
`;
  let directory = "";
  const write = (name: string, value: string): void => writeFileSync(join(directory, "keys", name), value);
  const sidecar = await startTestSidecar({
    file: fileFor("one"),
    prepare: async (made) => {
      directory = made;
      mkdirSync(join(made, "keys"));
      write("one", FIRST);
      writeFileSync(join(made, "sidekey.yaml"), fileFor("one"));
    },
  });
  closers.push(() => sidecar.close());
  const request = (path: string): string =>
    `GET http://${upstream.address}${path} HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`;
  return {
    sidecar,
    credential: () => credential,
    async ask(path) {
      const connection = await openConnection(sidecar.port);
      connection.send(request(path));
      expect((await connection.receive()).status).toBe(200);
      connection.destroy();
    },
    async begin(kind) {
      const connection = await openConnection(sidecar.port);
      closers.push(async () => connection.destroy());
      connection.send(request(`/open/${kind}`));
      await expect.poll(() => opened.has(kind)).toBe(true);
      return { answer: opened.get(kind) as Open, connection };
    },
    write,
    writeFile: (secret) => writeFileSync(join(directory, "sidekey.yaml"), fileFor(secret)),
  };
};

/** The upstream tells both credentials in an answer that is under way; the agent gets neither. */
const tellBoth = async ({ answer, connection }: Awaited<ReturnType<Stage["begin"]>>): Promise<void> => {
  await answer.say(`now ${SECOND} and before ${FIRST} it`);
  await answer.say(`in hex ${Buffer.from(SECOND).toString("hex")} end`);
  await answer.end();
  const { status, body } = await connection.receive();
  const [first, second] = [FIRST, SECOND].map((text) => "[redacted]".padEnd(text.length, "*"));
  expect([status, body.toString()]).toEqual([200, expect.stringContaining("begun\n")]);
  expect(body.toString()).toContain(`now ${second} and before ${first} it`);
  expect(body.toString()).toContain(`in hex ${"[redacted]".padEnd(SECOND.length * 2, "*")} end`);
  for (const secret of [FIRST, SECOND]) expect(leaksOf(connection.transcript, Buffer.from(secret))).toEqual([]);
};

describe("an answer that is under way", () => {
  it.each(KINDS)("is searched for the secret that a rotation has brought since: %s", async (kind) => {
    const stage = await startStage();
    const begun = await stage.begin(kind);
    expect(stage.credential()).toBe(FIRST);
    stage.write("one", SECOND);
    await stage.ask("/");
    expect(stage.credential()).toBe(SECOND);
    await tellBoth(begun);
  });

  it.each(KINDS)("is searched for the secret that a reload has given its route since: %s", async (kind) => {
    const stage = await startStage();
    const begun = await stage.begin(kind);
    stage.write("two", SECOND);
    stage.writeFile("two");
    expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("generation");
    await stage.ask("/");
    expect(stage.credential()).toBe(SECOND);
    await tellBoth(begun);
  });

  it("goes on as before, byte for byte, when nothing is told in it", async () => {
    const stage = await startStage();
    const { answer, connection } = await stage.begin("events");
    await answer.say("before the rotation");
    stage.write("one", SECOND);
    await stage.ask("/");
    await answer.say("after the rotation");
    await answer.end();
    expect((await connection.receive()).body.toString()).toBe(
      "data: begun\n\ndata: before the rotation\n\ndata: after the rotation\n\n",
    );
  });
});
