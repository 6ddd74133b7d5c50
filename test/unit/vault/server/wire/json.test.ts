/** Bodies: what has one meaning is read, whatever its size; everything else is refused, soon and in our words. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BadJson, parseJsonBody } from "../../../../../src/vault/server/wire/json.ts";

const MEGABYTES = 12 * 1024 * 1024;

const faultOf = (text: string | Buffer): unknown => {
  try {
    return parseJsonBody(Buffer.from(text));
  } catch (error) {
    return error instanceof BadJson ? error.message : error;
  }
};

describe("a body", () => {
  it("is read as JSON.parse reads it, in whatever spelling", () => {
    const names = fc.string().filter((name) => !["__proto__", "constructor", "prototype"].includes(name));
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 8 }, fc.jsonValue({ maxDepth: 0 }), fc.array(tie("value")), tie("object")),
      object: fc.dictionary(names, tie("value"), { noNullPrototype: true }),
    }));
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 1, "\t", "\r\n "), (given, space) => {
        const text = JSON.stringify(given, undefined, space);
        expect(parseJsonBody(Buffer.from(text))).toEqual(JSON.parse(text));
      }),
    );
  });

  it("may hold a string of any length", () => {
    for (const one of ["x".repeat(MEGABYTES), "\\u0041".repeat(MEGABYTES / 6), '\\"'.repeat(MEGABYTES / 2)]) {
      expect(parseJsonBody(Buffer.from(`{"value":"${one}"}`))).toEqual({ value: JSON.parse(`"${one}"`) });
    }
  });

  it("is refused by its structure before an object is made of it", () => {
    expect(faultOf(`${"[".repeat(MEGABYTES)}`)).toBe("too deep");
    expect(faultOf(`${'{"a":'.repeat(20)}1${"}".repeat(20)}`)).toBe("too deep");
    expect(faultOf(`{${Array.from({ length: 300_000 }, (_, at) => `"k${at}":1`).join(",")}}`)).toBe("too many parts");
    expect(faultOf(`[${"[],".repeat(300_000)}[]]`)).toBe("too many parts");
  });

  it("has no name twice and none that means something to objects, however it is written", () => {
    for (const text of [
      '{"a":1,"a":2}',
      '{"a":1,"\\u0061" \t\r\n:2}',
      '{"b":{"a":1},"a":[{"c":1,"c":1}]}',
      '{"__proto__":{}}',
      '{"\\u005f_proto__":{}}',
      '{"a":{"constructor":1}}',
      '[{"prototype":1}]',
    ]) {
      expect([text, faultOf(text)]).toEqual([text, "a name twice, or one that is refused"]);
    }
    expect(faultOf('{"a":"__proto__","b":["constructor"],"c":{"a":"a"}}')).toMatchObject({ c: { a: "a" } });
  });

  it("is JSON in UTF-8, without a mark before it, and whole", () => {
    for (const text of [
      '{"a":',
      '{"a',
      '{"a\\',
      '"\\',
      "{,}",
      "{]",
      '{"a"::1}',
      '{"\\x":1}',
      "\ufeff{}",
      "nul",
      "1 2",
    ]) {
      expect([text, faultOf(text)]).toEqual([text, expect.stringMatching(/^not JSON$|^a name that is no string$/)]);
    }
    expect(faultOf(Buffer.from([0x22, 0xff, 0x22]))).toBe("not UTF-8");
    expect(parseJsonBody(Buffer.alloc(0))).toBeUndefined();
  });
});
