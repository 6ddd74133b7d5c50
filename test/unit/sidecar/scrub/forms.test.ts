import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formsOf, MIN_FORM_BYTES } from "../../../../src/sidecar/scrub/forms.ts";

const HOSTILE = `p@ss/w0rd&<x>"y"'z'+é=~!*\\(日)`;
const texts = (value: string): readonly string[] => formsOf(Buffer.from(value)).map((form) => form.toString("utf8"));
const units = (text: string): readonly number[] => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
const hex = (text: string): string => Buffer.from(text).toString("hex");

describe("the forms of a secret", () => {
  test.each([
    ["literal", HOSTILE],
    ["base64", Buffer.from(HOSTILE).toString("base64").replace(/.?=*$/, "")],
    ["base64url", Buffer.from(HOSTILE).toString("base64url").slice(0, -1)],
    ["hex, lower case", hex(HOSTILE)],
    ["hex, upper case", hex(HOSTILE).toUpperCase()],
    ["percent as encodeURIComponent", encodeURIComponent(HOSTILE)],
    ["percent, every byte, upper case", hex(HOSTILE).toUpperCase().replace(/../g, "%$&")],
    ["percent, every byte, lower case", hex(HOSTILE).replace(/../g, "%$&")],
    ["form encoding", new URLSearchParams({ k: HOSTILE }).toString().slice(2)],
    ["JSON", JSON.stringify(HOSTILE).slice(1, -1)],
    ["JSON in JSON", JSON.stringify(JSON.stringify(HOSTILE)).slice(3, -3)],
    ["JSON, slashes escaped", JSON.stringify(HOSTILE).slice(1, -1).replaceAll("/", "\\/")],
    [
      "JSON, every unit, lower case",
      units(HOSTILE)
        .map((u) => `\\u${u.toString(16).padStart(4, "0")}`)
        .join(""),
    ],
    [
      "JSON, every unit, upper case",
      units(HOSTILE)
        .map((u) => `\\u${u.toString(16).toUpperCase().padStart(4, "0")}`)
        .join(""),
    ],
    [
      "HTML, minimal",
      HOSTILE.replaceAll("&", "&amp;")
        .replaceAll("<", "&lt;")
        .replaceAll(">", "&gt;")
        .replaceAll('"', "&quot;")
        .replaceAll("'", "&#39;"),
    ],
    [
      "HTML, all decimal",
      units(HOSTILE)
        .map((u) => `&#${u};`)
        .join(""),
    ],
    [
      "HTML, all hex",
      units(HOSTILE)
        .map((u) => `&#x${u.toString(16)};`)
        .join(""),
    ],
    [
      "HTML, all hex, upper case",
      units(HOSTILE)
        .map((u) => `&#x${u.toString(16).toUpperCase()};`)
        .join(""),
    ],
  ])("include %s", (_, form) => {
    expect(texts(HOSTILE)).toContain(form);
  });

  test("include UTF-16 in both byte orders", () => {
    const forms = formsOf(Buffer.from(HOSTILE)).map((form) => form.toString("hex"));
    const little = Buffer.from(HOSTILE, "utf16le");
    expect(forms).toContain(little.toString("hex"));
    expect(forms).toContain(Buffer.from(little).swap16().toString("hex"));
  });

  test("include what base64 of any surrounding text shows of the secret, in both alphabets", () => {
    const value = fc.uint8Array({ minLength: 6, maxLength: 40 });
    const around = fc.uint8Array({ maxLength: 9 });
    fc.assert(
      fc.property(value, around, around, (secret, before, after) => {
        const bytes = Buffer.from(secret);
        const encoded = Buffer.concat([before, bytes, after]);
        const forms = formsOf(bytes).map((form) => form.toString("latin1"));
        for (const alphabet of ["base64", "base64url"] as const) {
          const text = encoded.toString(alphabet);
          // All but at most three characters at the left edge and two at the right.
          const longest = forms.filter((form) => text.includes(form)).sort((a, b) => b.length - a.length)[0];
          expect((longest ?? "").length).toBeGreaterThanOrEqual(Math.floor((bytes.length * 8 - 10) / 6));
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("are each there once: a plain key has few", () => {
    const forms = texts("sk-proj-0123456789abcdef");
    expect(new Set(forms).size).toBe(forms.length);
    expect(forms.length).toBeLessThan(20);
  });

  test("are never too short to look for", () => {
    for (const value of ["abc", "abcd", "é", ""]) {
      for (const form of formsOf(Buffer.from(value))) expect(form.length).toBeGreaterThanOrEqual(MIN_FORM_BYTES);
    }
  });

  test("include UTF-16 that holds the byte of a line feed", () => {
    // U+0A05 and U+010A, each in one byte order.
    for (const value of ["ਅਆਇ-secret", "ĊĊĊ-secret"]) {
      const utf16 = Buffer.from(value, "utf16le");
      const forms = formsOf(Buffer.from(value)).map((form) => form.toString("hex"));
      expect(forms).toContain(utf16.toString("hex"));
      expect(forms).toContain(utf16.swap16().toString("hex"));
    }
  });

  test("of bytes that are no text are those that bytes have, and those of the Latin-1 text that servers read", () => {
    const bytes = Buffer.from("ff00fe0180c3", "hex");
    const forms = formsOf(bytes).map((form) => form.toString("latin1"));
    expect(forms).toContain("ff00fe0180c3");
    expect(forms).toContain("%FF%00%FE%01%80%C3");
    expect(forms).toContain("\\u00ff\\u0000\\u00fe\\u0001\\u0080\\u00c3");
    expect(forms).toContain(bytes.toString("latin1"));
    expect(forms).toContain(Buffer.from("\u00ff\0\u00fe\u0001\u0080\u00c3").toString("latin1"));
  });

  test("cover what a Node server writes of a header beyond ASCII, which it reads as Latin-1", () => {
    const secret = "schlüssel-日本-0123";
    const header = Buffer.from(secret).toString("latin1");
    for (const form of [JSON.stringify(header).slice(1, -1), encodeURIComponent(header)]) {
      expect(texts(secret)).toContain(form);
    }
  });

  test("are copies: the value may change afterwards", () => {
    const value = Buffer.from("secret-value");
    const [literal] = formsOf(value);
    value.fill(0);
    expect(literal?.toString()).toBe("secret-value");
  });
});
