/** A file that is written where there is none: over nothing, and without a word of what a killed run left. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { removeOldDrafts, writeNew } from "../../../../src/cli/init/new-file.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-new-file-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("writeNew", () => {
  it("writes where there is nothing, and tells its own text from another's", () => {
    const path = join(directory, "sidekey.yaml");
    expect(writeNew(path, "text")).toBe("new");
    expect(writeNew(path, "text")).toBe("same");
    expect(writeNew(path, "other")).toBe("other");
    expect(readFileSync(path, "utf8")).toBe("text");
    expect(readdirSync(directory)).toEqual(["sidekey.yaml"]);
  });

  it("takes no other file for it, and removes none", () => {
    const path = join(directory, "sidekey.yaml");
    // In a container the process that was killed had the same number.
    const beside = `${path}.${process.pid}`;
    writeFileSync(beside, "somebody's");
    expect(writeNew(path, "text")).toBe("new");
    expect(readFileSync(beside, "utf8")).toBe("somebody's");
  });

  it("does not follow a link that leads nowhere", () => {
    const path = join(directory, "sidekey.yaml");
    symlinkSync(join(directory, "elsewhere"), path);
    expect(writeNew(path, "text")).toBe("other");
    expect(readdirSync(directory)).toEqual(["sidekey.yaml"]);
  });
});

describe("removeOldDrafts", () => {
  const DRAFT = ".env.0b8f0c1e-3c4d-4e5f-8a9b-0c1d2e3f4a5b";

  it("removes what a command that was killed left, and nothing else that lies there", () => {
    const path = join(directory, ".env");
    const others = [".env.local", ".env.0b8f0c1e", `${DRAFT}.bak`, `x${DRAFT}`, ".env"];
    for (const name of [DRAFT, ...others]) {
      writeFileSync(join(directory, name), "KEY=value");
      utimesSync(join(directory, name), 1_000, 1_000);
    }
    const link = `${path}.1b8f0c1e-3c4d-4e5f-8a9b-0c1d2e3f4a5b`;
    symlinkSync(path, link);
    removeOldDrafts(path, 1_059_000);
    expect(readdirSync(directory)).toContain(DRAFT);
    removeOldDrafts(path, 1_061_000);
    expect(readdirSync(directory).sort()).toEqual([...others, link.slice(directory.length + 1)].sort());
  });

  it("says nothing of a directory that is not there", () => {
    removeOldDrafts(join(directory, "none", ".env"), 0);
  });
});
