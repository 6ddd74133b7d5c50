/** What a vault does, whatever its rows lie in: secrets, tokens, proofs, backups and keys, for two processes at once. */
import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScopes } from "../../src/identity/scope.ts";
import { type AnyVault, type Backup, openBackup, type VaultKeySource } from "../../src/vault/index.ts";
import { createTestClock, type TestClock } from "../unit/vault/support.ts";

export interface VaultSubject {
  /** Opens the one vault of this subject once more, as another process would. Closed by the test's end. */
  open(): Promise<AnyVault>;
  readonly keys: VaultKeySource;
  readonly clock: TestClock;
}

const secret = (text: string): SecretValue => SecretValue.fromText(text);
const textOf = async (vault: AnyVault, path: string, version?: number): Promise<string> =>
  (await vault.secrets.get(path, version)).value.lend(String);

const codeOf = async (run: () => unknown): Promise<string> => {
  try {
    await run();
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
    throw error;
  }
  throw new Error("it did not fail");
};

const tokenRequest = { scopes: parseScopes("secrets:use:a/*"), agent: "research" };

/** `create` is called once for each test. */
export const describeVault = (kind: string, create: (clock: TestClock) => Promise<VaultSubject>): void => {
  const both = async () => {
    const subject = await create(createTestClock());
    return { ...subject, one: await subject.open(), other: await subject.open() };
  };

  describe(`vault over ${kind}`, { timeout: 60_000 }, () => {
    it("keeps secrets in versions that every process sees at once", async () => {
      const { one, other, clock } = await both();
      await one.secrets.set("a/key", secret("first"), { hosts: ["api.test"] });
      expect(await textOf(other, "a/key")).toBe("first");
      await other.secrets.rotate("a/key", secret("second"), { graceMs: 1000 });
      expect([await textOf(one, "a/key"), await textOf(one, "a/key", 1)]).toEqual(["second", "first"]);
      clock.advance(1000);
      expect(await codeOf(() => one.secrets.get("a/key", 1))).toBe("VAULT_SECRET_MISSING");
      expect((await one.secrets.history("a/key")).map(({ version }) => version)).toEqual([2, 1]);
      expect(await one.secrets.list()).toMatchObject([{ path: "a/key", version: 2, hosts: ["api.test"] }]);
      await one.secrets.remove("a/key");
      expect(await codeOf(() => other.secrets.get("a/key"))).toBe("VAULT_SECRET_MISSING");
      expect(await other.secrets.list()).toEqual([]);
    });

    it("imports all or nothing, and a dry run nothing", async () => {
      const { one, other } = await both();
      const entries = Array.from({ length: 300 }, (_, n) => ({ path: `a/s${n}`, value: secret(`v${n}`) }));
      const dry = await one.secrets.importAll(entries, { dryRun: true });
      expect(dry.map(({ change }) => change)).toEqual(entries.map(() => "new"));
      expect(await other.secrets.list()).toEqual([]);
      await one.secrets.importAll(entries);
      const again = await other.secrets.importAll([...entries.slice(0, 2), { path: "a/s2", value: secret("else") }]);
      expect(again).toEqual([
        { path: "a/s0", version: 1, change: "same" },
        { path: "a/s1", version: 1, change: "same" },
        { path: "a/s2", version: 2, change: "changed" },
      ]);
      expect(await one.secrets.list()).toHaveLength(300);
      const conflict = [...entries.slice(0, 3), { path: "a/new", value: secret("bad\nvalue") }];
      expect(await codeOf(() => one.secrets.importAll(conflict))).toBe("VAULT_BAD_VALUE");
      expect(await one.secrets.list()).toHaveLength(300);
    });

    it("gives every writer of one secret a version of its own", async () => {
      const { one, other } = await both();
      const infos = await Promise.all(
        Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : other).secrets.set("a/key", secret(`v${n}`))),
      );
      expect(infos.map(({ version }) => version).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 40 }, (_, n) => n + 1),
      );
      for (const [n, { version }] of infos.entries()) expect(await textOf(one, "a/key", version)).toBe(`v${n}`);
    });

    it("issues tokens that every process knows, and knows as revoked", async () => {
      const { one, other } = await both();
      const issued = await Promise.all([one, other].map((vault) => vault.tokens.issue(tokenRequest)));
      for (const { token, claims } of issued) {
        for (const vault of [one, other]) expect(await vault.tokens.verify(token)).toMatchObject(claims);
      }
      const [first] = issued;
      await other.tokens.revoke(first?.claims.id ?? "");
      expect(await codeOf(() => one.tokens.verify(first?.token ?? ""))).toBe("IDENTITY_TOKEN_REVOKED");
      expect(await one.tokens.list()).toHaveLength(2);
    });

    it("lets a token of three uses be spent three times, however many try at once", async () => {
      const { one, other } = await both();
      const { claims } = await one.tokens.issue({ ...tokenRequest, maxUses: 3 });
      const ends = await Promise.allSettled(
        Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : other).tokens.spend(claims.id)),
      );
      expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
      expect(await codeOf(() => one.tokens.spend(claims.id))).toBe("IDENTITY_TOKEN_SPENT");
    });

    it("brings back a backup in the place of what is there, in one step", async () => {
      const { one, other, keys, clock } = await both();
      await one.secrets.importAll([
        { path: "a/kept", value: secret("then") },
        { path: "a/removed", value: secret("there") },
      ]);
      const backup: Backup = await openBackup(await one.backup(), { keys, clock });
      expect(backup.secrets).toBe(2);
      await one.secrets.set("a/kept", secret("now"));
      await one.secrets.remove("a/removed");
      await one.secrets.set("a/later", secret("new"));
      await one.restore(backup);
      expect((await other.secrets.list()).map(({ path }) => path)).toEqual(["a/kept", "a/removed"]);
      expect([await textOf(other, "a/kept"), await textOf(one, "a/removed")]).toEqual(["then", "there"]);
    });

    it("takes a proof once, until it is over", async () => {
      const { one, clock } = await both();
      const until = clock.now() + 60_000;
      const answers = await Promise.all(["x", "y", "x"].map((id) => one.replays.firstUse(id, until)));
      expect(answers).toEqual([true, true, false]);
      expect(await one.replays.firstUse("y", until)).toBe(false);
      expect(await one.replays.firstUse("z".repeat(10_000), until)).toBe(true);
    });

    it("tells of each change", async () => {
      const { one, other } = await both();
      const heard: number[] = [];
      await one.watch((generation) => heard.push(generation));
      await other.secrets.set("a/key", secret("value"));
      await expect.poll(() => heard.length).toBeGreaterThan(0);
      const generation = heard.at(-1);
      await one.secrets.set("a/key", secret("value"));
      await expect.poll(() => heard.at(-1)).toBeGreaterThan(generation ?? 0);
    });
  });
};
