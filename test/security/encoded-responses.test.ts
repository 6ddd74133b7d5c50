/**
 * Attack: the upstream sends the credential back where a search of the bytes would not see it, in compressed bodies, and
 * in ones that are broken, lie about themselves or explode (guarantees A6, A7, A13; rulings 5 and 13).
 */
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createGzip,
  deflateRawSync,
  deflateSync,
  gzipSync,
} from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FREE_OUTPUT } from "../../src/sidecar/scrub/codings.ts";
import { CANARY, createHostileStage, get, type HostileStage } from "../support/hostile-stage.ts";
import type { RawPeer, RawScript } from "../support/raw-upstream.ts";

const ECHO = `{"you":"Bearer ${CANARY}",\n"b64":"${Buffer.from(`x${CANARY}`).toString("base64")}","after":"${"-".repeat(300)}"}`;
/** Every piece keeps its length. */
const REDACTED = expect.stringMatching(
  /^\{"you":"Bearer \[redacted\]\*{18}",\n"b64":"[^"]{0,3}\[redacted\]\*+[^"*]{0,4}","after":"-{300}"\}$/,
);

const ENCODED: Readonly<Record<string, readonly [contentEncoding: string, body: Buffer]>> = {
  gzip: ["gzip", gzipSync(ECHO)],
  "gzip, by its old name": ["X-GZIP", gzipSync(ECHO)],
  "deflate with zlib's header": ["deflate", deflateSync(ECHO)],
  "deflate, raw": ["deflate", deflateRawSync(ECHO)],
  br: ["br", brotliCompressSync(ECHO)],
  "two members, the credential across": [
    "gzip",
    Buffer.concat([gzipSync(ECHO.slice(0, 22)), gzipSync(ECHO.slice(22))]),
  ],
  "gzip in gzip": ["gzip, gzip", gzipSync(gzipSync(ECHO))],
  "gzip in br": ["gzip, br", brotliCompressSync(gzipSync(ECHO))],
  "three on top of each other": ["deflate, identity, gzip, br", brotliCompressSync(gzipSync(deflateSync(ECHO)))],
  "stored, not packed": ["gzip", gzipSync(ECHO, { level: 0 })],
};

type Framing = "length" | "chunks of 7" | "chunks of 1" | "close";
const FRAMINGS: readonly Framing[] = ["length", "chunks of 7", "chunks of 1", "close"];

const chunked = (body: Buffer, size: number): Buffer => {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
};

const HEAD = 'HTTP/1.1 200 OK\r\nETag: "strong"\r\nAccept-Ranges: bytes\r\nVary: Accept-Encoding, Cookie\r\n';

const send =
  (contentEncoding: string, body: Buffer, framing: Framing = "length", head = HEAD): RawScript =>
  async (_request, peer) => {
    const start = `${head}Content-Encoding: ${contentEncoding}\r\n`;
    if (framing === "length") await peer.send(`${start}Content-Length: ${body.length}\r\n\r\n`);
    else if (framing === "close") await peer.send(`${start}\r\n`);
    else await peer.send(`${start}Transfer-Encoding: chunked\r\n\r\n`);
    if (framing === "length" || framing === "close") await peer.send(body);
    else {
      const bytes = chunked(body, framing === "chunks of 7" ? 7 : 1);
      // In segments of an odd size, so that no piece ends where a chunk does.
      for (let at = 0; at < bytes.length; at += 101) await peer.send(bytes.subarray(at, at + 101));
    }
    if (framing === "close") peer.end();
  };

const answers: Record<string, RawScript> = {};
const slug = (name: string): string => encodeURIComponent(name.replaceAll(" ", "-").replaceAll(",", ""));
for (const [name, [contentEncoding, body]] of Object.entries(ENCODED)) {
  for (const framing of FRAMINGS) answers[slug(`${name}.${framing}`)] = send(contentEncoding, body, framing);
}

const LEAK = Buffer.from(ECHO);
const WITHHELD: Readonly<Record<string, RawScript>> = {
  "a coding we don't know": send("zstd", LEAK),
  "a made-up coding": send("x-foo", LEAK),
  "a coding we don't know under one that we do": send("compress, gzip", gzipSync(LEAK)),
  "four codings": send("gzip, gzip, gzip, gzip", gzipSync(gzipSync(gzipSync(gzipSync(LEAK))))),
  "text that is called gzip": send("gzip", LEAK),
  "text that is called br": send("br", LEAK),
  "text that is called deflate": send("deflate", LEAK),
  "gzip that is called br": send("br", gzipSync(LEAK)),
  "text behind gzip": send("gzip", Buffer.concat([gzipSync("fine"), LEAK])),
  "zeros and text behind gzip": send("gzip", Buffer.concat([gzipSync("fine"), Buffer.from("\0\0"), LEAK])),
  "text behind br": send("br", Buffer.concat([brotliCompressSync("fine"), LEAK])),
  "text behind raw deflate": send("deflate", Buffer.concat([deflateRawSync("fine"), LEAK])),
  "gzip cut short": send("gzip", gzipSync(LEAK).subarray(0, -3)),
  "gzip with a wrong check sum": send("gzip", flipped(gzipSync(LEAK))),
  "part of a gzip body": send("gzip", gzipSync(LEAK), "length", "HTTP/1.1 206 Partial Content\r\n"),
  "two headers that disagree": send("gzip\r\nContent-Encoding: br", gzipSync(LEAK)),
};

function flipped(gzip: Buffer): Buffer {
  gzip[gzip.length - 6] = (gzip[gzip.length - 6] ?? 0) ^ 1;
  return gzip;
}
for (const [name, script] of Object.entries(WITHHELD)) answers[slug(name)] = script;

/** One event, flushed, then what breaks it. */
const FIRST = "data: first\n\n";
const begin = async (peer: RawPeer, contentEncoding: "gzip" | "br"): Promise<void> => {
  const encoder = contentEncoding === "gzip" ? createGzip() : createBrotliCompress();
  const parts: Buffer[] = [];
  encoder.on("data", (part: Buffer) => parts.push(part));
  encoder.write(FIRST);
  const kind = contentEncoding === "gzip" ? constants.Z_SYNC_FLUSH : constants.BROTLI_OPERATION_FLUSH;
  await new Promise<void>((resolve) => encoder.flush(kind, resolve));
  encoder.destroy();
  const first = Buffer.concat(parts);
  await peer.send(`${HEAD}Content-Encoding: ${contentEncoding}\r\nTransfer-Encoding: chunked\r\n\r\n`);
  await peer.send(chunked(first, first.length).subarray(0, -5));
};

const seen = new Map<string, () => void>();
const afterFirst = (contentEncoding: "gzip" | "br", rest: (peer: RawPeer) => unknown): RawScript => {
  return async (request, peer) => {
    const isSeen = new Promise<void>((resolve) => seen.set(request.path, resolve));
    await begin(peer, contentEncoding);
    await isSeen;
    await rest(peer);
  };
};

const CUT: Readonly<Record<string, RawScript>> = {
  "text in the middle of gzip": afterFirst("gzip", (peer) => peer.send(chunked(LEAK, 999))),
  "text in the middle of br": afterFirst("br", (peer) => peer.send(chunked(LEAK, 999))),
  "an end in the middle of gzip": afterFirst("gzip", (peer) => peer.send("0\r\n\r\n")),
  "an end in the middle of br": afterFirst("br", (peer) => peer.send("0\r\n\r\n")),
  "a reset in the middle of gzip": afterFirst("gzip", (peer) => peer.reset()),
};
for (const [name, script] of Object.entries(CUT)) answers[slug(name)] = script;

const BOMBS: Readonly<Record<string, readonly [string, Buffer]>> = (() => {
  const zeros = Buffer.alloc(FREE_OUTPUT * 8);
  const gzip = gzipSync(zeros);
  const br = brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
  return { gzip: ["gzip", gzip], br: ["br", br], "gzip in gzip": ["gzip, gzip", gzipSync(gzip)] } as const;
})();
for (const [name, [contentEncoding, body]] of Object.entries(BOMBS)) {
  answers[slug(`bomb ${name}`)] = send(contentEncoding, body);
}

answers["empty"] = send("gzip", Buffer.alloc(0));
answers["empty-chunked"] = send("gzip, br", Buffer.alloc(0), "chunks of 7");
answers["head"] = (_request, peer) => peer.send(`${HEAD}Content-Encoding: gzip\r\nContent-Length: 999\r\n\r\n`);
answers["no-content"] = (_request, peer) =>
  peer.send('HTTP/1.1 204 No Content\r\nContent-Encoding: br\r\nETag: "s"\r\n\r\n');
answers["not-modified"] = (_request, peer) =>
  peer.send('HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\nETag: "s"\r\nContent-Length: 99\r\n\r\n');
answers["identity"] = send("identity", LEAK);
answers["trailers"] = async (_request, peer) => {
  const start = `HTTP/1.1 200 ${CANARY}\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nTrailer: X-Key\r\n\r\n`;
  const body = chunked(gzipSync("fine"), 7).subarray(0, -2);
  await peer.send(Buffer.concat([Buffer.from(start), body, Buffer.from(`X-Key: ${CANARY}\r\n\r\n`)]));
};
answers["error-page"] = send("gzip", gzipSync(ECHO), "length", "HTTP/1.1 401 No\r\n");
answers["headers"] = (_request, peer) =>
  peer.send(
    `HTTP/1.1 302 ${CANARY}\r\nLocation: https://evil.test/?k=${CANARY}\r\nRefresh: 1; url=/?k=${CANARY}\r\n` +
      `Link: </?k=${CANARY}>; rel=next\r\nWWW-Authenticate: Bearer error="${CANARY}"\r\nSet-Cookie: k=${CANARY}\r\n` +
      `ETag: "${CANARY}"\r\nX-${CANARY}: x\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n`,
  );

let stage: HostileStage;

beforeAll(async () => {
  stage = await createHostileStage({ answers });
});

afterAll(() => stage.close());

describe("a response that holds the credential", () => {
  it.each(Object.keys(ENCODED).map((name) => ({ name })))(
    "comes back decoded and redacted: $name",
    async ({ name }) => {
      for (const framing of FRAMINGS) {
        const path = `/${slug(`${name}.${framing}`)}`;
        const { response } = await stage.ask(get(path, "Accept-Encoding: gzip\r\n"));
        expect([framing, response.status, String(response.body)]).toEqual([framing, 200, REDACTED]);
        const header = (field: string) => response.headers.get(field);
        expect(header("transfer-encoding")).toEqual(["chunked"]);
        expect(header("content-encoding")).toBeUndefined();
        expect(header("content-length")).toBeUndefined();
        expect(header("accept-ranges")).toBeUndefined();
        expect(header("etag")).toEqual(['W/"strong"']);
        expect(header("vary")).toEqual(["Accept-Encoding, Cookie"]);
        expect(await stage.outcome(path)).toMatchObject({ outcome: "ok", status: 200, reflected: 2 });
      }
    },
  );

  it("comes back the same to an agent that asked for no coding", async () => {
    const { response } = await stage.ask(get("/gzip.close"));
    expect(String(response.body)).toEqual(REDACTED);
    const { response: plain } = await stage.ask(get("/identity"));
    expect([String(plain.body), plain.headers.get("content-length")]).toEqual([REDACTED, [String(LEAK.length)]]);
  });

  it("is an error page like any other", async () => {
    const { response } = await stage.ask(get("/error-page"));
    expect([response.status, String(response.body)]).toEqual([401, REDACTED]);
  });

  it("holds it in no header, no reason phrase and no trailer", async () => {
    const { response } = await stage.ask(get("/headers"), "HEAD");
    expect([response.status, response.reason]).toEqual([302, "Found"]);
    expect(response.headers.get("location")?.[0]).toContain("?k=[redacted]");
    expect(response.headers.get("refresh")?.[0]).toContain("[redacted]");
    expect(response.headers.get("link")?.[0]).toContain("[redacted]");
    expect(response.headers.get("etag")?.[0]).toMatch(/^W\/"\[redacted\]\*+"$/);
    expect(response.headers.get("set-cookie")).toBeUndefined();
    const { response: trailed, connection } = await stage.ask(get("/trailers"));
    expect([trailed.reason, String(trailed.body)]).toEqual(["OK", "fine"]);
    expect(connection.buffered).toHaveLength(0);
    await stage.after(connection);
  });
});

describe("a response that cannot be decoded", () => {
  it.each(Object.keys(WITHHELD).map((name) => ({ name })))("is withheld: $name", async ({ name }) => {
    expect(await stage.refusal(`/${slug(name)}`)).toEqual([502, "UPSTREAM_UNDECODABLE"]);
    expect(await stage.outcome(`/${slug(name)}`)).toMatchObject({ code: "UPSTREAM_UNDECODABLE", status: 502 });
    await stage.after();
  });

  it.each(Object.keys(CUT).map((name) => ({ name })))(
    "is cut when it breaks after its head: $name",
    async ({ name }) => {
      const path = `/${slug(name)}`;
      const connection = await stage.tunnel();
      connection.send(get(path));
      await expect.poll(() => connection.transcript.toString("latin1")).toContain(FIRST);
      seen.get(path)?.();
      await expect(connection.receive()).rejects.toThrow("connection ended");
      expect(connection.transcript.toString("latin1")).not.toContain("\r\n0\r\n");
      const isReset = name.includes("reset");
      expect(await stage.outcome(path)).toMatchObject({ outcome: "upstream_aborted", status: 200 });
      expect((await stage.outcome(path))["code"]).toBe(isReset ? "UPSTREAM_RESET" : "UPSTREAM_UNDECODABLE");
      await stage.after();
    },
  );
});

describe("a response without a body", () => {
  it.each(["empty", "empty-chunked"])("ends although it names a coding: %s", async (name) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, String(response.body)]).toEqual([200, ""]);
    expect(response.headers.get("content-encoding")).toBeUndefined();
    await stage.after(connection);
  });

  it("to HEAD has the headers of the decoded one", async () => {
    const { response, connection } = await stage.ask(get("/head").replace("GET", "HEAD"), "HEAD");
    expect(response.headers.get("etag")).toEqual(['W/"strong"']);
    for (const name of ["content-encoding", "content-length"]) expect(response.headers.get(name)).toBeUndefined();
    await stage.after(connection);
  });

  it.each([
    ["no-content", 204],
    ["not-modified", 304],
  ])("is %s", async (name, status) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, response.headers.get("etag")]).toEqual([status, ['W/"s"']]);
    expect(response.headers.get("content-encoding")).toBeUndefined();
    await stage.after(connection);
  });
});

describe("a bomb", () => {
  it.each(Object.keys(BOMBS))("in %s is cut", async (name) => {
    const path = `/${slug(`bomb ${name}`)}`;
    const connection = await stage.tunnel();
    // It is counted, not kept.
    let bytes = 0;
    connection.socket.removeAllListeners("data");
    connection.socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    connection.send(get(path));
    await connection.closed();
    expect(bytes).toBeLessThan(FREE_OUTPUT * 8);
    expect(await stage.outcome(path)).toMatchObject({ outcome: "upstream_aborted", code: "UPSTREAM_UNDECODABLE" });
  });

  it("in front of an agent that does not read takes no memory", async () => {
    const before = process.memoryUsage().rss;
    const connections = await Promise.all(Array.from({ length: 10 }, () => stage.tunnel()));
    for (const connection of connections) {
      connection.socket.pause();
      connection.send(get(`/${slug("bomb br")}`));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    // Ten times 128 MiB, were they kept.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    for (const connection of connections) connection.destroy();
    await expect.poll(async () => (await stage.outcome(`/${slug("bomb br")}`))["outcome"]).toBe("client_aborted");
  });
});
