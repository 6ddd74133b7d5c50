/** Silence of the leak matcher is the proof of everything else, so first of all it must be shown that it can speak. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formsOf } from "../../../src/sidecar/scrub/forms.ts";
import { compileMatcher } from "../../../src/sidecar/scrub/matcher.ts";
import { createScrubber } from "../../../src/sidecar/scrub/scrubber.ts";
import { SHAPES } from "../../support/canaries.ts";
import { leaksOf } from "../../support/leaks.ts";
import { mustSpellings, shouldSpellings } from "../../support/spellings.ts";

const among = (bytes: Buffer, before = "{ ", behind = " }"): Buffer =>
  Buffer.concat([Buffer.from(before), bytes, Buffer.from(behind)]);

/** What the scrubber makes of `text` when it knows these forms. */
const scrubbed = (forms: readonly Buffer[], text: Buffer): Buffer => {
  const out: Buffer[] = [];
  const scrubber = createScrubber(compileMatcher(forms));
  scrubber.push(Buffer.from(text), (bytes) => out.push(Buffer.from(bytes)));
  scrubber.end((bytes) => out.push(Buffer.from(bytes)));
  return Buffer.concat(out);
};

const CASES = Object.entries(SHAPES).flatMap(([shape, secret]) =>
  mustSpellings(secret).map(({ name, bytes }) => ({ shape, name, secret, bytes })),
);

describe("the search for leaks", () => {
  test("knows the encodings by vectors that were not made here", () => {
    // RFC 4648 section 10, RFC 3986 section 2.1, RFC 8259 section 7 (the G clef), HTML's own references.
    const secret = Buffer.from("foobar");
    expect(leaksOf(Buffer.from("xx Zm9vYmFy yy"), secret)).toEqual(["base64"]);
    expect(leaksOf(Buffer.from("666F6F626172"), secret)).toEqual(["hex"]);
    expect(leaksOf(Buffer.from("0x0666f6f6261720"), secret)).toEqual(["hex"]);
    expect(leaksOf(Buffer.from("%66%6f%6F%62%61%72"), secret)).toContain("percent");
    expect(leaksOf(Buffer.from('"\\u0066\\u006f\\u006Fb\\u0061r"'), secret)).toContain("json");
    expect(leaksOf(Buffer.from("\\\\u0066oobar"), secret)).toContain("json");
    expect(leaksOf(Buffer.from("&#102;&#x6f;&#x6F;bar"), secret)).toContain("html");
    expect(leaksOf(Buffer.from('"\\ud834\\udd1e-clef"'), Buffer.from("\u{1d11e}-clef"))).toContain("json");
    expect(leaksOf(Buffer.from("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Buffer.from("open sesame"))).toEqual(["base64"]);
    expect(leaksOf(Buffer.from("\0f\0o\0o\0b\0a\0r"), secret)).toContain("utf-16");
  });

  test.each(CASES)("finds $shape as $name", ({ secret, bytes }) => {
    expect(leaksOf(among(bytes), secret)).not.toEqual([]);
  });

  test.each(Object.entries(SHAPES))("finds %s in every should-tier spelling that keeps it", (_, secret) => {
    for (const [name, bytes] of Object.entries(shouldSpellings(secret, () => 0.3))) {
      if (name.endsWith(" case")) continue;
      expect(leaksOf(among(bytes), secret), name).not.toEqual([]);
    }
  });

  test("finds any secret in any surroundings, and nothing when one bit of it is another", () => {
    const around = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes));
    const any = fc
      .uint8Array({ minLength: 8, maxLength: 40 })
      .map((bytes) => Buffer.from(bytes.map((b) => (b < 0x20 ? b + 0x40 : b))));
    fc.assert(
      fc.property(any, around, around, fc.nat(), fc.nat(319), (secret, before, behind, pick, bit) => {
        const spellings = mustSpellings(secret);
        const spelling = spellings[pick % spellings.length];
        if (spelling === undefined) return;
        // Separated, so that the surroundings are no part of the spelling.
        const text = Buffer.concat([before, Buffer.from("  "), spelling.bytes, Buffer.from("  "), behind]);
        expect(leaksOf(text, secret), spelling.name).not.toEqual([]);
        const other = Buffer.from(secret);
        const at = (bit >> 3) % other.length;
        other[at] = (other[at] ?? 0) ^ (1 << (bit & 7));
        // Another reading of the same bytes may give it: only plain text is sure to differ.
        if (/^[\x20-\x7e]+$/.test(`${secret.toString("latin1")}${other.toString("latin1")}`)) {
          expect(leaksOf(Buffer.concat([Buffer.from("  "), spelling.bytes]), other)).toEqual([]);
        }
      }),
      { numRuns: 800 },
    );
  });

  test("finds fragments when asked to", () => {
    const secret = Buffer.from("sk-0123456789abcdef");
    expect(leaksOf(Buffer.from("x 56789ab y"), secret)).toEqual([]);
    expect(leaksOf(Buffer.from("x 56789ab y"), secret, { fragment: 7 })).toEqual(["literal"]);
    expect(leaksOf(Buffer.from(`x ${Buffer.from("6789abc").toString("hex")} y`), secret, { fragment: 6 })).toEqual([
      "hex",
    ]);
  });

  test("finds spellings of spellings when asked to", () => {
    const secret = Buffer.from("sk-0123456789abcdef");
    const text = Buffer.from(Buffer.from(`{"k":"${secret.toString("hex")}"}`).toString("base64"));
    expect(leaksOf(text, secret)).toEqual([]);
    expect(leaksOf(text, secret, { deep: true })).toEqual(["hex in base64"]);
  });
});

describe("a scrubber that has forgotten one form", () => {
  test.each(CASES)("is caught: $shape as $name", ({ secret, bytes }) => {
    const forms = formsOf(secret);
    const text = among(bytes);
    const known = forms.filter((form) => text.includes(form));
    expect(known, "the scrubber knows this spelling").not.toEqual([]);
    expect(leaksOf(scrubbed(forms, text), secret)).toEqual([]);
    expect(
      leaksOf(
        scrubbed(
          forms.filter((form) => !known.includes(form)),
          text,
        ),
        secret,
      ),
    ).not.toEqual([]);
  });

  test("or has its form cut by one byte at either end, is caught too", () => {
    const secret = SHAPES["a vendor's key"] ?? Buffer.alloc(0);
    for (const { name, bytes } of mustSpellings(secret)) {
      const text = among(bytes);
      // A cut form still hides most of the secret; what it lets through is a fragment.
      const forms = formsOf(secret)
        .filter((form) => text.includes(form))
        .map((form) => form.subarray(12));
      expect(leaksOf(scrubbed(forms, text), secret, { fragment: 2 }), name).not.toEqual([]);
    }
  });
});

const PYTHON = `
import base64, html, json, sys, urllib.parse
s = sys.stdin.buffer.read().decode()
b = s.encode()
print(json.dumps([
  base64.b64encode(b"user:" + b).decode(), base64.urlsafe_b64encode(b"x" + b).decode(), b.hex(), b.hex().upper(),
  urllib.parse.quote(s), urllib.parse.quote(s, safe=""), urllib.parse.quote_plus(s), json.dumps(s),
  json.dumps(s, ensure_ascii=False), json.dumps(json.dumps(s, ensure_ascii=False), ensure_ascii=False), html.escape(s),
  "".join("&#%d;" % ord(c) for c in s),
]))`;

const hasPython = (): boolean => {
  try {
    execFileSync("python3", ["-c", "0"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

describe.runIf(hasPython())("what another language writes", () => {
  test.each(Object.entries(SHAPES).slice(0, 5))("is found, and scrubbed: %s", (_, secret) => {
    const written = JSON.parse(String(execFileSync("python3", ["-c", PYTHON], { input: secret }))) as readonly string[];
    for (const text of written.map((one) => among(Buffer.from(one)))) {
      expect(leaksOf(text, secret), String(text)).not.toEqual([]);
      expect(leaksOf(scrubbed(formsOf(secret), text), secret), String(text)).toEqual([]);
    }
  });
});
