/** A file that is written where there is none: over nothing, and without a word of what a killed run left. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeNew } from "../../../../src/cli/init/new-file.ts";

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
