import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createBarrier } from "../../../../src/vault/barrier/barrier.ts";
import { generateFernetKey, parseFernetKey } from "../../../../src/vault/barrier/fernet.ts";
import { createVaultSecrets } from "../../../../src/vault/secrets/secrets.ts";
import { createKnown, createLayer, inKeyOrder, run, type Wanted } from "../../../../src/vault/storage/restart.ts";
import type { Tx, VaultStorage } from "../../../../src/vault/storage/storage.ts";
import { createTestClock } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);

/** A store at the other end of a wire, in memory: counts how often rows had to be fetched. */
const createFarStorage = () => {
  const rows = new Map<string, Buffer>();
  let generation = 0;
  let rounds = 0;
  const fetched = ({ keys, ranges }: Wanted) => {
    rounds += 1;
    return {
      generation,
      rows: keys.flatMap((key) => {
        const value = rows.get(key);
        return value === undefined ? [] : [{ key, value }];
      }),
      ranges: ranges.map(({ prefix, limit }) =>
        inKeyOrder([...rows].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => ({ key, value }))).slice(
          0,
          limit,
        ),
      ),
    };
  };
  const go = <T>(use: (tx: Tx) => T, keys: readonly string[] = []) => {
    const known = createKnown(generation);
    let wanted: Wanted = { keys, ranges: [] };
    for (;;) {
      if (wanted.keys.length + wanted.ranges.length > 0) known.add(wanted, fetched(wanted));
      const layer = createLayer();
      const ran = run(known, layer, use);
      if (ran.kind === "threw") throw ran.error;
      if (ran.kind === "done") return { value: ran.value, layer };
      wanted = ran.wanted;
    }
  };
  const storage: VaultStorage = {
    read: async (use, options) => go(use, options?.expect).value,
    write: async (use, options) => {
      const { value, layer } = go(use, options?.expect);
      for (const [key, row] of layer.changes) row === null ? rows.delete(key) : rows.set(key, row);
      generation += 1;
      return value;
    },
    close: async () => {},
  };
  return {
    storage,
    async roundsOf(use: () => Promise<unknown>): Promise<number> {
      rounds = 0;
      await use();
      return rounds;
    },
  };
};

describe("secrets in a store at the other end of a wire", () => {
  it("take few rounds for each operation, however many secrets and versions there are", async () => {
    const clock = createTestClock();
    const key = parseFernetKey(generateFernetKey());
    const { storage, roundsOf } = createFarStorage();
    const secrets = createVaultSecrets(storage, createBarrier({ keys: key === undefined ? [] : [key] }, clock), clock);
    const many = Array.from({ length: 300 }, (_, n) => ({ path: `org/team/x/s${n}`, value: secret(`v${n}`) }));
    const other = many.map(({ path }) => ({ path, value: secret("other") }));
    expect(await roundsOf(() => secrets.importAll(many))).toBeLessThanOrEqual(3);
    expect(await roundsOf(() => secrets.importAll(other))).toBeLessThanOrEqual(3);
    expect(await roundsOf(() => secrets.importAll(other))).toBeLessThanOrEqual(3);
    const path = "org/team/x/y/z/key";
    expect(await roundsOf(() => secrets.set(path, secret("v")))).toBeLessThanOrEqual(3);
    for (let n = 0; n < 30; n += 1) {
      clock.advance(1000);
      expect(await roundsOf(() => secrets.rotate(path, secret(`v${n}`), { graceMs: 5000 }))).toBeLessThanOrEqual(3);
    }
    expect(await roundsOf(() => secrets.get(path))).toBeLessThanOrEqual(2);
    // What it was the last time is asked for along with what tells.
    expect(await roundsOf(() => secrets.get(path))).toBe(1);
    expect(await roundsOf(() => secrets.get(path, 30))).toBe(1);
    expect(await roundsOf(() => secrets.rollback(path, 30))).toBeLessThanOrEqual(4);
    expect(await roundsOf(() => secrets.describe(path, { tier: "critical" }))).toBeLessThanOrEqual(3);
    expect(await roundsOf(() => secrets.resolveName("key", "org/team/x"))).toBe(1);
    expect(await roundsOf(() => secrets.list())).toBeLessThanOrEqual(3);
    expect(await roundsOf(() => secrets.list())).toBeLessThanOrEqual(1);
    clock.advance(10_000);
    expect(await roundsOf(() => secrets.set(path, secret("last")))).toBeLessThanOrEqual(3);
    expect(await roundsOf(() => secrets.remove(path))).toBeLessThanOrEqual(4);
    await expect(secrets.get(path)).rejects.toThrow("VAULT_SECRET_MISSING");
    expect(await secrets.list()).toHaveLength(300);
  });
});
