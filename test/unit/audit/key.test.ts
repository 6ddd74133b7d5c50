import { randomBytes } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type AuditFs, nodeAuditFs } from "../../../src/audit/file-access.ts";
import { openAuditKey, readAuditKey } from "../../../src/audit/key.ts";
import { tempDir } from "./support.ts";

const keyPath = (): string => join(tempDir(), "audit.key");

describe("the audit key", () => {
  it("is made once, of its owner alone, with nothing left beside it", () => {
    const path = keyPath();
    const key = openAuditKey(nodeAuditFs, path, randomBytes);
    expect(key).toHaveLength(32);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).toBe(`${key.toString("base64url")}\n`);
    expect(openAuditKey(nodeAuditFs, path, randomBytes)).toEqual(key);
    expect(readAuditKey(nodeAuditFs, path)).toEqual(key);
    expect(readdirSync(join(path, ".."))).toEqual(["audit.key"]);
  });

  it("is the same for two processes that make it at once", () => {
    const path = keyPath();
    let rival: Buffer | undefined;
    const fs: AuditFs = {
      ...nodeAuditFs,
      linkSync(from, to) {
        rival ??= openAuditKey(nodeAuditFs, path, randomBytes);
        nodeAuditFs.linkSync(from, to);
      },
    };
    expect(openAuditKey(fs, path, randomBytes)).toEqual(rival);
  });

  it.each([
    ["is empty", ""],
    ["is too short", "A".repeat(42)],
    ["is too long", "A".repeat(44)],
    ["is not base64url", `${"A".repeat(42)}+`],
  ])("is not accepted when it %s", (_, text) => {
    const path = keyPath();
    writeFileSync(path, text, { mode: 0o600 });
    expect(() => openAuditKey(nodeAuditFs, path, randomBytes)).toThrow(/AUDIT_KEY_UNREADABLE.*32 bytes/);
  });

  it("is not accepted when others may read it, is absent, or cannot be made", () => {
    const path = keyPath();
    openAuditKey(nodeAuditFs, path, randomBytes);
    chmodSync(path, 0o640);
    expect(() => readAuditKey(nodeAuditFs, path)).toThrow(/AUDIT_KEY_UNREADABLE.*group or others/);
    expect(() => readAuditKey(nodeAuditFs, keyPath())).toThrow(/AUDIT_KEY_UNREADABLE.*ENOENT/);
    const nowhere = join(tempDir(), "none", "audit.key");
    expect(() => openAuditKey(nodeAuditFs, nowhere, randomBytes)).toThrow(/AUDIT_KEY_UNREADABLE.*ENOENT/);
  });
});
