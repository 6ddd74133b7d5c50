/**
 * Attack: the agent has guesses echoed and watches how many bytes arrive when (guarantees A4, ruling 1). A scrubber that
 * holds bytes back only while they look like the secret tells by that how much of a guess is right. No clock is needed:
 * what is out after every chunk must be the same for every guess of equal length with equal line feeds.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRedaction } from "../../src/sidecar/scrub/redaction.ts";
import { createScrubber } from "../../src/sidecar/scrub/scrubber.ts";
import { mustSpellings } from "../support/spellings.ts";

const SECRETS = ["sk-proj-0aZ9kTqW3xY7Lm2Vb8Nc", `p@ss"w\\ord'<&>%+ /é`, "aaaabaaaabaaaab"] as const;

/** What an observer of the stream sees but its bytes: the sizes of everything emitted, chunk by chunk. */
const trace = (
  redaction: ReturnType<typeof createRedaction>,
  text: Buffer,
  cuts: readonly number[],
  known: boolean,
): string => {
  const scrubber = createScrubber(redaction, known ? { contentLength: text.length } : {});
  const seen: number[][] = [];
  let from = 0;
  for (const to of [...cuts, text.length]) {
    const sizes: number[] = [];
    scrubber.push(Buffer.from(text.subarray(from, to)), (bytes) => void sizes.push(bytes.length));
    seen.push(sizes);
    from = to;
  }
  const rest: number[] = [];
  scrubber.end((bytes) => void rest.push(bytes.length));
  return JSON.stringify([...seen, rest]);
};

/** Another character of the same kind, so that every spelling has the same length; none for punctuation. */
const other = (c: string): string => {
  if (/[0-8]/.test(c)) return String.fromCharCode(c.charCodeAt(0) + 1);
  if (/[d-y]/.test(c) || /[A-Y]/.test(c)) return String.fromCharCode(c.charCodeAt(0) + 1);
  return c === "a" ? "b" : c === "b" ? "a" : c;
};

const characters = (text: string): readonly string[] => Array.from(text);
const rightUpTo = (secret: string, right: number): string =>
  characters(secret)
    .map((c, i) => (i < right ? c : other(c)))
    .join("");
const wrongAt = (secret: string, wrong: number): string =>
  characters(secret)
    .map((c, i) => (i === wrong ? other(c) : c))
    .join("");

const filler = fc.string({
  unit: fc.constantFrom("a", "b", " ", '"', "{", "\n", "\\", "%", "&", "=", "é"),
  maxLength: 300,
});
const places = fc.array(fc.nat(1500), { maxLength: 14 });

const cutsOf = (wanted: readonly number[], length: number): readonly number[] =>
  [...new Set(wanted.filter((place) => place > 0 && place < length))].sort((a, b) => a - b);

/** Number of pairs that were compared, all of them alike. */
const comparePairs = (
  runs: number,
  values: readonly string[],
  build: (guess: string, which: number) => string | Buffer | undefined,
): number => {
  const redaction = createRedaction(values.map((value) => Buffer.from(value)));
  let pairs = 0;
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat(),
      fc.nat(),
      filler,
      filler,
      places,
      fc.boolean(),
      (right, wrong, which, before, behind, wanted, known) => {
        const secret = values[which % values.length] ?? "";
        const length = characters(secret).length;
        const guesses = [
          rightUpTo(secret, 0),
          rightUpTo(secret, right % length),
          wrongAt(secret, wrong % length),
          secret,
        ];
        const texts = guesses.map((guess) => {
          const echo = build(guess, which);
          return Buffer.concat([Buffer.from(before), Buffer.from(echo ?? guess), Buffer.from(behind)]);
        });
        const [none] = texts;
        if (none === undefined || texts.some((text) => text.length !== none.length)) return;
        const cuts = cutsOf(wanted, none.length);
        const expected = trace(redaction, none, cuts, known);
        for (const text of texts.slice(1)) {
          expect(trace(redaction, text, cuts, known)).toBe(expected);
          pairs++;
        }
      },
    ),
    { numRuns: runs },
  );
  return pairs;
};

describe("what is out after every chunk", () => {
  test("tells nothing about a guess: 5,000 pairs, none right, some, all but one character, all", () => {
    expect(comparePairs(1800, SECRETS, (guess) => guess)).toBeGreaterThanOrEqual(5000);
  });

  test("nor in any spelling of it: 5,000 pairs", () => {
    const spell = (guess: string, which: number): Buffer | undefined => {
      const spellings = mustSpellings(Buffer.from(guess));
      return spellings[Math.floor(which / SECRETS.length) % spellings.length]?.bytes;
    };
    expect(comparePairs(1900, SECRETS, spell)).toBeGreaterThanOrEqual(5000);
  });

  test("nor where matches overlap, nest and follow each other: 5,000 pairs", () => {
    const values = ["abcabcabcabd", "cabdXYZW", "abcabc", Buffer.from("abcabcabcabd").toString("base64")];
    const shapes: ReadonlyArray<(guess: string) => string> = [
      (guess) => `${guess}${guess}`,
      (guess) => `${guess}XYZW`,
      (guess) => `abcabc${guess}`,
      (guess) => `${guess}abc${guess}\n${guess}`,
      (guess) => Buffer.from(guess).toString("base64"),
    ];
    const build = (guess: string, which: number): string => shapes[which % shapes.length]?.(guess) ?? guess;
    expect(comparePairs(1800, values, build)).toBeGreaterThanOrEqual(5000);
  });

  test("nor byte by byte, in any spelling, with or without a known length", () => {
    for (const secret of SECRETS) {
      const redaction = createRedaction([Buffer.from(secret)]);
      const guesses = [0, 1, 8, 12].map((right) => rightUpTo(secret, right));
      guesses.push(wrongAt(secret, 0), wrongAt(secret, 3), wrongAt(secret, 10), secret);
      const spelled = guesses.map((guess) => mustSpellings(Buffer.from(guess)));
      for (const [i, { name, bytes }] of (spelled[0] ?? []).entries()) {
        const texts = spelled
          .map((spellings) =>
            Buffer.from(`${"-".repeat(30)}${spellings[i]?.bytes.toString("latin1")}${"-".repeat(40)}`, "latin1"),
          )
          .filter((text) => text.length === bytes.length + 70);
        for (const known of [false, true]) {
          const traces = texts.map((text) =>
            trace(
              redaction,
              text,
              Array.from({ length: text.length - 1 }, (_, at) => at + 1),
              known,
            ),
          );
          expect(new Set(traces).size, name).toBe(1);
        }
      }
    }
  });

  test("is by count and line feed alone: a full match releases as many bytes as a body of dots", () => {
    const secret = Buffer.from(SECRETS[0]);
    const redaction = createRedaction([secret]);
    for (let size = 1; size < 60; size++) {
      const match = Buffer.concat([Buffer.from("x".repeat(200)), secret, Buffer.from("x".repeat(200))]);
      const dots = Buffer.alloc(match.length, ".");
      const cuts = cutsOf(
        Array.from({ length: match.length }, (_, i) => i * size),
        match.length,
      );
      expect(trace(redaction, match, cuts, false)).toBe(trace(redaction, dots, cuts, false));
    }
  });
});
