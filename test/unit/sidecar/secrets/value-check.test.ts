import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { cutTrailingNewline, holdsControl, MAX_SECRET_BYTES } from "../../../../src/core/secret-bytes.ts";
import type { SecretRef } from "../../../../src/sidecar/secrets/source.ts";
import { checkedSecret, checkSecretBytes } from "../../../../src/sidecar/secrets/value-check.ts";
import { codeOf, failureOf } from "../../vault/support.ts";

const ref = (field: readonly string[] = []): SecretRef => ({
  source: "s",
  path: "a/b",
  field,
  version: undefined,
  text: "s:a/b",
});

describe("holdsControl", () => {
  it("is true for the C0 controls and DEL, and for no other byte", () => {
    const found = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) =>
      holdsControl(Buffer.from([0x61, byte, 0x61])),
    );
    expect(found).toEqual([...Array.from({ length: 32 }, (_, byte) => byte), 127]);
  });
});

describe("cutTrailingNewline", () => {
  it.each([
    ["a\n", "a"],
    ["a\r\n", "a"],
    ["a\n\n", "a\n"],
    ["a\r\n\r\n", "a\r\n"],
    ["a\r", "a\r"],
    ["a", "a"],
    ["\n", ""],
    ["\r\n", ""],
    ["", ""],
    ["\na", "\na"],
  ])("makes %j to %j", (before, after) => {
    expect(cutTrailingNewline(Buffer.from(before)).toString()).toBe(after);
  });
});

describe("checkSecretBytes and checkedSecret", () => {
  it("take 1 byte to 64 KiB", async () => {
    expect(checkSecretBytes(Buffer.alloc(MAX_SECRET_BYTES, "a"), "here")).toBeUndefined();
    expect(checkedSecret(Buffer.from("a"), ref()).length).toBe(1);
    for (const field of [[], ["f"]]) {
      expect(await codeOf(() => checkedSecret(Buffer.alloc(0), ref(field)))).toBe("SOURCE_SECRET_MISSING");
      expect(await codeOf(() => checkedSecret(Buffer.alloc(MAX_SECRET_BYTES + 1, "a"), ref(field)))).toBe(
        "SOURCE_BAD_VALUE",
      );
    }
  });

  it("let line breaks pass only where a field will be cut out", async () => {
    expect(await codeOf(() => checkedSecret(Buffer.from("{\n}"), ref()))).toBe("SOURCE_BAD_VALUE");
    expect(checkedSecret(Buffer.from("{\n}"), ref(["f"])).length).toBe(3);
  });

  it("name the reference and never the bytes", async () => {
    const error = await failureOf(() => checkSecretBytes(Buffer.from("canary\n4711"), "s:a/b#f"));
    expect(error.message).toContain("s:a/b#f");
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/canary|4711/);
  });
});
