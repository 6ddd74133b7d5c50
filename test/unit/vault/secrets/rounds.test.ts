import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createBarrier } from "../../../../src/vault/barrier/barrier.ts";
import { generateFernetKey, parseFernetKey } from "../../../../src/vault/barrier/fernet.ts";
import { createVaultSecrets } from "../../../../src/vault/secrets/secrets.ts";
import { createFarStorage } from "../far-storage.ts";
import { createTestClock } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);

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
