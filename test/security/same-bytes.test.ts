/**
 * The sidecar between two programs changes what it documents and nothing else: the same random exchanges, directly and
 * through it, give the upstream the same request and the agent the same answer. The credential is cut out of bodies that
 * hold it; everything else is compared byte by byte.
 */
import { createHash } from "node:crypto";
import type { OutgoingHttpHeaders } from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls, TLSSocket } from "node:tls";
import {
  brotliCompressSync,
  brotliDecompressSync,
  deflateRawSync,
  deflateSync,
  gunzipSync,
  gzipSync,
  inflateRawSync,
  inflateSync,
} from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { diceOf, oneOf } from "../support/dice.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const KEY = "sk-canary-7be24c553f9a61d0c8";
const HOST = "same.test";
const EXCHANGES = 200;
const AT_ONCE = 6;

interface Coding {
  readonly name: string;
  readonly code: (bytes: Buffer) => Buffer;
  readonly decode: (bytes: Buffer) => Buffer;
}

const IDENTITY: Coding = { name: "", code: (bytes) => bytes, decode: (bytes) => bytes };
const CODINGS: readonly [Coding, ...Coding[]] = [
  IDENTITY,
  IDENTITY,
  { name: "gzip", code: (bytes) => gzipSync(bytes), decode: (bytes) => gunzipSync(bytes) },
  { name: "br", code: (bytes) => brotliCompressSync(bytes), decode: (bytes) => brotliDecompressSync(bytes) },
  { name: "deflate", code: (bytes) => deflateSync(bytes), decode: (bytes) => inflateSync(bytes) },
  { name: "deflate", code: (bytes) => deflateRawSync(bytes), decode: (bytes) => inflateRawSync(bytes) },
  {
    name: "gzip, br",
    code: (bytes) => brotliCompressSync(gzipSync(bytes)),
    decode: (bytes) => gunzipSync(brotliDecompressSync(bytes)),
  },
];

/** Text, line ends, near matches, and bytes that are no text. */
const PIECES = [
  "\n",
  "x",
  "hello ",
  "sk-canary-",
  "data: 1\n\n",
  "é",
  "\r\n",
  "\0",
  '{"a":1}',
  KEY.slice(0, 20),
] as const;

const exchangeOf = (seed: number) => {
  const dice = diceOf(seed);
  const method = oneOf(dice, ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]);
  const sends = method === "GET" || method === "HEAD" ? 0 : oneOf(dice, [0, 1, 1_000, 70_000, 300_000]);
  const status = oneOf(dice, [200, 200, 200, 201, 204, 206, 301, 304, 400, 401, 404, 429, 500, 503]);
  const texts = Array.from({ length: dice(60) }, () => oneOf(dice, PIECES).repeat(1 + dice(dice(9) === 0 ? 400 : 3)));
  if (dice(4) === 0) texts.splice(dice(texts.length + 1), 0, KEY);
  const isBodyless = method === "HEAD" || status === 204 || status === 304;
  const framing = oneOf(dice, ["length", "chunked", "close"]);
  return {
    method,
    sends,
    sendsChunks: dice(2) === 0,
    status,
    isBodyless,
    body: Buffer.from(texts.join("")),
    // Part of a coded body is withheld.
    coding: status === 206 ? IDENTITY : oneOf(dice, CODINGS),
    framing: status === 204 ? "none" : isBodyless && framing === "close" ? "length" : framing,
    headers: Array.from({ length: dice(6) }, () => [
      oneOf(dice, ["Content-Type", "ETag", "X-Thing", "Vary", "Link", "x-thing", "Set-Cookie", "Via", "Warning"]),
      oneOf(dice, ["text/plain", '"abc"', "a, b", "", "a;b=c"]),
    ]),
  };
};

/** The very bytes of an answer. */
const answerOf = (seed: number): Buffer => {
  const { status, headers, coding, framing, body, isBodyless } = exchangeOf(seed);
  const dice = diceOf(seed + 1_000_000);
  const bytes = coding.code(body);
  const lines = [`HTTP/1.1 ${status} Whatever`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  if (coding.name !== "") lines.push(`Content-Encoding: ${coding.name}`);
  if (framing === "length") lines.push(`Content-Length: ${bytes.length}`);
  if (framing === "chunked") lines.push("Transfer-Encoding: chunked");
  if (framing === "close") lines.push("Connection: close");
  const parts: Buffer[] = [Buffer.from(`${lines.join("\r\n")}\r\n\r\n`)];
  if (isBodyless) return Buffer.concat(parts);
  if (framing !== "chunked") return Buffer.concat([...parts, bytes]);
  for (let at = 0; at < bytes.length; ) {
    const chunk = bytes.subarray(at, at + 1 + dice(dice(2) === 0 ? 20 : 9_000));
    at += chunk.length;
    parts.push(
      Buffer.from(`${chunk.length.toString(16)}${dice(3) === 0 ? ';e="v"' : ""}\r\n`),
      chunk,
      Buffer.from("\r\n"),
    );
  }
  parts.push(Buffer.from(dice(2) === 0 ? "0\r\n\r\n" : "0\r\nX-Trailer: 1\r\n\r\n"));
  return Buffer.concat(parts);
};

interface Seen {
  readonly line: string;
  readonly headers: string;
  readonly bodyHash: string;
}

interface Got {
  readonly status: number | undefined;
  readonly headers: readonly string[];
  readonly body: Buffer;
}

let authority: TestAuthority;
let sidecar: TestSidecar;
let port = 0;
const seen = new Map<string, Seen>();
const closers: (() => unknown)[] = [];

/** What each side may change (docs/security-model.md). */
const OURS: ReadonlySet<string> = new Set(["host", "connection", "authorization", "accept-encoding"]);

/** Reads requests one by one, as simply as can be: both sides write them well. */
const serve = (socket: TLSSocket): void => {
  let pending = Buffer.alloc(0);
  const takeBody = (head: string, from: number): { body: Buffer; end: number } | undefined => {
    if (!/^transfer-encoding: chunked\r?$/im.test(head)) {
      const length = Number(/^content-length: (\d+)\r?$/im.exec(head)?.[1] ?? "0");
      return pending.length < from + length
        ? undefined
        : { body: pending.subarray(from, from + length), end: from + length };
    }
    const chunks: Buffer[] = [];
    for (let at = from; ; ) {
      const lineEnd = pending.indexOf("\r\n", at);
      if (lineEnd === -1) return undefined;
      const size = Number.parseInt(pending.toString("latin1", at, lineEnd), 16);
      const next = lineEnd + 2 + size + 2;
      if (pending.length < next) return undefined;
      if (size === 0) return { body: Buffer.concat(chunks), end: next };
      chunks.push(pending.subarray(lineEnd + 2, lineEnd + 2 + size));
      at = next;
    }
  };
  const answer = async (seed: number): Promise<void> => {
    const dice = diceOf(seed + 2_000_000);
    const bytes = answerOf(seed);
    const most = oneOf(dice, [bytes.length, 2_000, 30_000]);
    for (let at = 0; at < bytes.length; ) {
      const size = most === bytes.length ? most : 1 + dice(most);
      socket.write(bytes.subarray(at, at + size));
      at += size;
      if (dice(3) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    if (exchangeOf(seed).framing === "close") socket.end();
  };
  socket
    .on("error", () => undefined)
    .on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      const headEnd = pending.indexOf("\r\n\r\n");
      if (headEnd === -1) return;
      const head = pending.toString("latin1", 0, headEnd);
      const taken = takeBody(head, headEnd + 4);
      if (taken === undefined) return;
      const { body, end } = taken;
      const [line = "", ...lines] = head.split("\r\n");
      const [, way = "", seed = ""] = /way=(\w+)&seed=(\d+)/.exec(line) ?? [];
      seen.set(`${way} ${seed}`, {
        line: line.replace(/way=\w+/, ""),
        headers: lines
          .filter((one) => !OURS.has(one.slice(0, one.indexOf(":")).toLowerCase()))
          .map((one) => one.toLowerCase())
          .sort()
          .join("\n"),
        bodyHash: createHash("sha256").update(body).digest("hex"),
      });
      pending = Buffer.from(pending.subarray(end));
      void answer(Number(seed));
    });
};

beforeAll(async () => {
  authority = await createTestAuthority();
  const tls = await authority.issue({ names: [HOST] });
  const sockets = new Set<TLSSocket>();
  const server = createServer({ noDelay: true }, (raw) => {
    raw.on("error", () => undefined);
    const socket = new TLSSocket(raw, { isServer: true, ...tls });
    sockets.add(socket.once("close", () => sockets.delete(socket)));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
  sidecar = await startTestSidecar({
    environment: { KEY },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { same: { match: "https://${HOST}/**", secret: KEY, cookies: pass, allow_range: true } }
upstream: { ca: ./ca.pem, connect: { "${HOST}:443": "127.0.0.1:${port}" } }
`,
  });
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});

afterAll(async () => {
  await sidecar.close();
  for (const close of closers) close();
});

const agentFor = (connect: () => Promise<TLSSocket>): Agent => {
  class Connecting extends Agent {
    override createConnection(
      _options: unknown,
      done: (error: Error | null, stream: Duplex) => void = () => undefined,
    ): undefined {
      connect().then(
        (socket) => done(null, socket),
        (error: Error) => done(error, new Duplex()),
      );
    }
  }
  const agent: Agent = new Connecting({ keepAlive: true, maxSockets: AT_ONCE });
  closers.push(() => agent.destroy());
  return agent;
};

const exchange = (agent: Agent, way: string, seed: number): Promise<Got> =>
  new Promise((resolve, reject) => {
    const { method, sends, sendsChunks } = exchangeOf(seed);
    const framing: OutgoingHttpHeaders =
      sends === 0 ? {} : sendsChunks ? { "transfer-encoding": "chunked" } : { "content-length": sends };
    const request = httpsRequest(
      {
        agent,
        host: HOST,
        method,
        path: `/p?way=${way}&seed=${seed}`,
        headers: { "X-A": "b", "Accept-Encoding": "gzip, br", ...framing },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response
          .on("data", (chunk: Buffer) => chunks.push(chunk))
          .on("error", reject)
          .on("end", () =>
            resolve({ status: response.statusCode, headers: response.rawHeaders, body: Buffer.concat(chunks) }),
          );
      },
    );
    request.on("error", reject);
    const dice = diceOf(seed + 3_000_000);
    for (let left = sends; left > 0; ) {
      const size = Math.min(left, 1 + dice(60_000));
      request.write(Buffer.alloc(size, 97 + dice(20)));
      left -= size;
    }
    request.end();
  });

/** Framing is each connection's own; of a body that was decoded, coding and ranges are gone. */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "content-length",
  "content-encoding",
]);

const linesOf = (headers: readonly string[], wasDecoded: boolean): string[] => {
  const lines: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const [name = "", value = ""] = headers.slice(i, i + 2);
    if (FRAMING.has(name.toLowerCase())) continue;
    const isWeakened = wasDecoded && name.toLowerCase() === "etag" && value.startsWith('"');
    lines.push(`${name}: ${isWeakened ? "W/" : ""}${value}`);
  }
  return lines;
};

const redacted = (body: Buffer): Buffer =>
  Buffer.from(body.toString("latin1").replaceAll(KEY, "[redacted]".padEnd(KEY.length, "*")), "latin1");

it("an exchange through the sidecar is the exchange without it", { timeout: 300_000 }, async () => {
  const direct = agentFor(async () =>
    connectTls({ port, host: "127.0.0.1", servername: HOST, ca: authority.certificatePem }),
  );
  const through = agentFor(async () => {
    const { socket } = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    return socket.removeAllListeners("data").removeAllListeners("end") as TLSSocket;
  });
  const differences: string[] = [];
  let next = 1;
  const worker = async (): Promise<void> => {
    while (next <= EXCHANGES) {
      const seed = next++;
      const { coding, isBodyless, body } = exchangeOf(seed);
      const plain = await exchange(direct, "direct", seed);
      const got = await exchange(through, "through", seed);
      const isDecoded = coding.name !== "";
      expect(isBodyless || coding.decode(plain.body).equals(body)).toBe(true);
      if (got.status !== plain.status) differences.push(`${seed}: status ${got.status}`);
      if (!got.body.equals(isBodyless ? Buffer.alloc(0) : redacted(body))) differences.push(`${seed}: body`);
      const [is, was] = [linesOf(got.headers, false), linesOf(plain.headers, isDecoded)];
      if (is.join("\n") !== was.join("\n")) differences.push(`${seed}: ${JSON.stringify({ is, was })}`);
      const [sent, meant] = [seen.get(`through ${seed}`), seen.get(`direct ${seed}`)];
      if (JSON.stringify(sent) !== JSON.stringify(meant))
        differences.push(`${seed}: ${JSON.stringify({ sent, meant })}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  expect(differences).toEqual([]);
});
