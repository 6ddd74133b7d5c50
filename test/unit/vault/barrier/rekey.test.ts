import { chmod, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { generateFernetKey } from "../../../../src/vault/barrier/fernet.ts";
import { openVault } from "../../../../src/vault/index.ts";
import {
  afterTest,
  codeOf,
  failureOf,
  openTestVault,
  type TestVault,
  temporaryDirectory,
  withRows,
} from "../support.ts";

const SECRETS = 250;

const textOf = async ({ vault }: TestVault, path: string): Promise<string> =>
  (await vault.secrets.get(path)).value.lend(String);

const filledVault = async (): Promise<TestVault> => {
  const at = await openTestVault();
  await at.vault.secrets.importAll(
    Array.from({ length: SECRETS }, (_, n) => ({ path: `a/${n}`, value: SecretValue.fromText(`value ${n}`) })),
  );
  return at;
};

const keyFile = ({ state }: TestVault): string => join(state, "vault.key");
const keysIn = async (at: TestVault): Promise<string[]> => (await readFile(keyFile(at), "utf8")).trim().split("\n");

/** Rows that the one key of a text opens, of all. */
const openedBy = (at: TestVault, text: string): Promise<[number, number]> =>
  withRows(at, async (storage) => {
    const { createBarrier } = await import("../../../../src/vault/barrier/barrier.ts");
    const { openKeyRing } = await import("../../../../src/vault/barrier/key.ts");
    const barrier = createBarrier(await openKeyRing({ text, where: "here" }, false), at.clock);
    const rows = (await storage.read((tx) => tx.range(""))).filter(({ key }) => key !== "integrity:sum");
    return [rows.filter(({ value }) => barrier.isCurrent(value)).length, rows.length];
  });

describe("rekey", () => {
  it("leaves one new key, which opens every row, where the old one opens none", async () => {
    const at = await filledVault();
    const { token } = await at.vault.tokens.issue({ agent: "default", scopes: parseScopes("secrets:use:a/*") });
    const [old = ""] = await keysIn(at);
    const told: [number, number][] = [];
    const { rows, resumed, file } = await at.vault.rekey((done, total) => told.push([done, total]));
    expect({ resumed, file }).toEqual({ resumed: false, file: keyFile(at) });
    const [fresh = "", ...others] = await keysIn(at);
    expect(others).toEqual([]);
    expect(fresh).not.toBe(old);
    // Check row and hash key were sealed anew before.
    const [, all] = await openedBy(at, fresh);
    expect(rows).toBe(all - 2);
    expect(await openedBy(at, fresh)).toEqual([all, all]);
    expect(await openedBy(at, old)).toEqual([0, all]);
    expect(told.at(0)).toEqual([100, rows]);
    expect(told.at(-1)).toEqual([rows, rows]);
    expect(await readdir(at.state)).toEqual(expect.arrayContaining(["vault", "vault.key"]));
    expect(await readdir(at.state)).toHaveLength(2);

    const again = await openTestVault(at);
    for (const open of [at, again]) {
      expect(await textOf(open, "a/17")).toBe("value 17");
      expect((await open.vault.tokens.verify(token)).agent).toBe("default");
    }
  });

  it("is followed by who had the vault open: reading, writing and asking for tokens", async () => {
    const at = await filledVault();
    const readers = await Promise.all(Array.from({ length: 4 }, () => openTestVault(at)));
    const issued = await at.vault.tokens.issue({ agent: "default", scopes: parseScopes("secrets:use:a/*") });
    for (let round = 0; round < 3; round += 1) {
      await at.vault.rekey();
      const [one, two, three, four] = readers;
      expect(one && (await textOf(one, "a/3"))).toMatch(/^value/);
      await two?.vault.secrets.set("a/3", SecretValue.fromText(`value of round ${round}`));
      expect(three?.vault.tokens.state(issued.claims.id)).toBe("active");
      expect(await four?.vault.secrets.list()).toHaveLength(SECRETS);
      const [key = ""] = await keysIn(at);
      const [opened, all] = await openedBy(at, key);
      expect(opened).toBe(all);
    }
  });

  it("takes whatever others write meanwhile", async () => {
    const at = await filledVault();
    const other = await openTestVault(at);
    let going = true;
    let last = 0;
    const writing = (async () => {
      for (; going; last += 1) await other.vault.secrets.set("a/busy", SecretValue.fromText(`busy ${last}`));
    })();
    for (let round = 0; round < 3; round += 1) await at.vault.rekey();
    going = false;
    await writing;
    const [key = ""] = await keysIn(at);
    const [opened, all] = await openedBy(at, key);
    expect(opened).toBe(all);
    expect(await textOf(await openTestVault(at), "a/busy")).toBe(`busy ${last - 1}`);
  });

  it("goes on with several keys in the file: seals with the first, and drops the others", async () => {
    const at = await filledVault();
    const [old = ""] = await keysIn(at);
    const fresh = generateFernetKey();
    await writeFile(keyFile(at), `${fresh}\n${old}\n`);
    const { resumed } = await at.vault.rekey();
    expect(resumed).toBe(true);
    expect(await keysIn(at)).toEqual([fresh]);
    expect(await textOf(await openTestVault(at), "a/3")).toBe("value 3");
  });

  it("may be asked for by many at once", async () => {
    const at = await filledVault();
    const others = await Promise.all(Array.from({ length: 3 }, () => openTestVault(at)));
    await Promise.all([at, ...others].map(({ vault }) => vault.rekey()));
    const keys = await keysIn(at);
    expect(keys).toHaveLength(1);
    const [opened, all] = await openedBy(at, keys[0] ?? "");
    expect(opened).toBe(all);
    expect(await textOf(await openTestVault(at), "a/3")).toBe("value 3");
  });

  it("keeps mode and link of the key file", async () => {
    const at = await filledVault();
    const real = join(await temporaryDirectory(), "elsewhere.key");
    await writeFile(real, await readFile(keyFile(at)), { mode: 0o400 });
    const link = `${keyFile(at)}.link`;
    await symlink(real, link);
    const vault = await openVault({ directory: join(at.state, "vault"), keys: { file: link }, clock: at.clock });
    afterTest(() => vault.close());
    await vault.rekey();
    expect((await stat(real)).mode & 0o777).toBe(0o400);
    expect(await readFile(real, "utf8")).not.toBe(await readFile(keyFile(at), "utf8"));
    expect(await openedBy(at, await readFile(link, "utf8"))).toEqual(await openedBy(at, await readFile(real, "utf8")));
  });

  it("changes nothing when the key file cannot be replaced", async () => {
    const at = await filledVault();
    const before = await readFile(keyFile(at), "utf8");
    // What a draft would be named: root may write anywhere, but not into a directory.
    const { mkdir } = await import("node:fs/promises");
    await mkdir(`${keyFile(at)}.next`);
    const error = await failureOf(() => at.vault.rekey());
    expect(error.code).toBe("VAULT_KEY_UNWRITABLE");
    expect(error.message).toContain("EISDIR");
    expect(await readFile(keyFile(at), "utf8")).toBe(before);
    expect(await textOf(await openTestVault(at), "a/3")).toBe("value 3");
    expect((await openedBy(at, before))[0]).toBe((await openedBy(at, before))[1]);
  });

  it("stops at a key file that others may read meanwhile", async () => {
    const at = await filledVault();
    await chmod(keyFile(at), 0o644);
    expect(await codeOf(() => at.vault.rekey())).toBe("VAULT_KEY_UNREADABLE");
  });

  it("refuses a store whose rows were changed, before it accounts for them anew", async () => {
    const at = await filledVault();
    await at.vault.close();
    const again = await openTestVault(at);
    const generation = again.vault.generation();
    await withRows(at, (storage) => storage.write((tx) => tx.remove("value:a/3@1")));
    expect(again.vault.generation()).toBe(generation + 1);
    expect(await codeOf(() => again.vault.rekey())).toBe("VAULT_STORE_DAMAGED");
    expect(await keysIn(at)).toHaveLength(1);
  });
});

describe("rekey with keys of a variable", () => {
  const openWith = async (text: string, state: string, at: TestVault) => {
    const keys = { text, where: "variable FERNET_SECRET_KEY" };
    const vault = await openVault({ directory: join(state, "vault"), keys, clock: at.clock });
    afterTest(() => vault.close());
    return { ...at, vault };
  };

  it("says what to do when there is one, and seals with the first when there are two", async () => {
    const at = await filledVault();
    await at.vault.close();
    const [old = ""] = await keysIn(at);
    const error = await failureOf(async () => (await openWith(old, at.state, at)).vault.rekey());
    expect(error.code).toBe("CONFIG_USAGE");
    expect(error.hint).toContain("Set FERNET_SECRET_KEY to the new key, a comma, and the old key");
    expect(JSON.stringify(error) + error.stack).not.toContain(old);
    expect((await openedBy(at, old))[0]).toBe((await openedBy(at, old))[1]);

    const fresh = generateFernetKey();
    const both = await openWith(`${fresh},${old}`, at.state, at);
    expect(await both.vault.rekey()).toMatchObject({ resumed: true, file: undefined });
    const [opened, all] = await openedBy(at, fresh);
    expect(opened).toBe(all);
    expect(await textOf(await openWith(fresh, at.state, at), "a/3")).toBe("value 3");
    expect(await codeOf(() => openWith(old, at.state, at))).toBe("VAULT_KEY_WRONG");
  });
});
