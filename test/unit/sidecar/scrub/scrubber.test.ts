import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileMatcher, eitherMatcher, type Matcher } from "../../../../src/sidecar/scrub/matcher.ts";
import { createScrubber, scrubValue } from "../../../../src/sidecar/scrub/scrubber.ts";
import { cutAt, redactSlowly, releasedAfter } from "./reference.ts";

const SECRET = "sk-canary-0123456789";
const matcher = compileMatcher([Buffer.from(SECRET), Buffer.from("QUJDREVGRw"), Buffer.from("hex-0a1b2c")]);

interface Result {
  readonly text: string;
  /** Bytes released after each chunk, without the end. */
  readonly released: readonly number[];
  /** Sizes of the buffers as they were emitted, the end included. */
  readonly sizes: readonly number[];
  readonly reflected: number;
}

const scrub = (
  chunks: readonly (Buffer | string)[],
  using: Matcher = matcher,
  contentLength?: number,
  endsLinesWithCr = false,
): Result => {
  const scrubber = createScrubber(using, { endsLinesWithCr, ...(contentLength !== undefined && { contentLength }) });
  const out: Buffer[] = [];
  const released: number[] = [];
  let count = 0;
  // Copied as a socket would: what was emitted must not change afterwards.
  const emit = (bytes: Buffer): void => {
    count += bytes.length;
    out.push(Buffer.from(bytes));
  };
  for (const chunk of chunks) {
    scrubber.push(Buffer.from(chunk), emit);
    released.push(count);
  }
  scrubber.end(emit);
  return {
    text: Buffer.concat(out).toString("latin1"),
    released,
    sizes: out.map((bytes) => bytes.length),
    reflected: scrubber.reflected,
  };
};

describe("what takes a secret's place", () => {
  test("has the secret's length: the mark, and stars", () => {
    expect(scrub([`key=${SECRET};`]).text).toBe("key=[redacted]**********;");
    expect(scrub([`key=${SECRET};`]).reflected).toBe(1);
  });

  test("is a part of the mark when the secret is shorter", () => {
    expect(scrub(["a 1234567 b"], compileMatcher([Buffer.from("1234567")])).text).toBe("a [redact b");
  });

  test("is one mark for matches that overlap, and two for neighbours", () => {
    const overlapping = compileMatcher([Buffer.from("abcdefgh"), Buffer.from("efghijklmn")]);
    expect(scrub(["-abcdefghijklmn-"], overlapping)).toMatchObject({ text: "-[redacted]****-", reflected: 1 });
    expect(scrub(["-abcdefghabcdefgh-"], overlapping)).toMatchObject({ text: "-[redacte[redacte-", reflected: 2 });
  });

  test("does not depend on where the chunks end", () => {
    const text = Buffer.from(`{"a":"${SECRET}","b":"QUJDREVGRw","c":"hex-0a1b2c"}`);
    const whole = redactSlowly(
      text,
      [SECRET, "QUJDREVGRw", "hex-0a1b2c"].map((form) => Buffer.from(form)),
    );
    for (let a = 0; a <= text.length; a++) {
      for (let b = a; b <= text.length; b += 3) {
        expect(scrub(cutAt(text, [a, b]))).toMatchObject({ text: whole.text.toString(), reflected: 3 });
      }
    }
  });
});

describe("when bytes are released", () => {
  test("all but the last bytes of a possible secret, until more arrive, or the end", () => {
    const hold = matcher.longest - 1;
    expect(scrub(["x".repeat(100), "y", "z".repeat(50)]).released).toEqual([100 - hold, 101 - hold, 151 - hold]);
    expect(scrub(["x".repeat(100)]).text).toHaveLength(100);
    expect(scrub(["x"]).released).toEqual([0]);
  });

  test("everything up to a line feed, as in events and lines of JSON", () => {
    expect(scrub(['data: {"a":1}\n\n', "data: ", '{"b":2}\n\ndata']).released).toEqual([15, 15, 30]);
  });

  test("up to a carriage return where lines may end with one, and nowhere else", () => {
    const events = ['data: {"a":1}\r\r', "data: ", '{"b":2}\r\rdata'];
    expect(scrub(events, matcher, undefined, true).released).toEqual([15, 15, 30]);
    expect(scrub(events).released).toEqual([0, 2, 15]);
  });

  test("not at a line end that a form contains", () => {
    const hold = 7;
    for (const byte of ["\n", "\r"]) {
      const using = compileMatcher([Buffer.from(`sk${byte}canar`)]);
      const { released, text, reflected } = scrub([`data: 1${byte}`, `a sk${byte}`, "canary"], using, undefined, true);
      expect(released).toEqual([8 - hold, 13 - hold, 19 - hold]);
      expect(text).toBe(`data: 1${byte}a [redactey`);
      expect(reflected).toBe(1);
    }
  });

  test("a body of known length in one chunk leaves in one piece, and the very same", () => {
    const body = Buffer.from('{"clean":true}');
    const out: Buffer[] = [];
    const scrubber = createScrubber(matcher, { contentLength: body.length });
    scrubber.push(body, (bytes) => out.push(bytes));
    scrubber.end((bytes) => out.push(bytes));
    expect(out).toHaveLength(1);
    expect(out[0]).toBe(body);
  });

  test("small chunks leave in one piece each, joined with what was held", () => {
    expect(scrub(["x".repeat(100), "y".repeat(100), "z".repeat(100)]).sizes).toHaveLength(4);
  });

  test("a chunk as large as a record of TLS is not copied", () => {
    const large = Buffer.alloc(16 * 1024, "x");
    const out: Buffer[] = [];
    const scrubber = createScrubber(matcher);
    scrubber.push(Buffer.from("start"), (bytes) => out.push(bytes));
    scrubber.push(large, (bytes) => out.push(bytes));
    expect(out.map((bytes) => bytes.length)).toEqual([5, large.length - (matcher.longest - 1)]);
    expect(out[1]?.buffer).toBe(large.buffer);
  });

  test("nothing is emitted for empty chunks and empty bodies", () => {
    expect(scrub([])).toMatchObject({ sizes: [], reflected: 0 });
    expect(scrub(["", ""]).sizes).toEqual([]);
  });

  test("without anything to look for, everything at once", () => {
    expect(scrub(["abc", "def"], compileMatcher([])).released).toEqual([3, 6]);
  });
});

/** Small alphabets, so that forms overlap themselves and each other at every turn. */
const letters = (min: number, max: number, ...unit: readonly string[]) =>
  fc.string({ unit: fc.constantFrom(...unit), minLength: min, maxLength: max }).map((text) => Buffer.from(text));

describe("for any text, forms and chunks", () => {
  const anyForms = fc.uniqueArray(letters(3, 14, "a", "b"), { minLength: 1, maxLength: 8, selector: String });

  test("the result is that of the slow reference, and so is every release", () => {
    const anyText = letters(0, 150, "a", "a", "b", "b", "c", "\n");
    fc.assert(
      fc.property(anyForms, anyText, fc.array(fc.nat(150)), fc.boolean(), (forms, text, places, known) => {
        const chunks = text.length === 0 ? [] : cutAt(text, places);
        const contentLength = known ? text.length : undefined;
        const result = scrub(chunks, compileMatcher(forms), contentLength);
        const expected = redactSlowly(text, forms);
        expect(result.text).toBe(expected.text.toString("latin1"));
        expect(result.reflected).toBe(expected.reflected);
        const longest = Math.max(...forms.map((form) => form.length));
        expect(result.released).toEqual(releasedAfter(chunks, longest, contentLength));
      }),
      { numRuns: 5000 },
    );
  });

  test("the same holds for chunks too large to copy", () => {
    const pieces = fc.array(fc.oneof(letters(1, 40, "a", "b", "\n"), fc.constant(Buffer.alloc(20_000, "a"))), {
      maxLength: 6,
    });
    const forms = fc.uniqueArray(letters(3, 30, "a", "a", "a", "b"), { minLength: 3, maxLength: 4, selector: String });
    fc.assert(
      fc.property(forms, pieces, (patterns, chunks) => {
        const result = scrub(chunks, compileMatcher(patterns));
        const expected = redactSlowly(Buffer.concat(chunks), patterns);
        expect(result.text === expected.text.toString("latin1")).toBe(true);
        expect(result.reflected).toBe(expected.reflected);
        expect(result.released).toEqual(releasedAfter(chunks, Math.max(...patterns.map((form) => form.length))));
      }),
      { numRuns: 60 },
    );
  });

  test("a secret split at any place before a chunk too large to copy is found", () => {
    const forms = [SECRET, SECRET.slice(1), "short"].map((form) => Buffer.from(form));
    for (let at = 1; at < SECRET.length; at++) {
      const chunks = [`${"x".repeat(50)}${SECRET.slice(0, at)}`, `${SECRET.slice(at)}${"y".repeat(20_000)}`];
      const { text } = scrub(chunks, compileMatcher(forms));
      expect(text.slice(0, 90)).toBe(`${"x".repeat(50)}[redacted]**********${"y".repeat(20)}`);
    }
  });

  test("what is already out never changes, also when the chunks lie in one buffer", () => {
    fc.assert(
      fc.property(anyForms, letters(1, 150, "a", "b", "c"), fc.array(fc.nat(150)), (forms, text, places) => {
        const arena = Buffer.from(text);
        const cuts = [...new Set([0, ...places.filter((p) => p < text.length), text.length])].sort((a, b) => a - b);
        const scrubber = createScrubber(compileMatcher(forms));
        const emitted: Array<{ view: Buffer; copy: Buffer }> = [];
        const emit = (view: Buffer): void => void emitted.push({ view, copy: Buffer.from(view) });
        cuts.slice(1).forEach((to, i) => {
          scrubber.push(arena.subarray(cuts[i], to), emit);
        });
        scrubber.end(emit);
        for (const { view, copy } of emitted) expect(view.equals(copy)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("what is looked for from some chunk on", () => {
  const small = fc.uniqueArray(letters(3, 9, "a", "b"), { minLength: 1, maxLength: 4, selector: String });
  const large = fc.uniqueArray(letters(3, 20, "c", "d"), { minLength: 1, maxLength: 4, selector: String });

  test("is found whatever was held when it came, and what was looked for before as well", () => {
    const before = letters(0, 60, "a", "b", "c", "\n");
    const after = letters(0, 90, "a", "b", "c", "d", "d", "\n");
    fc.assert(
      fc.property(small, large, before, after, fc.array(fc.nat(90)), (own, more, first, second, places) => {
        const scrubber = createScrubber(compileMatcher(own));
        const out: Buffer[] = [];
        const emit = (bytes: Buffer): void => void out.push(Buffer.from(bytes));
        for (const chunk of cutAt(first, places)) scrubber.push(chunk, emit);
        scrubber.lookFor(eitherMatcher(compileMatcher(own), compileMatcher(more)));
        for (const chunk of cutAt(second, places)) scrubber.push(chunk, emit);
        scrubber.end(emit);
        // It can't have come before: it was not sent yet.
        const text = Buffer.concat([first, second]);
        if (more.some((form) => redactSlowly(first, [form]).reflected > 0)) return;
        const edge = Buffer.concat([first.subarray(-19), second.subarray(0, 19)]);
        if (more.some((form) => redactSlowly(edge, [form]).reflected > 0)) return;
        expect(Buffer.concat(out)).toEqual(redactSlowly(text, [...own, ...more]).text);
      }),
      { numRuns: 3000 },
    );
  });

  test("decides from there on how much is held, and where lines end", () => {
    const released: number[] = [];
    const scrubber = createScrubber(compileMatcher([Buffer.from("12345")]), { endsLinesWithCr: true });
    const push = (text: string): void => {
      let count = released.at(-1) ?? 0;
      scrubber.push(Buffer.from(text), (bytes) => {
        count += bytes.length;
      });
      released.push(count);
    };
    push("xxxxxxxx");
    scrubber.lookFor(compileMatcher([Buffer.from("123456789")]));
    for (const text of ["xx", "xxxx", "x\n", "x\r"]) push(text);
    scrubber.lookFor(compileMatcher([Buffer.from("sk\n-\r-k")]));
    for (const text of ["x\n", "x\r"]) push(text);
    expect(released).toEqual([4, 4, 6, 16, 18, 18, 18]);
  });
});

describe("a header value", () => {
  test("is returned clean, in the same length, and itself not changed", () => {
    const value = Buffer.from(`https://a.test/?k=${SECRET}&x=1`);
    expect(scrubValue(matcher, value)?.toString()).toBe("https://a.test/?k=[redacted]**********&x=1");
    expect(value.toString()).toContain(SECRET);
  });

  test("without a secret is undefined", () => {
    expect(scrubValue(matcher, Buffer.from("text/html"))).toBeUndefined();
    expect(scrubValue(matcher, Buffer.alloc(0))).toBeUndefined();
  });
});
