import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  closeLine,
  createLineHash,
  createLineWriter,
  GENESIS_HASH,
  openLine,
  parseLine,
} from "../../../src/audit/chain.ts";

describe("the line hash", () => {
  it("is the HMAC-SHA-256 of the line without its hash, for any key and length", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.array(fc.nat(9000), { maxLength: 8 }),
        (bytes, sizes) => {
          const key = Buffer.from(bytes);
          const lineHash = createLineHash(key);
          for (const size of sizes) {
            const open = `{"a":"${"x".repeat(size)}ÿ"`;
            const expected = createHmac("sha256", key).update(`${open}}`, "latin1").digest("base64url");
            expect(lineHash(open)).toBe(expected);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("takes only a key of 32 bytes", () => {
    expect(() => createLineHash(Buffer.alloc(31))).toThrow(TypeError);
  });
});

describe("the line writer", () => {
  it("writes the very lines that are hashed one by one, whatever the batches, and nothing of the key", () => {
    const batches = fc.array(fc.array(fc.nat(40_000), { maxLength: 12 }), { maxLength: 6 });
    const keys = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(keys, batches, (bytes, sizes) => {
        const key = Buffer.from(bytes);
        const lines = createLineWriter(key);
        const lineHash = createLineHash(key);
        let seq = 0;
        let prev = GENESIS_HASH;
        for (const [at, batch] of sizes.entries()) {
          const lead = at % 2 === 0 ? "" : "\n";
          let expected = lead;
          lines.begin(lead);
          for (const size of batch) {
            const body = `"time":"t","path":"${"x".repeat(size)}"`;
            const open = openLine(++seq, body, prev);
            const hash = lines.add(seq, body, prev);
            expect(hash).toBe(lineHash(open));
            expected += closeLine(open, hash);
            prev = hash;
          }
          expect(lines.written().toString("latin1") === expected).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("a line", () => {
  const open = openLine(7, '"time":"t","type":"intent"', GENESIS_HASH);
  const hash = createLineHash(Buffer.alloc(32, 1))(open);
  const line = closeLine(open, hash).slice(0, -1);

  it("parses back to its parts and as JSON", () => {
    expect(parseLine(line)).toEqual({ seq: 7, prev: GENESIS_HASH, hash, open });
    expect(JSON.parse(line)).toEqual({ seq: 7, time: "t", type: "intent", prev: GENESIS_HASH, hash });
  });

  it.each([
    ["nothing", ""],
    ["a part of a record", line.slice(0, -1)],
    ["a record with more behind it", `${line} `],
    ["a leading zero", line.replace('"seq":7', '"seq":07')],
    ["number zero", line.replace('"seq":7', '"seq":0')],
    ["another spelling of the same JSON", line.replace(",", ", ")],
    ["a hash of another length", line.replace(/.."\}$/, '"}')],
  ])("is not a record: %s", (_, text) => {
    expect(parseLine(text)).toBeUndefined();
  });
});
