/**
 * Attack: the agent has guesses echoed and watches how many bytes arrive when (guarantees A4). A scrubber that holds
 * bytes back only while they look like the secret tells by that how much of a guess is right.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRedaction } from "../../src/sidecar/scrub/redaction.ts";
import { createScrubber } from "../../src/sidecar/scrub/scrubber.ts";

const SECRET = "sk-proj-0aZ9kTqW3xY7Lm2Vb8Nc";
const redaction = createRedaction([Buffer.from(SECRET)]);

/** Sizes of everything emitted, chunk by chunk: all that an observer of the stream can see but its bytes. */
const trace = (text: Buffer, cuts: readonly number[]): string => {
  const scrubber = createScrubber(redaction);
  const seen: number[][] = [];
  let from = 0;
  for (const to of [...cuts, text.length]) {
    const sizes: number[] = [];
    scrubber.push(Buffer.from(text.subarray(from, to)), (bytes) => void sizes.push(bytes.length));
    seen.push(sizes);
    from = to;
  }
  return JSON.stringify(seen);
};

/** A guess of the secret's length: right in its first `right` characters, else changed everywhere. */
const guess = (right: number): string =>
  SECRET.slice(0, right) + SECRET.slice(right).replace(/./g, (c) => (c === "x" ? "y" : "x"));

const allButOne = (wrong: number): string =>
  `${SECRET.slice(0, wrong)}${SECRET[wrong] === "x" ? "y" : "x"}${SECRET.slice(wrong + 1)}`;

describe("what is held back", () => {
  test("tells nothing about a guess: 5,000 pairs with equal lengths and line feeds are released alike", () => {
    const filler = fc.string({ unit: fc.constantFrom("a", " ", '"', "{", "\n", "\\", "%"), maxLength: 400 });
    let pairs = 0;
    fc.assert(
      fc.property(
        fc.nat(SECRET.length),
        fc.nat(SECRET.length - 1),
        filler,
        filler,
        fc.array(fc.nat(900), { maxLength: 12 }),
        (right, wrong, before, after, places) => {
          const texts = [guess(0), guess(right), allButOne(wrong), SECRET].map((echo) =>
            Buffer.from(`${before}${echo}${after}`),
          );
          const length = texts[0]?.length ?? 0;
          const cuts = [...new Set(places.filter((place) => place > 0 && place < length))].sort((a, b) => a - b);
          const [none, ...others] = texts.map((text) => trace(text, cuts));
          for (const other of others) {
            expect(other).toBe(none);
            pairs++;
          }
        },
      ),
      { numRuns: 1700 },
    );
    expect(pairs).toBeGreaterThanOrEqual(5000);
  });

  test("tells nothing about a guess that arrives byte by byte, in any spelling", () => {
    const spellings: ReadonlyArray<(text: string) => string> = [
      (text) => text,
      (text) => Buffer.from(text).toString("hex"),
      (text) => Buffer.from(text).toString("base64"),
      (text) => text.replace(/./g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`),
    ];
    for (const spell of spellings) {
      const texts = [guess(0), guess(8), guess(20), allButOne(27), allButOne(3), SECRET].map((text) =>
        Buffer.from(`${"-".repeat(30)}${spell(text)}${"-".repeat(300)}`),
      );
      const traces = texts.map((text) =>
        trace(
          text,
          Array.from({ length: text.length - 1 }, (_, i) => i + 1),
        ),
      );
      expect(new Set(traces).size).toBe(1);
    }
  });
});
