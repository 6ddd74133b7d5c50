import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SidekeyError } from "../../../src/core/errors.ts";
import { prepareStateDirectory } from "../../../src/core/state-directory.ts";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "sidekey-state-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const refusal = (directory: string): SidekeyError => {
  try {
    prepareStateDirectory(directory);
  } catch (error) {
    if (error instanceof SidekeyError) return error;
    throw error;
  }
  throw new Error("it was accepted");
};

describe("prepareStateDirectory", () => {
  it("makes the directory and its parents, 0700, with a .gitignore of everything", () => {
    const directory = join(root, "deep", ".sidekey");
    prepareStateDirectory(directory);
    expect(modeOf(directory)).toBe(0o700);
    expect(readFileSync(join(directory, ".gitignore"), "utf8")).toBe("*\n");
  });

  it("can be called again, and leaves a .gitignore that is there alone", () => {
    const directory = join(root, ".sidekey");
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(join(directory, ".gitignore"), "# mine\n*\n");
    prepareStateDirectory(directory);
    prepareStateDirectory(directory);
    expect(readFileSync(join(directory, ".gitignore"), "utf8")).toBe("# mine\n*\n");
  });

  it("closes a directory that others could read", () => {
    const directory = join(root, ".sidekey");
    mkdirSync(directory);
    chmodSync(directory, 0o755);
    prepareStateDirectory(directory);
    expect(modeOf(directory)).toBe(0o700);
  });

  it.each([0o770, 0o707, 0o777, 0o1777])(
    "refuses a directory that others can write (%o) and writes nothing",
    (mode) => {
      const directory = join(root, ".sidekey");
      mkdirSync(directory);
      chmodSync(directory, mode);
      const error = refusal(directory);
      expect(error.code).toBe("CONFIG_INVALID");
      expect(error.detail).toContain("can be written by others");
      expect(error.hint).toContain(`chmod 700 ${directory}`);
      expect(() => statSync(join(directory, ".gitignore"))).toThrow("ENOENT");
    },
  );

  it.runIf(process.getuid?.() === 0)("refuses a directory of another user, for root too", () => {
    const directory = join(root, ".sidekey");
    mkdirSync(directory, { mode: 0o700 });
    chownSync(directory, 65534, 65534);
    const error = refusal(directory);
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.detail).toContain("belongs to another user (uid 65534)");
  });

  it("refuses a file in its place, and a path below a file", () => {
    const file = join(root, "file");
    writeFileSync(file, "");
    expect(refusal(file).code).toBe("CONFIG_INVALID");
    expect(refusal(join(file, "below")).detail).toContain("cannot be used");
  });
});
