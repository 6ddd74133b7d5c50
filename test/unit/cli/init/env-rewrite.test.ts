/** A `.env` file with placeholders in the place of its keys: nothing else in it changes, or nothing at all. */
import {
  chmodSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "dotenv";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileToReplace, linesWith, replaceFile, withPlaceholders } from "../../../../src/cli/init/env-rewrite.ts";
import { readEnvFile } from "../../../../src/config/env-file.ts";

const replaced = (text: string, placeholders: Readonly<Record<string, string>>): string => {
  const file = readEnvFile(Buffer.from(text));
  expect(file.problems).toEqual([]);
  const map = new Map(
    file.entries.flatMap((one) => {
      const placeholder = placeholders[one.name];
      return placeholder === undefined ? [] : [[one, placeholder] as const];
    }),
  );
  return withPlaceholders(file, map);
};

describe("withPlaceholders", () => {
  it("changes the values alone: comments, order, quotes of others, spaces and line ends stay", () => {
    const text = [
      "# keys\r\n",
      "export A = 'secret one' # of A\r\n",
      'B="secret # two"\r\n',
      "\r\n",
      "  C=secret3   # three\r\n",
      "D='kept as it is' \r\n",
      "E=secret5",
    ].join("");
    const result = replaced(text, { A: "pa", B: "pb", C: "pc", E: "pe" });
    expect(result).toBe("# keys\r\nexport A = pa # of A\r\nB=pb\r\n\r\n  C=pc   # three\r\nD='kept as it is' \r\nE=pe");
    expect(parse(result)).toEqual({ A: "pa", B: "pb", C: "pc", D: "kept as it is", E: "pe" });
  });

  it("quotes a placeholder that is not plain, and refuses what no quotes can hold", () => {
    expect(replaced("A=x\n", { A: "two words" })).toBe("A='two words'\n");
    expect(() => replaced("A=x\nB=y\n", { A: "it's" })).toThrow(/INTERNAL/);
  });

  it("replaces a value in every line that gives it to the same name", () => {
    const text = "A=x\r\nB=y\r\nexport A='x' # again\r\nA=x";
    expect(replaced(text, { A: "pa" })).toBe("A=pa\r\nB=y\r\nexport A=pa # again\r\nA=pa");
  });

  it("leaves a file without keys as it is", () => {
    expect(replaced("A=x\n# b", {})).toBe("A=x\n# b");
  });
});

describe("linesWith", () => {
  it("finds values that stand elsewhere too", () => {
    expect(linesWith("a\n# old: secret-1\r\nURL=https://secret-2@x\nb", ["secret-1", "secret-2"])).toEqual([2, 3]);
  });
});

describe("replaceFile", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sidekey-env-"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const at = (name: string): string => join(directory, name);
  const open = (name: string) => fileToReplace(at(name), readFileSync(at(name)));

  it("keeps the mode, and leaves nothing beside it", () => {
    writeFileSync(at(".env"), "A=secret\n");
    chmodSync(at(".env"), 0o640);
    replaceFile(open(".env"), "A=p\n");
    expect(readFileSync(at(".env"), "utf8")).toBe("A=p\n");
    expect(statSync(at(".env")).mode & 0o777).toBe(0o640);
    expect(readdirSync(directory)).toEqual([".env"]);
  });

  it("keeps a byte order mark, and a symbolic link", () => {
    writeFileSync(at("real"), "\ufeffA=secret\n");
    symlinkSync("real", at(".env"));
    replaceFile(open(".env"), "A=p\n");
    expect(readFileSync(at("real"), "utf8")).toBe("\ufeffA=p\n");
    expect(readdirSync(directory).sort()).toEqual([".env", "real"]);
    expect(readFileSync(at(".env"), "utf8")).toBe("\ufeffA=p\n");
  });

  it("does not write over what was changed meanwhile", () => {
    writeFileSync(at(".env"), "A=secret\n");
    const file = open(".env");
    writeFileSync(at(".env"), "A=other\n");
    expect(() => replaceFile(file, "A=p\n")).toThrow(/CONFIG_USAGE: .*changed meanwhile/);
    expect(readFileSync(at(".env"), "utf8")).toBe("A=other\n");
    expect(readdirSync(directory)).toEqual([".env"]);
  });

  it("says of a file that has gone what there still is to do", () => {
    writeFileSync(at(".env"), "A=secret\n");
    const file = open(".env");
    rmSync(at(".env"));
    expect(() => replaceFile(file, "A=p\n")).toThrow(/could not be replaced \(ENOENT\)/);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("refuses what is no regular file, before anything is changed", () => {
    expect(() => fileToReplace(directory, Buffer.alloc(0))).toThrow(/not a regular file/);
  });

  it("says that another name of the file still holds the keys", () => {
    writeFileSync(at(".env"), "A=secret\n");
    linkSync(at(".env"), at("other"));
    expect(open(".env").otherNames).toBe(1);
    replaceFile(open(".env"), "A=p\n");
    expect(readFileSync(at("other"), "utf8")).toBe("A=secret\n");
  });
});
