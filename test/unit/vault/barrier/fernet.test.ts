import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type FernetKey,
  generateFernetKey,
  openFernet,
  parseFernetKey,
  sealFernet,
} from "../../../../src/vault/barrier/fernet.ts";

const keyOf = (text: string): FernetKey => {
  const key = parseFernetKey(text);
  if (key === undefined) throw new Error("no key");
  return key;
};

const NOW = Date.UTC(2030, 0, 1);
const key = keyOf(generateFernetKey());

interface Vector {
  readonly key: string;
  readonly iv: string;
  readonly time: number;
  readonly message: string;
  readonly token: string;
}

// Made with pyca/cryptography 48.0.0, Fernet._encrypt_from_parts.
const vectors: readonly Vector[] = JSON.parse(readFileSync(new URL("fernet-vectors.json", import.meta.url), "utf8"));

describe("Fernet", () => {
  it.each(vectors)(
    "makes and opens the token of pyca/cryptography at time $time",
    ({ key: text, iv, time, message, token }) => {
      const made = sealFernet(keyOf(text), Buffer.from(message, "hex"), time * 1000, Buffer.from(iv, "hex"));
      expect(made).toBe(token);
      expect(openFernet(keyOf(text), token, { now: time * 1000, ttlSeconds: 0 })?.toString("hex")).toBe(message);
    },
  );

  it("opens what it sealed, byte for byte", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (message) => {
        expect(openFernet(key, sealFernet(key, message, NOW), { now: NOW })).toEqual(Buffer.from(message));
      }),
    );
  });

  it("never makes the same token twice", () => {
    const message = Buffer.from("same");
    expect(sealFernet(key, message, NOW)).not.toBe(sealFernet(key, message, NOW));
  });

  it("refuses a token with any one bit flipped", () => {
    const bytes = Buffer.from(sealFernet(key, Buffer.from("message"), NOW), "base64url");
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(openFernet(key, changed.toString("base64url"), { now: NOW })).toBeUndefined();
    }
  });

  it("refuses what is not strict base64url, though Node would decode it", () => {
    // One token in twenty has neither '-' nor '_', and then its standard base64 is the same text.
    let token = sealFernet(key, Buffer.from("message"), NOW);
    while (!/[-_]/.test(token)) token = sealFernet(key, Buffer.from("message"), NOW);
    const bare = token.replace(/=+$/, "");
    expect(openFernet(key, bare, { now: NOW })?.toString()).toBe("message");
    const spoiled = [
      `${token}\n`,
      ` ${token}`,
      `${token.slice(0, 9)}%${token.slice(9)}`,
      `${bare}===`,
      `${token}=`,
      "",
    ];
    spoiled.push(`${token.slice(0, 8)}\0${token.slice(8)}`, Buffer.from(bare, "base64url").toString("base64"));
    for (const text of spoiled) expect(openFernet(key, text, { now: NOW })).toBeUndefined();
  });

  it("refuses every shorter token", () => {
    const bytes = Buffer.from(sealFernet(key, Buffer.from("message"), NOW), "base64url");
    for (let length = 0; length < bytes.length; length += 1) {
      expect(openFernet(key, bytes.subarray(0, length).toString("base64url"), { now: NOW })).toBeUndefined();
    }
  });

  it("refuses another key", () => {
    const other = keyOf(generateFernetKey());
    expect(openFernet(other, sealFernet(key, Buffer.from("message"), NOW), { now: NOW })).toBeUndefined();
  });

  it("counts age only when asked, and grants a clock that is 60 seconds behind", () => {
    const token = sealFernet(key, Buffer.from("message"), NOW);
    const opens = (now: number, ttlSeconds?: number): boolean =>
      openFernet(key, token, { now, ...(ttlSeconds !== undefined && { ttlSeconds }) }) !== undefined;
    expect([opens(NOW + 10_000, 10), opens(NOW + 11_000, 10)]).toEqual([true, false]);
    expect([opens(NOW - 60_000, 10), opens(NOW - 61_000, 10)]).toEqual([true, false]);
    expect([opens(0), opens(NOW * 2)]).toEqual([true, true]);
  });

  it("takes exactly 32 bytes as a key, padded or not", () => {
    const text = generateFernetKey();
    expect(text).toMatch(/^[A-Za-z0-9_-]{43}=$/);
    expect(parseFernetKey(text)).toBeDefined();
    expect(parseFernetKey(text.slice(0, -1))).toBeDefined();
    const wrong = ["", "a", text.slice(1), `A${text}`, `${text}\n`, ` ${text}`, `${text.slice(0, 42)}=`, `${text}=`];
    wrong.push(Buffer.alloc(32, 0xff).toString("base64"), Buffer.alloc(31).toString("base64url"), "*".repeat(44));
    // The same 32 bytes, with a bit set that the padding leaves unused.
    wrong.push(`${"A".repeat(42)}B=`);
    for (const each of wrong) expect(parseFernetKey(each)).toBeUndefined();
  });

  it("does not show a key to whoever prints it", () => {
    const text = generateFernetKey();
    const shown = inspect(keyOf(text), { depth: 10, showHidden: true }) + JSON.stringify(keyOf(text));
    const bytes = Buffer.from(text, "base64url");
    for (const half of [bytes.subarray(0, 16), bytes.subarray(16)]) {
      for (const form of [half.toString("hex"), half.toString("base64url").slice(0, 20), half.join(",")]) {
        expect(shown).not.toContain(form);
      }
    }
  });
});

interface SpecCase {
  readonly desc?: string;
  readonly token: string;
  readonly now: string;
  readonly ttl_sec?: number;
  readonly secret: string;
  readonly src?: string;
  readonly iv?: readonly number[];
}

// The vectors of github.com/fernet/spec, as the package cryptography_vectors carries them (Apache-2.0 or BSD-3-Clause).
const specification: Readonly<Record<"generate" | "verify" | "invalid", readonly SpecCase[]>> = JSON.parse(
  readFileSync(new URL("fernet-specification.json", import.meta.url), "utf8"),
);

describe("Fernet, by the specification's vectors,", () => {
  it("makes the token of generate.json", () => {
    const { generate: cases } = specification;
    expect(cases.length).toBeGreaterThan(0);
    for (const { token, now, iv, src, secret } of cases) {
      const made = sealFernet(keyOf(secret), Buffer.from(src ?? ""), Date.parse(now), Buffer.from(iv ?? []));
      expect(made).toBe(token);
    }
  });

  it("opens verify.json", () => {
    const { verify: cases } = specification;
    expect(cases.length).toBeGreaterThan(0);
    for (const { token, now, ttl_sec = 0, src, secret } of cases) {
      const message = openFernet(keyOf(secret), token, { now: Date.parse(now), ttlSeconds: ttl_sec });
      expect(message?.toString()).toBe(src);
    }
  });

  it("refuses all of invalid.json", () => {
    const { invalid: cases } = specification;
    expect(cases.length).toBeGreaterThan(0);
    for (const { desc, token, now, ttl_sec = 0, secret } of cases) {
      expect(openFernet(keyOf(secret), token, { now: Date.parse(now), ttlSeconds: ttl_sec }), desc).toBeUndefined();
    }
  });
});
