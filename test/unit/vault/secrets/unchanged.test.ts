import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { openBackup } from "../../../../src/vault/index.ts";
import { openTestVault, START, withRows } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);
const MINUTES = 60_000;

describe("vault.secrets.isUnchanged", () => {
  it("is true of the newest version and of no other", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(true);
    await vault.secrets.set("a/b", secret("two"));
    for (const version of [0, 1, 3]) expect(await vault.secrets.isUnchanged("a/b", version)).toBe(false);
    expect(await vault.secrets.isUnchanged("a/b", 2)).toBe(true);
    expect(await vault.secrets.isUnchanged("a/none", 1)).toBe(false);
  });

  it("is false for a while after something was said about it: who has the version does not know that", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { hosts: ["x.test"] });
    await vault.secrets.describe("a/b", { hosts: ["y.test"] });
    clock.advance(10 * MINUTES - 1);
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(false);
    clock.advance(1);
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(true);
  });

  it("is false for a secret that was removed and made again, whose versions begin anew", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    await vault.secrets.remove("a/b");
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(false);
    clock.advance(60 * MINUTES);
    await vault.secrets.set("a/b", secret("another"));
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(false);
    clock.advance(10 * MINUTES);
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(true);
  });

  it("is false once it has expired, and of a reference", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    await vault.secrets.set("a/c", { backend: "vault", ref: "x" });
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(true);
    clock.advance(1000);
    expect(await vault.secrets.isUnchanged("a/b", 1)).toBe(false);
    expect(await vault.secrets.isUnchanged("a/c", 1)).toBe(false);
  });

  it("is false of everything for a while after a restore, which may bring back an earlier version's number", async () => {
    const { vault, clock, state } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    const backup = await openBackup(await vault.backup(), { keys: { file: join(state, "vault.key") }, clock });
    await vault.secrets.set("a/b", secret("two"));
    await vault.restore(backup);
    await vault.secrets.set("a/b", secret("other two"));
    expect(await vault.secrets.isUnchanged("a/b", 2)).toBe(false);
    clock.advance(10 * MINUTES);
    expect(await vault.secrets.isUnchanged("a/b", 2)).toBe(true);
  });

  it("remembers for a day what was removed, and no longer", async () => {
    const at = await openTestVault();
    const { vault, clock } = at;
    const paths = Array.from({ length: 30 }, (_, n) => `a/s${n}`);
    await vault.secrets.importAll([...paths, "b/c", "b/d"].map((path) => ({ path, value: secret("v") })));
    for (const path of paths) await vault.secrets.remove(path);
    clock.advance(24 * 60 * MINUTES);
    for (const path of ["b/c", "b/d"]) await vault.secrets.remove(path);
    await vault.close();
    const left = await withRows(at, (storage) => storage.read((tx) => tx.range("gone:").map(({ key }) => key)));
    expect(left).toEqual(["gone:b/c", "gone:b/d"]);
  });
});
