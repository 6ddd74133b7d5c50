import { execFileSync } from "node:child_process";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MAX_SECRET_BYTES } from "../../../../../src/core/secret-bytes.ts";
import { sourceKinds } from "../../../../../src/sidecar/secrets/kinds/index.ts";
import { codeOf, failureOf, temporaryDirectory } from "../../../vault/support.ts";
import { CONTEXT, depsIn, refTo } from "./support.ts";

const [, file] = sourceKinds;

const setUp = async (root = "root") => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, "root"));
  await writeFile(join(directory, "outside"), "canary-4711");
  const source = await file.create({ kind: "file", root }, depsIn(directory));
  return {
    directory,
    root: join(directory, "root"),
    read: async (path: string): Promise<string> => (await source.fetch(refTo(path), CONTEXT)).value.lend(String),
    fails: (path: string) => codeOf(() => source.fetch(refTo(path), CONTEXT)),
  };
};

describe("source file", () => {
  it("needs a root and nothing else", () => {
    expect(file.fields.parse({ kind: "file", root: "r" })).toEqual({ kind: "file", root: "r" });
    for (const value of [{ kind: "file" }, { kind: "file", root: "" }, { kind: "file", root: "r", mode: 1 }]) {
      expect(file.fields.safeParse(value).success).toBe(false);
    }
  });

  it("cuts exactly one line end", async () => {
    const { root, read, fails } = await setUp();
    for (const [content, expected] of [
      ["v\n", "v"],
      ["v\r\n", "v"],
      ["v", "v"],
    ] as const) {
      await writeFile(join(root, "key"), content);
      expect(await read("key")).toBe(expected);
    }
    for (const content of ["v\n\n", "v\r", "v\n\r\n"]) {
      await writeFile(join(root, "key"), content);
      expect(await fails("key")).toBe("SOURCE_BAD_VALUE");
    }
    await writeFile(join(root, "key"), `${"x".repeat(MAX_SECRET_BYTES)}\r\n`);
    expect(await read("key")).toHaveLength(MAX_SECRET_BYTES);
    await writeFile(join(root, "key"), "\n");
    expect(await fails("key")).toBe("SOURCE_SECRET_MISSING");
  });

  it("does not leave its root by dots, by an absolute path or by its own name", async () => {
    const { directory, root, fails, read } = await setUp();
    await mkdir(join(directory, "root-2"));
    await writeFile(join(directory, "root-2", "key"), "canary-4711");
    for (const path of ["../outside", "x/../../outside", "..", "../root-2/key", "a\0b"]) {
      expect(await fails(path), path).toBe("SOURCE_FORBIDDEN");
    }
    expect(await fails(join(directory, "outside"))).toBe("SOURCE_SECRET_MISSING");
    await mkdir(join(root, "a"));
    await writeFile(join(root, "key"), "inside");
    expect(await read("a/../key")).toBe("inside");
  });

  it("follows links inside its root and none that lead out", async () => {
    const { directory, root, read, fails } = await setUp();
    await mkdir(join(root, "..2030"));
    await writeFile(join(root, "..2030", "key"), "v1");
    await symlink("..2030", join(root, "..data"));
    await symlink("..data/key", join(root, "key"));
    expect(await read("key")).toBe("v1");
    await mkdir(join(root, "..2031"));
    await writeFile(join(root, "..2031", "key"), "v2");
    await symlink("..2031", join(root, "..data_tmp"));
    await rename(join(root, "..data_tmp"), join(root, "..data"));
    expect(await read("key")).toBe("v2");

    await symlink("../outside", join(root, "out"));
    await symlink(join(directory, "outside"), join(root, "absolute"));
    await symlink(directory, join(root, "up"));
    await symlink("out", join(root, "twice"));
    for (const path of ["out", "absolute", "up/outside", "twice"]) {
      expect(await fails(path), path).toBe("SOURCE_FORBIDDEN");
    }
    await symlink("loop", join(root, "loop"));
    expect(await fails("loop")).toBe("SOURCE_UNAVAILABLE");
    await symlink("nowhere", join(root, "dangling"));
    expect(await fails("dangling")).toBe("SOURCE_SECRET_MISSING");
  });

  it("may have a root that is itself behind a link, or absolute", async () => {
    const { directory, root } = await setUp();
    await writeFile(join(root, "key"), "v");
    await symlink("root", join(directory, "link"));
    for (const at of ["link", root, "./root/", "root/../link"]) {
      const source = await file.create({ kind: "file", root: at }, depsIn(directory));
      expect((await source.fetch(refTo("key"), CONTEXT)).value.lend(String)).toBe("v");
    }
  });

  it("reads regular files only, and does not hang on a FIFO", async () => {
    const { root, fails } = await setUp();
    await mkdir(join(root, "folder"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    expect(await fails("folder")).toBe("SOURCE_UNAVAILABLE");
    expect(await fails("fifo")).toBe("SOURCE_UNAVAILABLE");
    await writeFile(join(root, "plain"), "v");
    expect(await fails("plain/key")).toBe("SOURCE_SECRET_MISSING");
  });

  it("tells a missing root from a missing secret", async () => {
    const { directory, root, fails } = await setUp();
    expect(await fails("key")).toBe("SOURCE_SECRET_MISSING");
    await rm(root, { recursive: true });
    expect(await fails("key")).toBe("SOURCE_UNAVAILABLE");
    const source = await file.create({ kind: "file", root: "root" }, depsIn(directory));
    expect((await failureOf(() => source.fetch(refTo("key"), CONTEXT))).message).toContain(root);
  });
});
