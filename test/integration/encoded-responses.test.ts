/** Compressed responses from an upstream as servers build them: node:https and node:zlib, flushed event by event. */
import { createHash, randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { Transform } from "node:stream";
import { brotliCompressSync, constants, createBrotliCompress, createGzip, gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection, openTlsTunnel, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

const CANARY = "canary-5c0de3f9a61d07be24";
const get = (path: string, extra = "Accept-Encoding: gzip, br\r\n"): string =>
  `GET ${path} HTTP/1.1\r\nHost: api.test\r\n${extra}\r\n`;

const LARGE = Buffer.concat(
  Array.from({ length: 3_000 }, (_, n) => Buffer.from(`${n} ${randomBytes(1_000).toString("base64")}\n`)),
);

interface Stream {
  readonly response: ServerResponse;
  /** Flushes it out; settles once it has left the encoder. */
  send(text: string): Promise<void>;
  end(): void;
}

/** By path; what the test sends on, when it wants to. */
const streams = new Map<string, Stream>();

const openStream = (response: ServerResponse, coding: string): Stream => {
  response.writeHead(200, {
    "content-type": "text/event-stream",
    ...(coding !== "identity" && { "content-encoding": coding }),
  });
  response.flushHeaders();
  const encoder: (Transform & { flush(kind: number, done: () => void): void }) | undefined =
    coding === "gzip" ? createGzip() : coding === "br" ? createBrotliCompress() : undefined;
  encoder?.pipe(response);
  const kind = coding === "br" ? constants.BROTLI_OPERATION_FLUSH : constants.Z_SYNC_FLUSH;
  return {
    response,
    send: (text) =>
      new Promise((resolve) => {
        if (encoder === undefined) response.write(text, () => resolve());
        else {
          encoder.write(text);
          encoder.flush(kind, resolve);
        }
      }),
    end: () => void (encoder ?? response).end(),
  };
};

const handler: UpstreamHandler = async (request, response, { path, header }) => {
  for await (const _ of request);
  const [, what = "", coding = ""] = path.split("/");
  if (what === "stream") streams.set(path, openStream(response, coding));
  else if (what === "echo") {
    const body = Buffer.from(`{"you":"${header("authorization").join()}"}`);
    const coded = coding === "gzip" ? gzipSync(body) : brotliCompressSync(body);
    response.writeHead(200, { "content-encoding": coding, "content-length": coded.length }).end(coded);
  } else if (what === "large") {
    response.writeHead(200, { "content-encoding": "gzip" });
    const encoder = createGzip({ level: 1 });
    encoder.pipe(response);
    encoder.end(LARGE);
  } else if (what === "plain-gzip") {
    const coded = gzipSync("fine");
    response.writeHead(200, { "content-encoding": "gzip", etag: '"s"', "content-length": coded.length }).end(coded);
  } else response.writeHead(404).end();
};

let upstream: TestUpstream;
let plain: TestUpstream;
let sidecar: TestSidecar;
const connections: RawConnection[] = [];

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startUpstream({ tls: await authority.issue({ names: ["api.test"] }), handler });
  plain = await startUpstream({ handler });
  sidecar = await startTestSidecar({
    environment: { KEY: CANARY },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { api: { match: "https://api.test/**", secret: KEY } }
unmatched: tunnel
egress: { allow: [127.0.0.0/8] }
upstream: { ca: ./ca.pem, connect: { "api.test:443": "${upstream.address}" } }
`,
  });
});

afterAll(async () => {
  for (const { transcript, socket } of connections) {
    expect(transcript.includes(CANARY)).toBe(false);
    socket.destroy();
  }
  await sidecar.close();
  await upstream.close();
  await plain.close();
});

const ask = async (path: string): Promise<RawConnection> => {
  const connection = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);
  connections.push(connection);
  connection.send(get(path));
  return connection;
};

const text = (connection: RawConnection): string => connection.transcript.toString("latin1");

describe("events", () => {
  it("arrive one by one also when a carriage return alone ends their lines", async () => {
    const path = "/stream/identity";
    const connection = await ask(path);
    await expect.poll(() => text(connection)).toContain("text/event-stream");
    const stream = streams.get(path);
    for (let n = 1; n <= 3; n++) {
      void stream?.send(`data: ${CANARY}\rdata: event ${n}\r\r`);
      await expect.poll(() => text(connection)).toContain(`data: event ${n}\r\r`);
    }
    stream?.end();
    const { body } = await connection.receive();
    expect(body.toString()).not.toContain(CANARY);
    connection.destroy();
  });

  it.each(["gzip", "br", "identity"])("in %s arrive one by one, each before the next is sent", async (coding) => {
    const path = `/stream/${coding}`;
    const connection = await ask(path);
    // The head comes before there is any body: an agent may wait for it before it does what makes an event.
    await expect.poll(() => text(connection)).toContain("HTTP/1.1 200 OK");
    expect(text(connection)).toContain("text/event-stream");
    const stream = streams.get(path);
    for (let n = 1; n <= 8; n++) {
      void stream?.send(`data: event ${n} ${"x".repeat(n * 40)} ${CANARY}\n\n`);
      // The next event is not sent before this one is here.
      await expect.poll(() => text(connection)).toContain(`data: event ${n} ${"x".repeat(n * 40)} [redacted]`);
    }
    stream?.end();
    const response = await connection.receive();
    expect(String(response.body).split("\n\n")).toHaveLength(9);
    expect(response.headers.get("content-encoding")).toBeUndefined();
  });

  it("end for the upstream when the agent leaves", async () => {
    const path = "/stream/gzip/left";
    const connection = await ask(path);
    await expect.poll(() => streams.get(path)).toBeDefined();
    const stream = streams.get(path);
    void stream?.send("data: one\n\n");
    await expect.poll(() => text(connection)).toContain("data: one");
    connection.destroy();
    await expect.poll(() => stream?.response.destroyed).toBe(true);
  });

  it("wait at the upstream for an agent that does not read", async () => {
    const path = "/stream/gzip/slow";
    const connection = await ask(path);
    await expect.poll(() => streams.get(path)).toBeDefined();
    connection.socket.pause();
    const { send } = streams.get(path) as Stream;
    // Random, so that it packs to what it was; more than all buffers on the way hold.
    const block = randomBytes(64 * 1024).toString("base64");
    let offered = 0;
    let isStuck = false;
    while (!isStuck && offered < 64 * 1024 * 1024) {
      offered += block.length;
      let timer: NodeJS.Timeout | undefined;
      const stuck = new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(true), 1_000);
      });
      isStuck = await Promise.race([send(`${block}\n`).then(() => false), stuck]);
      clearTimeout(timer);
    }
    expect(isStuck).toBe(true);
    connection.destroy();
  });
});

describe("a large body", () => {
  it("arrives whole, decoded on the way", async () => {
    const connection = await ask("/large");
    const { status, body } = await connection.receive();
    expect([status, sha(body)]).toEqual([200, sha(LARGE)]);
  });
});

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

describe("on a route", () => {
  it.each(["gzip", "br"])("an echo in %s is decoded and redacted", async (coding) => {
    const connection = await ask(`/echo/${coding}`);
    expect(String((await connection.receive()).body)).toBe(`{"you":"Bearer [redacted]${"*".repeat(15)}"}`);
  });
});

describe("what passes without a credential", () => {
  it("is not touched: codings, lengths and tags stay, and so does what the agent accepts", async () => {
    const connection = await openConnection(sidecar.port);
    const target = `http://127.0.0.1:${plain.port}/plain-gzip`;
    connection.send(
      `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${plain.port}\r\nAccept-Encoding: gzip;q=0.5, x-own\r\nRange: bytes=0-\r\n\r\n`,
    );
    const { headers, body } = await connection.receive();
    expect(gunzipSync(body).toString()).toBe("fine");
    expect([headers.get("content-encoding"), headers.get("etag")]).toEqual([["gzip"], ['"s"']]);
    expect(headers.get("content-length")).toEqual([String(body.length)]);
    const [request] = plain.requests;
    expect([request?.header("accept-encoding"), request?.header("range")]).toEqual([
      ["gzip;q=0.5, x-own"],
      ["bytes=0-"],
    ]);
    connection.destroy();
  });
});
