import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createDirectSync, createThreadSync, type DiskSync } from "../../../src/audit/disk-sync.ts";
import { nodeAuditFs } from "../../../src/audit/file-access.ts";
import { tempDir } from "./support.ts";

const once = (disk: DiskSync, path: string): Promise<Error | undefined> =>
  new Promise((resolve) => disk.sync(path, resolve));

describe.each([
  ["in this thread", createDirectSync],
  ["in a thread of its own", createThreadSync],
])("a disk sync %s", (_, create) => {
  it("calls back for each sync, and with the errno where the file cannot be synced", async () => {
    const directory = tempDir();
    const path = join(directory, "audit.jsonl");
    writeFileSync(path, "text");
    const disk = create(nodeAuditFs);
    expect(await once(disk, path)).toBeUndefined();
    expect(await once(disk, path)).toBeUndefined();
    expect(await once(disk, join(directory, "none", "audit.jsonl"))).toMatchObject({ code: "ENOENT" });
    expect(await once(disk, directory)).toMatchObject({ code: "EISDIR" });
    disk.close();
  });
});

describe("a disk sync in a thread of its own", () => {
  it("never calls back after it was closed", async () => {
    const disk = createThreadSync(nodeAuditFs);
    const path = join(tempDir(), "audit.jsonl");
    writeFileSync(path, "");
    let called = false;
    disk.sync(path, () => {
      called = true;
    });
    disk.close();
    const other = createThreadSync(nodeAuditFs);
    await once(other, path);
    other.close();
    expect(called).toBe(false);
  });
});
