import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { estimateBits, isWeak, WEAK_BITS } from "../../../../src/sidecar/scrub/strength.ts";

const bits = (text: string): number => estimateBits(Buffer.from(text));

describe("the estimate of a secret", () => {
  it.each([
    "1234",
    "48151623",
    "password",
    "Tr0ub4dor",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "00000000000000000000000000000001",
    "deadbeefdeadbee",
  ])("calls %j weak", (text) => {
    expect(bits(text)).toBeLessThan(WEAK_BITS);
  });

  it.each([
    "sk-proj-0aZ9kTqW3xY7Lm2Vb8Nc",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "7be24c553f9a61d0c8e1",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "AKIAIOSFODNN7EXAMPLE",
  ])("calls %j strong", (text) => {
    expect(bits(text)).toBeGreaterThanOrEqual(WEAK_BITS);
  });

  it("calls no random key of 96 bits weak, however it is written", () => {
    for (let n = 0; n < 2_000; n++) {
      const key = randomBytes(12);
      for (const text of [key.toString("hex"), key.toString("base64url"), key.toString("base64")]) {
        expect([text, bits(text) >= WEAK_BITS]).toEqual([text, true]);
      }
    }
  });

  it("never falls when a character is put at the end, and never is more than eight bits for each", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(255), (bytes, more) => {
        const before = estimateBits(Buffer.from(bytes));
        const after = estimateBits(Buffer.from([...bytes, more]));
        expect(after).toBeGreaterThanOrEqual(before);
        expect(after).toBeLessThanOrEqual(8 * (bytes.length + 1));
      }),
    );
  });

  it("of a set is that of the weakest", () => {
    expect(isWeak([randomBytes(32), Buffer.from("1234")])).toBe(true);
    expect(isWeak([randomBytes(32)])).toBe(false);
  });
});
