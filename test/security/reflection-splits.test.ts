/** Attack: the upstream cuts what it echoes, anywhere (guarantees A3): the scrubber alone, at every place. */
import { describe, expect, test } from "vitest";
import { createRedaction } from "../../src/sidecar/scrub/redaction.ts";
import { createScrubber, type ScrubberOptions } from "../../src/sidecar/scrub/scrubber.ts";
import { SHAPES } from "../support/canaries.ts";
import { leaksOf } from "../support/leaks.ts";
import { mustSpellings } from "../support/spellings.ts";

const BEFORE = "Incorrect key ";
const BEHIND = " provided.";

const echoOf = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from(BEFORE), bytes, Buffer.from(BEHIND)]);

const scrub = (
  redaction: ReturnType<typeof createRedaction>,
  pieces: readonly Buffer[],
  options: ScrubberOptions = {},
): Buffer => {
  const scrubber = createScrubber(redaction, options);
  const out: Buffer[] = [];
  const emit = (bytes: Buffer): void => void out.push(Buffer.from(bytes));
  // Copies, because the scrubber overwrites its chunks in place.
  for (const piece of pieces) scrubber.push(Buffer.from(piece), emit);
  scrubber.end(emit);
  return Buffer.concat(out);
};

const inPieces = (text: Buffer, size: number): readonly Buffer[] =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.subarray(i * size, (i + 1) * size));

/** The other spellings of a long secret take minutes, and are cut like these. */
const isCutEverywhere = (secret: Buffer, name: string): boolean =>
  secret.length < 1000 || /^(?:literal|base64 at ., 0|JSON string|percent as)/.test(name);

/** Its UTF-16 holds the bytes of LF and CR, each in both byte orders. */
const OF_LINE_ENDS = Buffer.from("ਅĊ-kéy-അčਆ-CANARY");

const CASES = Object.entries({ ...SHAPES, "line ends in UTF-16": OF_LINE_ENDS }).flatMap(([shape, secret]) =>
  mustSpellings(secret)
    .filter(({ name }) => isCutEverywhere(secret, name))
    .map(({ name, bytes }) => ({ shape, name, secret, text: echoOf(bytes) })),
);

describe("an echo cut in two at every place", () => {
  test.each(CASES)("is scrubbed like a whole one: $shape as $name", ({ secret, text }) => {
    const redaction = createRedaction([secret]);
    const whole = scrub(redaction, [text]);
    expect(whole.length).toBe(text.length);
    expect(leaksOf(whole, secret, { fragment: 5 })).toEqual([]);
    expect(whole.subarray(0, BEFORE.length).toString()).toBe(BEFORE);
    expect(whole.subarray(-BEHIND.length).toString()).toBe(BEHIND);
    for (let at = 1; at < text.length; at++) {
      const result = scrub(redaction, [text.subarray(0, at), text.subarray(at)]);
      if (!result.equals(whole)) expect.fail(`cut at ${at}: ${result.toString("latin1")}`);
      const event = scrub(redaction, [text.subarray(0, at), text.subarray(at)], { endsLinesWithCr: true });
      if (!event.equals(whole)) expect.fail(`of an event stream, cut at ${at}: ${event.toString("latin1")}`);
    }
    if (secret.length > 1000) return;
    for (const size of [1, 2, 3, 7]) {
      expect(scrub(redaction, inPieces(text, size)).equals(whole), `pieces of ${size}`).toBe(true);
    }
  });

  test("and in three at any two", () => {
    const secret = SHAPES["8 characters"] ?? Buffer.alloc(0);
    const redaction = createRedaction([secret]);
    for (const { name, bytes } of mustSpellings(secret)) {
      const text = echoOf(bytes);
      const whole = scrub(redaction, [text]);
      for (let a = 1; a < text.length - 1; a++) {
        for (let b = a + 1; b < text.length; b++) {
          const result = scrub(redaction, [text.subarray(0, a), text.subarray(a, b), text.subarray(b)]);
          if (!result.equals(whole)) expect.fail(`${name} cut at ${a} and ${b}`);
        }
      }
    }
  });

  test("and between line feeds in every chunk", () => {
    const secret = SHAPES["a vendor's key"] ?? Buffer.alloc(0);
    const text = Buffer.from(`data: ${secret}\n\ndata: x\n\n`.repeat(20));
    const result = scrub(createRedaction([secret]), inPieces(text, 11));
    expect(leaksOf(result, secret, { fragment: 5 })).toEqual([]);
    expect(result.toString()).toContain("data: [redacted]");
  });

  test("and when several secrets and what was derived from them touch each other", () => {
    const secrets = Object.values(SHAPES).filter(({ length }) => length < 1000);
    const blobs = secrets.map((secret) => Buffer.from(secret.toString("base64")));
    const redaction = createRedaction([...secrets, ...blobs]);
    const text = Buffer.concat(secrets.flatMap((secret, i) => [secret, blobs[i] ?? secret, secret]));
    const whole = scrub(redaction, [text]);
    for (const secret of secrets) expect(leaksOf(whole, secret, { fragment: 6 })).toEqual([]);
    for (let at = 1; at < text.length; at++) {
      const result = scrub(redaction, [text.subarray(0, at), text.subarray(at)]);
      if (!result.equals(whole)) expect.fail(`cut at ${at}`);
    }
  });
});
