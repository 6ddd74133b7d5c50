import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createDeflate,
  createDeflateRaw,
  createGzip,
  deflateRawSync,
  deflateSync,
  gzipSync,
} from "node:zlib";
import { describe, expect, it } from "vitest";
import { type Coding, FREE_OUTPUT, MAX_RATIO } from "../../../../src/sidecar/scrub/codings.ts";
import { BodyDecoder } from "../../../../src/sidecar/scrub/decoders.ts";

interface Decoded {
  readonly text: string;
  /** "end", or why not. */
  readonly end: string;
}

interface Reading {
  readonly decoder: BodyDecoder;
  readonly chunks: Buffer[];
  /** Settles at the end. */
  readonly done: Promise<Decoded>;
  readonly log: string[];
}

const read = (codings: readonly Coding[], onData: (chunk: Buffer) => void = () => undefined): Reading => {
  const chunks: Buffer[] = [];
  const log: string[] = [];
  let settle = (_: string): void => undefined;
  const done = new Promise<Decoded>((resolve) => {
    settle = (end) => resolve({ text: Buffer.concat(chunks).toString("latin1"), end });
  });
  const decoder = new BodyDecoder(codings, {
    begun: () => log.push("begun"),
    data: (chunk) => {
      chunks.push(chunk);
      onData(chunk);
    },
    end: () => {
      log.push("end");
      settle("end");
    },
    broken: (why) => {
      log.push("broken");
      settle(why);
    },
    full: () => log.push("full"),
    drained: () => log.push("drained"),
  });
  return { decoder, chunks, done, log };
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** With `streamed` each piece comes in a turn of its own, else all of them and the end in one. */
const decode = async (codings: readonly Coding[], pieces: readonly Buffer[], streamed: boolean): Promise<Decoded> => {
  const { decoder, done } = read(codings);
  for (const piece of pieces) {
    decoder.write(Buffer.from(piece));
    if (streamed) await turn();
  }
  decoder.end();
  return done;
};

const TEXT = `{"key":"value","more":"${"value ".repeat(9)}"}\n`;
const text = Buffer.from(TEXT);

/** Name, codings to take off, coded bytes. */
const SAMPLES: readonly (readonly [string, readonly Coding[], Buffer])[] = [
  ["gzip", ["gzip"], gzipSync(text)],
  ["gzip with a name and a comment", ["gzip"], withGzipName(gzipSync(text))],
  ["deflate, zlib", ["deflate"], deflateSync(text)],
  ["deflate, raw", ["deflate"], deflateRawSync(text)],
  ["br", ["br"], brotliCompressSync(text)],
  ["gzip in br", ["br", "gzip"], brotliCompressSync(gzipSync(text))],
  ["raw deflate in gzip in br", ["br", "gzip", "deflate"], brotliCompressSync(gzipSync(deflateRawSync(text)))],
  ["two members", ["gzip"], Buffer.concat([gzipSync(text.subarray(0, 20)), gzipSync(text.subarray(20))])],
  ["an empty member between", ["gzip"], Buffer.concat([gzipSync(text), gzipSync("")])],
];

/** RFC 1952 section 2.3: FLG with FNAME and FCOMMENT. */
function withGzipName(gzip: Buffer): Buffer {
  const head = Buffer.from(gzip.subarray(0, 10));
  head[3] = 0x18;
  return Buffer.concat([head, Buffer.from("a name\0a comment\0"), gzip.subarray(10)]);
}

describe.each(SAMPLES)("a body in %s", (_name, codings, coded) => {
  it("is decoded whole, and split in two at every place", async () => {
    expect(await decode(codings, [coded], false)).toEqual({ text: TEXT, end: "end" });
    expect(await decode(codings, [coded], true)).toEqual({ text: TEXT, end: "end" });
    for (let at = 1; at < coded.length; at++) {
      const pieces = [coded.subarray(0, at), coded.subarray(at)];
      expect([at, await decode(codings, pieces, true)]).toEqual([at, { text: TEXT, end: "end" }]);
    }
  });

  it("is decoded byte by byte", async () => {
    expect(await decode(codings, bytesOf(coded), true)).toEqual({ text: TEXT, end: "end" });
    expect(await decode(codings, bytesOf(coded), false)).toEqual({ text: TEXT, end: "end" });
  });

  it("is refused when it is cut short at any place but between members", async () => {
    for (let length = 1; length < coded.length; length++) {
      for (const streamed of [true, false]) {
        const decoded = await decode(codings, [coded.subarray(0, length)], streamed);
        const isBetween = decoded.end === "end" && codings[0] === "gzip" && TEXT.startsWith(decoded.text);
        expect([length, isBetween ? "cut short" : decoded.end]).toEqual([length, expect.stringContaining("cut short")]);
      }
    }
  });

  it.each([
    ["a zero", Buffer.from([0])],
    ["zeros and then text", Buffer.from("\0\0\0secret")],
    ["text", Buffer.from("secret")],
    ["half a magic number", Buffer.from([0x1f])],
  ])("is refused with %s behind it", async (_what, behind) => {
    for (const streamed of [true, false]) {
      for (const pieces of [[Buffer.concat([coded, behind])], [coded, behind]]) {
        expect((await decode(codings, pieces, streamed)).end).toMatch(/behind the coded body|broken or cut short/);
      }
    }
  });
});

const bytesOf = (bytes: Buffer): Buffer[] => [...bytes].map((byte) => Buffer.from([byte]));

describe("a decoder", () => {
  it("ends an empty body, whatever its codings", async () => {
    for (const codings of [["gzip"], ["br", "deflate"]] as const) {
      expect(await decode(codings, [], true)).toEqual({ text: "", end: "end" });
      expect(await decode(codings, [Buffer.alloc(0)], false)).toEqual({ text: "", end: "end" });
    }
  });

  it("ends a coded body of nothing", async () => {
    for (const streamed of [true, false]) {
      expect(await decode(["gzip", "br"], [gzipSync("")], streamed)).toEqual({ text: "", end: "end" });
      expect(await decode(["deflate"], [deflateRawSync("")], streamed)).toEqual({ text: "", end: "end" });
    }
  });

  it("refuses what is in no coding, or in another", async () => {
    for (const streamed of [true, false]) {
      for (const coding of ["gzip", "deflate", "br"] as const) {
        for (const bytes of ["x", "plain text, and a key", "\u0078\u009cnot zlib behind its header"]) {
          const { text: passed, end } = await decode([coding], [Buffer.from(bytes, "latin1")], streamed);
          expect([coding, bytes, passed, end]).toEqual([coding, bytes, "", expect.stringContaining("broken")]);
        }
      }
      expect((await decode(["gzip"], [deflateSync(text)], streamed)).end).toContain("broken");
      expect((await decode(["br"], [gzipSync(text)], streamed)).end).toContain("broken");
    }
  });

  it.each([
    ["gzip", createGzip(), ["gzip"], constants.Z_SYNC_FLUSH],
    ["zlib", createDeflate(), ["deflate"], constants.Z_SYNC_FLUSH],
    ["raw deflate", createDeflateRaw(), ["deflate"], constants.Z_SYNC_FLUSH],
    ["br", createBrotliCompress(), ["br"], constants.BROTLI_OPERATION_FLUSH],
  ] as const)(
    "passes each event on as it is flushed by %s, before the next one comes",
    async (_name, encoder, codings, kind) => {
      let seen = "";
      let wake = (): void => undefined;
      const reading = read(codings, (chunk) => {
        seen += chunk.toString();
        wake();
      });
      encoder.on("data", (chunk: Buffer) => reading.decoder.write(chunk));
      for (let n = 1; n <= 5; n++) {
        const event = `data: ${n}\n\n`;
        const arrived = new Promise<void>((resolve) => {
          wake = () => {
            if (seen.endsWith(event)) resolve();
          };
        });
        encoder.write(event);
        encoder.flush(kind);
        await arrived;
      }
      encoder.once("end", () => reading.decoder.end()).end();
      expect((await reading.done).end).toBe("end");
    },
  );

  it("says that it began when a header came and nothing came out yet", async () => {
    const coded = gzipSync(text);
    const { decoder, log, chunks } = read(["gzip"]);
    decoder.write(Buffer.from(coded.subarray(0, 10)));
    await expect.poll(() => log).toEqual(["begun"]);
    expect(chunks).toEqual([]);
    decoder.destroy();
  });

  it("waits for its reader, and makes its writer wait", async () => {
    // 64 MiB out of 64 KiB: nobody may hold that.
    const coded = gzipSync(Buffer.alloc(1024 * 1024));
    const reading = read(["gzip"], () => reading.decoder.pause());
    for (let n = 0; n < 64; n++) {
      reading.decoder.write(Buffer.from(coded));
      await turn();
    }
    reading.decoder.end();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(reading.log).toContain("full");
    expect(reading.log).not.toContain("drained");
    const held = reading.chunks.reduce((sum, { length }) => sum + length, 0);
    expect(held).toBeLessThan(256 * 1024);
    reading.decoder.destroy();
    reading.decoder.resume();
    await turn();
    expect(reading.log).not.toContain("end");
  });

  it("goes on after a pause to the last byte", async () => {
    const body = Buffer.from(Array.from({ length: 400_000 }, (_, i) => (i * 2_654_435_761) >>> 24));
    const reading = read(["br", "gzip"], () => {
      reading.decoder.pause();
      setImmediate(() => reading.decoder.resume());
    });
    const coded = brotliCompressSync(gzipSync(body), { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
    for (let at = 0; at < coded.length; at += 50_000) {
      reading.decoder.write(Buffer.from(coded.subarray(at, at + 50_000)));
      await turn();
    }
    reading.decoder.end();
    expect((await reading.done).end).toBe("end");
    expect(Buffer.concat(reading.chunks).equals(body)).toBe(true);
  });

  it("tells nothing after it was destroyed", async () => {
    for (const streamed of [true, false]) {
      const { decoder, log, chunks } = read(["gzip"]);
      decoder.write(gzipSync(text));
      if (streamed) await turn();
      decoder.destroy();
      decoder.write(Buffer.from("rubbish"));
      decoder.end();
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect([log, chunks]).toEqual([[], []]);
    }
  });

  it("gives the same for a body that it decodes at once and one that is too large for that", async () => {
    const body = Buffer.from(TEXT.repeat(8_000));
    const whole = await decode(["gzip"], [gzipSync(body)], false);
    expect(whole.end).toBe("end");
    expect(whole.text === body.toString("latin1")).toBe(true);
  });
});

describe("a bomb", () => {
  const size = FREE_OUTPUT * 4;
  const zeros = Buffer.alloc(size);

  /** Reads as fast as it comes, and keeps nothing. */
  const explode = async (codings: readonly Coding[], bomb: Buffer): Promise<{ end: string; bytes: number }> => {
    let bytes = 0;
    const reading: Reading = read(codings, (chunk) => {
      bytes += chunk.length;
      reading.chunks.length = 0;
    });
    reading.decoder.write(Buffer.from(bomb));
    reading.decoder.end();
    return { end: (await reading.done).end, bytes };
  };

  it.each([
    ["br", ["br"], brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })],
    ["gzip", ["gzip"], gzipSync(zeros)],
    ["gzip in gzip", ["gzip", "gzip"], gzipSync(gzipSync(zeros))],
  ] as const)("in %s is cut after what is free", async (_name, codings, bomb) => {
    const { end, bytes } = await explode(codings, bomb);
    expect(end).toBe(`the coded body expands more than ${MAX_RATIO} times`);
    expect(bytes).toBeLessThan(Math.max(FREE_OUTPUT, bomb.length * MAX_RATIO) + 1024 * 1024);
  });

  it("that unpacks into nothing is cut as well", async () => {
    const members = Buffer.alloc(FREE_OUTPUT * 2, gzipSync(""));
    const bomb = brotliCompressSync(members, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
    expect(await explode(["br", "gzip"], bomb)).toEqual({
      end: `the coded body expands more than ${MAX_RATIO} times`,
      bytes: 0,
    });
  });

  it("is no body that packs well", async () => {
    const log = Buffer.from(Array.from({ length: 500_000 }, (_, n) => `${n} GET /health 200 ok\n`).join(""));
    const { end, bytes } = await explode(["gzip"], gzipSync(log));
    expect([end, bytes]).toEqual(["end", log.length]);
  });
});
