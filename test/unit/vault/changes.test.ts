import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../src/core/secret-value.ts";
import { createVaultChanges, REMEMBERED_CHANGES, recordChanges, type VaultChange } from "../../../src/vault/changes.ts";
import { openTestVault, withGuardedRows } from "./support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);
/** Side by side, so that many go to the disk at once. */
const many = (count: number, write: (n: number) => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, (_, n) => write(n)));
const updated = (path: string, version: number): VaultChange => ({ type: "secret.updated", path, version });

describe("vault.changes", () => {
  it("tells of every kind of change to secrets, with the generation that it came with", async () => {
    const { vault } = await openTestVault();
    const before = await vault.changes.current();
    await vault.secrets.set("a/b", secret("one"));
    await vault.secrets.rotate("a/b", secret("two"), { graceMs: 1000 });
    await vault.secrets.rollback("a/b", 1);
    await vault.secrets.describe("a/b", { tier: "critical" });
    await vault.secrets.importAll([
      { path: "a/b", value: secret("one") },
      { path: "a/c", value: secret("c") },
      { path: "a/d", value: secret("d") },
    ]);
    await vault.secrets.remove("a/b");
    const told = (await vault.changes.since(before)) ?? [];
    expect(told.map(({ changes }) => changes)).toEqual([
      [updated("a/b", 1)],
      [updated("a/b", 2)],
      [updated("a/b", 3)],
      [updated("a/b", 3)],
      [updated("a/c", 1), updated("a/d", 1)],
      [{ type: "secret.deleted", path: "a/b", version: 3 }],
    ]);
    expect(told.map(({ generation }) => generation - before)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await vault.changes.since(before + 5)).toEqual(told.slice(5));
    expect(await vault.changes.since(before + 6)).toEqual([]);
  });

  it("tells nothing of what did not happen: a dry run, a refusal, the same value once more", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    const before = await vault.changes.current();
    await vault.secrets.importAll([{ path: "a/c", value: secret("c") }], { dryRun: true });
    await vault.secrets.importAll([{ path: "a/b", value: secret("one") }]);
    await expect(vault.secrets.set("a/b", secret("a\nb"))).rejects.toThrow("VAULT_BAD_VALUE");
    await expect(vault.secrets.remove("a/x")).rejects.toThrow("VAULT_SECRET_MISSING");
    expect(await vault.changes.since(before)).toEqual([]);
  });

  it("loses none to writes that change no secret, however many", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set("a/b", secret("one"));
    const before = await at.vault.changes.current();
    await at.vault.secrets.set("a/c", secret("one"));
    await at.vault.close();
    await withGuardedRows(at, async (storage, { barrier }) => {
      for (let n = 0; n < REMEMBERED_CHANGES + 10; n += 1)
        await storage.write((tx) => tx.put("x:row", Buffer.from("1")));
      const changes = createVaultChanges(storage, barrier);
      expect((await changes.since(before))?.map((one) => one.changes)).toEqual([[updated("a/c", 1)]]);
    });
  });

  it("says so when it does not remember, and knows no future", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set("a/b", secret("one"));
    await at.vault.close();
    await withGuardedRows(at, async (storage, { barrier }) => {
      const changes = createVaultChanges(storage, barrier);
      const before = await changes.current();
      await many(REMEMBERED_CHANGES, (n) =>
        storage.write((tx) => recordChanges(tx, barrier, [{ type: "token.revoked", id: `t${n}` }])),
      );
      expect(await changes.since(before)).toHaveLength(REMEMBERED_CHANGES);
      expect(await changes.since((await changes.current()) + 1)).toBeUndefined();
      await storage.write((tx) => recordChanges(tx, barrier, [{ type: "sidecar.revoked", jkt: "j" }]));
      expect(await changes.since(before)).toBeUndefined();
      expect(await changes.since(before + 1)).toHaveLength(REMEMBERED_CHANGES);
    });
  });

  it("gathers what one transaction tells of in several steps", async () => {
    const at = await openTestVault();
    await at.vault.close();
    await withGuardedRows(at, async (storage, { barrier }) => {
      const changes = createVaultChanges(storage, barrier);
      const before = await changes.current();
      await storage.write((tx) => {
        recordChanges(tx, barrier, [{ type: "token.revoked", id: "t" }]);
        recordChanges(tx, barrier, []);
        recordChanges(tx, barrier, [{ type: "sidecar.revoked", jkt: "j" }]);
      });
      expect(await changes.since(before)).toEqual([
        {
          generation: before + 1,
          changes: [
            { type: "token.revoked", id: "t" },
            { type: "sidecar.revoked", jkt: "j" },
          ],
        },
      ]);
    });
  });

  it("wakes whoever watches, also for a change of another opening of the store, until it is told to stop", async () => {
    const { vault, clock, state } = await openTestVault();
    const other = await openTestVault({ state, clock });
    const seen: number[] = [];
    const stop = await vault.changes.watch((generation) => seen.push(generation));
    await other.vault.secrets.set("a/b", secret("one"));
    const generation = await vault.changes.current();
    await expect.poll(() => seen.at(-1)).toBe(generation);
    await stop();
    await other.vault.secrets.set("a/b", secret("two"));
    await expect.poll(() => vault.changes.current()).toBe(generation + 1);
    expect(seen.at(-1)).toBe(generation);
  });
});
