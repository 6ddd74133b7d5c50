/** Attack: the upstream echoes the key, cut anywhere, in any spelling that must be covered (guarantees A1, A2, A3). */
import { describe, expect, test } from "vitest";
import { createRedaction } from "../../src/sidecar/scrub/redaction.ts";
import { createScrubber } from "../../src/sidecar/scrub/scrubber.ts";
import { leaksOf } from "../support/leaks.ts";

const SECRETS = {
  "a vendor's key": "sk-proj-CANARY0aZ9+/kTqW3xY7Lm2Vb8Nc",
  "a password with punctuation": `p@ss w0rd/&<c4n4ry>"q"'s'+=~!*\\(x)`,
  "a password beyond ASCII": "schlüssel-日本-CANARY-ключ-0123",
} as const;

const html = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? "&#39;");
const units = (text: string, spell: (unit: number) => string): string =>
  Array.from(text, (c) => spell(c.charCodeAt(0))).join("");
const hex4 = (unit: number): string => unit.toString(16).padStart(4, "0");
const percentAll = (text: string): string => Buffer.from(text).toString("hex").replace(/../g, "%$&");

/** Each as an upstream would write it: the secret somewhere in a larger text. */
const REFLECTIONS: Readonly<Record<string, (secret: string) => Buffer>> = {
  literal: (s) => Buffer.from(`Incorrect API key provided: ${s}. Try again.`),
  "base64, alignment 0": (s) => Buffer.from(`Basic ${Buffer.from(`${s}:x`).toString("base64")} end`),
  "base64, alignment 1": (s) => Buffer.from(`Basic ${Buffer.from(`usr:${s}`).toString("base64")} end`),
  "base64, alignment 2": (s) => Buffer.from(`Basic ${Buffer.from(`user:${s}:x`).toString("base64")} end`),
  "base64url, alignment 1": (s) => Buffer.from(`jwt.${Buffer.from(`{"k":"${s}"}`).toString("base64url")}.sig`),
  "hex, lower": (s) => Buffer.from(`0x${Buffer.from(s).toString("hex")};`),
  "hex, upper": (s) => Buffer.from(`0x${Buffer.from(s).toString("hex").toUpperCase()};`),
  percent: (s) => Buffer.from(`https://a.test/?key=${encodeURIComponent(s)}&next=1`),
  "percent, all, lower": (s) => Buffer.from(`/?key=${percentAll(s)}&n=1`),
  "percent, all, upper": (s) => Buffer.from(`/?key=${percentAll(s).toUpperCase()}&n=1`),
  JSON: (s) => Buffer.from(JSON.stringify({ headers: { authorization: `Bearer ${s}` }, ok: true })),
  "JSON, all, lower": (s) => Buffer.from(`{"k":"${units(s, (u) => `\\u${hex4(u)}`)}"}`),
  "JSON, all, upper": (s) => Buffer.from(`{"k":"${units(s, (u) => `\\u${hex4(u).toUpperCase()}`)}"}`),
  "JSON in JSON": (s) => Buffer.from(JSON.stringify({ body: JSON.stringify({ key: s }) })),
  HTML: (s) => Buffer.from(`<p title="${html(s)}">no</p>`),
  "HTML, decimal": (s) => Buffer.from(`<p>${units(s, (u) => `&#${u};`)}</p>`),
  "HTML, hex": (s) => Buffer.from(`<p>${units(s, (u) => `&#x${u.toString(16)};`)}</p>`),
  "UTF-16 LE": (s) => Buffer.from(`key: ${s}.`, "utf16le"),
  "UTF-16 BE": (s) => Buffer.from(`key: ${s}.`, "utf16le").swap16(),
};

const scrubbed = (secret: string, chunks: readonly Buffer[]): Buffer => {
  const scrubber = createScrubber(createRedaction([Buffer.from(secret)]));
  return collect(scrubber, chunks);
};

const collect = (scrubber: ReturnType<typeof createScrubber>, chunks: readonly Buffer[]): Buffer => {
  const out: Buffer[] = [];
  const emit = (bytes: Buffer): void => void out.push(Buffer.from(bytes));
  for (const chunk of chunks) scrubber.push(Buffer.from(chunk), emit);
  scrubber.end(emit);
  return Buffer.concat(out);
};

const inPieces = (text: Buffer, size: number): readonly Buffer[] =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.subarray(i * size, (i + 1) * size));

const CASES = Object.entries(SECRETS).flatMap(([kind, secret]) =>
  Object.entries(REFLECTIONS).map(([form, reflect]) => ({ kind, form, secret, text: reflect(secret) })),
);

describe("an echoed secret never comes through", () => {
  test.each(CASES)("$kind as $form, split at every place", ({ secret, text }) => {
    const value = Buffer.from(secret);
    // First of all the search for leaks must see this spelling: otherwise its silence means nothing.
    expect(leaksOf(text, value)).not.toEqual([]);
    const whole = scrubbed(secret, [text]);
    expect(whole.length).toBe(text.length);
    expect(leaksOf(whole, value, { fragment: 5 })).toEqual([]);
    const redaction = createRedaction([value]);
    for (let at = 1; at < text.length; at++) {
      const result = collect(createScrubber(redaction), [text.subarray(0, at), text.subarray(at)]);
      expect(result.equals(whole), `split at ${at}`).toBe(true);
    }
    for (const size of [1, 7]) {
      expect(collect(createScrubber(redaction), inPieces(text, size)).equals(whole), `pieces of ${size}`).toBe(true);
    }
  });

  test("not even between two line feeds in every chunk", () => {
    const secret = SECRETS["a vendor's key"];
    const text = Buffer.from(`data: ${secret}\n\ndata: x\n\n`.repeat(20));
    const result = scrubbed(secret, inPieces(text, 11));
    expect(leaksOf(result, Buffer.from(secret), { fragment: 5 })).toEqual([]);
    expect(result.toString()).toContain("data: [redacted]");
  });
});
