import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileMatcher } from "../../../../src/sidecar/scrub/matcher.ts";

const buffers = (...texts: string[]): readonly Buffer[] => texts.map((text) => Buffer.from(text));

const found = (forms: readonly Buffer[], text: Buffer, from = 0, to = text.length): readonly string[] => {
  const matches: string[] = [];
  compileMatcher(forms).find(text, from, to, (start, end) => matches.push(`${start}-${end}`));
  return matches.sort();
};

const foundSlowly = (forms: readonly Buffer[], text: Buffer, from: number, to: number): readonly string[] => {
  const matches: string[] = [];
  for (let start = from; start < to; start++) {
    for (const form of forms) {
      if (start + form.length <= to && text.subarray(start, start + form.length).equals(form)) {
        matches.push(`${start}-${start + form.length}`);
      }
    }
  }
  return matches.sort();
};

const tinyText = (min: number, max: number) =>
  fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: min, maxLength: max }).map((text) => Buffer.from(text));

describe("the matcher", () => {
  test("knows the shortest and the longest form", () => {
    expect(compileMatcher(buffers("abcd", "abcdefgh"))).toMatchObject({ shortest: 4, longest: 8 });
    expect(compileMatcher([])).toMatchObject({ shortest: 0, longest: 0 });
  });

  test("finds nothing when there is nothing to look for", () => {
    expect(found([], Buffer.from("abc"))).toEqual([]);
  });

  test.each([1, 2, 3, 5])("finds overlapping and nested matches of %i forms", (count) => {
    const forms = buffers("abab", "babab", "abababab", "baba", "zzzz").slice(0, count);
    const text = Buffer.from("xxababababab-babab");
    expect(found(forms, text)).toEqual(foundSlowly(forms, text, 0, text.length));
    expect(found(forms, text).length).toBeGreaterThan(2);
  });

  test("looks at the given part alone", () => {
    const forms = buffers("abcd", "bcde", "cdef");
    const text = Buffer.from("abcdef");
    expect(found(forms, text, 1, 5)).toEqual(["1-5"]);
    expect(found(forms, text, 1, 4)).toEqual([]);
  });

  test("finds every match at either edge, in texts of any length", () => {
    const forms = buffers("secret-one", "secret-two", "one more secret");
    for (const form of forms) {
      for (let before = 0; before < 40; before++) {
        const text = Buffer.concat([Buffer.alloc(before, "x"), form]);
        expect(found(forms, text)).toEqual([`${before}-${text.length}`]);
      }
    }
  });

  test("refuses forms that its blocks cannot hold", () => {
    expect(() => compileMatcher(buffers("ab", "abcd"))).toThrow(TypeError);
  });

  test("agrees with a search at every place, for any forms and any text of few letters", () => {
    const forms = fc.uniqueArray(tinyText(3, 12), { minLength: 1, maxLength: 12, selector: String });
    fc.assert(
      fc.property(forms, tinyText(0, 120), fc.nat(10), fc.nat(10), (patterns, text, skip, cut) => {
        const to = Math.max(0, text.length - cut);
        const from = Math.min(skip, to);
        expect(found(patterns, text, from, to)).toEqual(foundSlowly(patterns, text, from, to));
      }),
      { numRuns: 3000 },
    );
  });

  test("agrees with a search at every place for long forms and any bytes", () => {
    const bytes = (min: number, max: number) =>
      fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array));
    const forms = fc.uniqueArray(bytes(4, 400), {
      minLength: 3,
      maxLength: 20,
      selector: (form) => form.toString("hex"),
    });
    fc.assert(
      fc.property(forms, fc.array(fc.oneof(bytes(0, 30), fc.nat(19)), { maxLength: 12 }), (patterns, parts) => {
        const text = Buffer.concat(
          parts.map((part) =>
            typeof part === "number" ? (patterns[part % patterns.length] ?? part) : part,
          ) as Buffer[],
        );
        expect(found(patterns, text)).toEqual(foundSlowly(patterns, text, 0, text.length));
      }),
      { numRuns: 300 },
    );
  });

  test("stays linear in the text when the text is made of near matches", () => {
    const key = (i: number) => Buffer.from(`sk-proj-${i.toString().padStart(4, "0")}-0123456789abcdef`);
    const keys = Array.from({ length: 50 }, (_, i) => key(i));
    const matcher = compileMatcher(keys);
    let reads = 0;
    const counting = (text: Buffer): Buffer =>
      new Proxy(text, {
        get: (target, name) => {
          if (typeof name === "string" && /^[0-9]+$/.test(name)) reads++;
          return Reflect.get(target, name, target);
        },
      });
    const nearly = Buffer.concat(keys.map((form) => form.subarray(0, form.length - 1)));
    for (const text of [nearly, Buffer.from("sk-proj-".repeat(150)), Buffer.alloc(1200, "0")]) {
      reads = 0;
      matcher.find(counting(text), 0, text.length, () => undefined);
      expect(reads).toBeLessThan(5 * text.length);
    }
  });
});
