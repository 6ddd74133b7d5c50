import { execFileSync } from "node:child_process";
import { chmod, link, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { generateFernetKey } from "../../../../src/vault/barrier/fernet.ts";
import { openKeyRing, vaultKeySource } from "../../../../src/vault/barrier/key.ts";
import { replaceKeyFile } from "../../../../src/vault/barrier/key-file.ts";
import { failureOf, temporaryDirectory } from "../support.ts";

const context = { baseDir: "/base", stateDir: "/base/.sidekey", environment: {} };

describe("vaultKeySource", () => {
  it("is <state>/vault.key, or FERNET_SECRET_KEY when that is set", () => {
    expect(vaultKeySource(context)).toEqual({ file: "/base/.sidekey/vault.key" });
    expect(vaultKeySource({ ...context, environment: { FERNET_SECRET_KEY: "" } })).toEqual({
      file: "/base/.sidekey/vault.key",
    });
    expect(vaultKeySource({ ...context, environment: { FERNET_SECRET_KEY: "k" } })).toEqual({
      text: "k",
      where: "variable FERNET_SECRET_KEY",
    });
  });

  it("is what the file says, before the variable", () => {
    const environment = { FERNET_SECRET_KEY: "a", OTHER: "b" };
    expect(vaultKeySource({ ...context, environment, credential: { file: "k" } })).toEqual({ file: "/base/k" });
    expect(vaultKeySource({ ...context, environment, credential: { env: "OTHER" } })).toMatchObject({ text: "b" });
  });

  it("names a variable that is not set, and does not take one from the prototype", async () => {
    for (const name of ["MISSING", "toString"]) {
      const error = await failureOf(() => vaultKeySource({ ...context, credential: { env: name } }));
      expect(error.code).toBe("VAULT_KEY_UNREADABLE");
      expect(error.message).toContain(name);
    }
  });
});

describe("openKeyRing from a text", () => {
  it("takes several keys, separated by commas or white space", async () => {
    const [a, b, c] = [generateFernetKey(), generateFernetKey(), generateFernetKey()];
    expect((await openKeyRing({ text: `${a}, ${b}\n${c}\n`, where: "here" }, false)).keys).toHaveLength(3);
    expect((await openKeyRing({ text: a, where: "here" }, false)).keys).toHaveLength(1);
  });

  it("refuses none, and anything that is no key, without showing it", async () => {
    const good = generateFernetKey();
    for (const text of ["", " , \n", "canary-4711", `${good} canary-4711`, `${good}${good}`]) {
      const error = await failureOf(() => openKeyRing({ text, where: "variable K" }, true));
      expect(error.code).toBe("VAULT_KEY_UNREADABLE");
      expect(error.message).toContain("variable K");
      expect(inspect(error)).not.toContain("canary-4711");
      expect(inspect(error)).not.toContain(good);
    }
  });
});

describe("openKeyRing from a file", () => {
  it("makes it on first use, for its owner alone, and leaves nothing else behind", async () => {
    const state = join(await temporaryDirectory(), "deep", "state");
    const file = join(state, "vault.key");
    expect((await openKeyRing({ file }, true)).keys).toHaveLength(1);
    expect(await readdir(state)).toEqual(["vault.key"]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(state)).mode & 0o777).toBe(0o700);
    expect(await readFile(file, "utf8")).toMatch(/^[A-Za-z0-9_-]{43}=\n$/);
  });

  it("makes one key when many ask at once", async () => {
    const file = join(await temporaryDirectory(), "vault.key");
    const loaded = await Promise.all(Array.from({ length: 20 }, () => openKeyRing({ file }, true)));
    const texts = loaded.map(({ keys: [key] }) => key?.signing.export().toString("hex"));
    expect(new Set(texts).size).toBe(1);
  });

  it("does not make one for a store that has been sealed with another", async () => {
    const directory = await temporaryDirectory();
    const error = await failureOf(() => openKeyRing({ file: join(directory, "vault.key") }, false));
    expect(error.code).toBe("VAULT_KEY_UNREADABLE");
    expect(error.message).toContain("absent");
    expect(await readdir(directory)).toEqual([]);
  });

  it.each([0o640, 0o604, 0o644, 0o660, 0o601])("refuses mode %o", async (mode) => {
    const file = join(await temporaryDirectory(), "vault.key");
    await writeFile(file, generateFernetKey());
    await chmod(file, mode);
    const error = await failureOf(() => openKeyRing({ file }, true));
    expect(error.code).toBe("VAULT_KEY_UNREADABLE");
    expect(error.hint).toContain("chmod 600");
  });

  it("accepts one that is read-only", async () => {
    const file = join(await temporaryDirectory(), "vault.key");
    await writeFile(file, `${generateFernetKey()}\r\n`, { mode: 0o400 });
    expect((await openKeyRing({ file }, false)).keys).toHaveLength(1);
  });

  it("tells what cannot be opened from what is absent, and never replaces it", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "plain"), "");
    for (const file of [join(directory, "plain", "vault.key")]) {
      const error = await failureOf(() => openKeyRing({ file }, true));
      expect(error.code).toBe("VAULT_KEY_UNREADABLE");
      expect(error.message).toContain("ENOTDIR");
    }
    await symlink("loop", join(directory, "loop"));
    const error = await failureOf(() => openKeyRing({ file: join(directory, "loop") }, true));
    expect(error.message).toContain("ELOOP");
  });

  it("refuses an empty file, a foreign file, a huge file, a directory and a FIFO", async () => {
    const directory = await temporaryDirectory();
    const write = async (name: string, text: string): Promise<string> => {
      await writeFile(join(directory, name), text, { mode: 0o600 });
      return join(directory, name);
    };
    const files = [await write("empty", ""), await write("pem", "-----BEGIN PRIVATE KEY-----\n")];
    files.push(await write("huge", `${generateFernetKey()}\n`.repeat(1000)));
    await mkdir(join(directory, "folder"), { mode: 0o700 });
    execFileSync("mkfifo", ["-m", "600", join(directory, "fifo")]);
    files.push(join(directory, "folder"), join(directory, "fifo"));
    for (const file of files) {
      expect((await failureOf(() => openKeyRing({ file }, true))).code, file).toBe("VAULT_KEY_UNREADABLE");
    }
  });
});

describe("replaceKeyFile", () => {
  it("writes a draft of its own, never into what stands in the draft's place", async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, "vault.key");
    // As somebody else would leave them in a directory that is open to him: what he opens now he can read later.
    const planted = join(directory, "planted");
    await writeFile(file, "old", { mode: 0o600 });
    await writeFile(planted, "his", { mode: 0o600 });
    await link(planted, `${file}.next`);
    replaceKeyFile(file, "second");
    await symlink(planted, `${file}.next`);
    replaceKeyFile(file, "third");
    execFileSync("mkfifo", ["-m", "600", `${file}.next`]);
    replaceKeyFile(file, "fourth");
    expect(await readFile(planted, "utf8")).toBe("his");
    expect(await readFile(file, "utf8")).toBe("fourth");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await readdir(directory)).sort()).toEqual(["planted", "vault.key"]);
  });
});
