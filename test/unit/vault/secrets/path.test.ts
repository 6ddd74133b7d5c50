import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { parseScopes, type Scope, scopesCover } from "../../../../src/identity/scope.ts";
import { openBackup, SECRET_TIERS, type SecretTier, type Vault } from "../../../../src/vault/index.ts";
import { pathsAbove } from "../../../../src/vault/secrets/path.ts";
import { candidatePaths } from "../../../../src/vault/secrets/resolution.ts";
import { codeOf, openTestVault, START, withRows } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);

const path = fc
  .array(fc.constantFrom("a", "b", "a-", "a.b", "a0"), { minLength: 2, maxLength: 4 })
  .map((segments) => segments.join("/"));

describe("paths and namespaces", () => {
  it("names what is above a path", () => {
    expect(pathsAbove("a/b")).toEqual([]);
    expect(pathsAbove("a/b/c")).toEqual(["a/b"]);
    expect(pathsAbove("a/b/c/d")).toEqual(["a/b", "a/b/c"]);
  });

  it("lets no path be both, however it is written, and says what is in the way", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b/c", secret("v"));
    const error = vault.secrets.set("a/b", secret("v"));
    await expect(error).rejects.toThrow("VAULT_PATH_TAKEN: This path is in use. a/b is a namespace: a/b/c is in it.");
    expect(await codeOf(() => vault.secrets.set("a/b/c/d/e", secret("v")))).toBe("VAULT_PATH_TAKEN");
    const both = [
      { path: "x/y", value: secret("v") },
      { path: "x/y/z", value: secret("v") },
    ];
    expect(await codeOf(() => vault.secrets.importAll(both))).toBe("VAULT_PATH_TAKEN");
    expect(await codeOf(() => vault.secrets.importAll(both, { dryRun: true }))).toBe("VAULT_PATH_TAKEN");
    expect((await vault.secrets.list()).map((one) => one.path)).toEqual(["a/b/c"]);
    // Beside it, and after it is gone, is well.
    await vault.secrets.set("a/b.c", secret("v"));
    await vault.secrets.set("a/b/c-d", secret("v"));
    await vault.secrets.remove("a/b/c");
    await vault.secrets.set("a/b/c/d", secret("v"));
  });

  it("refuses to create what is there", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("v"), { create: true });
    expect(await codeOf(() => vault.secrets.set("a/b", secret("w"), { create: true }))).toBe("VAULT_PATH_TAKEN");
    expect(await vault.secrets.find("a/b")).toMatchObject({ version: 1 });
  });

  it("holds for any order of writes and removals", { timeout: 60_000 }, async () => {
    const { vault } = await openTestVault();
    const step = fc.record({ path, remove: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const there = new Set((await vault.secrets.list()).map((one) => one.path));
        for (const one of steps) {
          const inTheWay = [...there].some(
            (other) => other.startsWith(`${one.path}/`) || one.path.startsWith(`${other}/`),
          );
          const done = await (one.remove
            ? vault.secrets.remove(one.path)
            : vault.secrets.set(one.path, secret("v"))
          ).then(
            () => "done",
            (error: unknown) => (isSidekeyError(error) ? error.code : String(error)),
          );
          if (one.remove) expect(done).toBe(there.delete(one.path) ? "done" : "VAULT_SECRET_MISSING");
          else if (inTheWay) expect(done).toBe("VAULT_PATH_TAKEN");
          else {
            expect(done).toBe("done");
            there.add(one.path);
          }
        }
        expect((await vault.secrets.list()).map((found) => found.path)).toEqual([...there].sort());
      }),
      { numRuns: 15 },
    );
  });
});

describe("names by place", () => {
  it("asks the narrowest place first", () => {
    expect(candidatePaths("key", "org/team/ws")).toEqual(["org/team/ws/key", "org/team/key", "org/key"]);
    expect(candidatePaths("key", "org")).toEqual(["org/key"]);
  });

  it.each([
    ["key", ""],
    ["key", "a/b/c/d"],
    ["key", "a//b"],
    ["key", "../b"],
    ["", "org"],
    ["a/b", "org"],
    ["..", "org"],
    ["k:y", "org"],
  ])("refuses name %j in place %j", async (name, place) => {
    const { vault } = await openTestVault();
    expect(await codeOf(() => vault.secrets.resolveName(name, place))).toBe("VAULT_BAD_PATH");
  });

  it("takes the narrowest that is there, for any set of them, and nothing of another team", async () => {
    const { vault } = await openTestVault();
    const places = ["org", "org/team", "org/team/ws", "org/other", "org/team/ws2", "other"];
    await fc.assert(
      fc.asyncProperty(fc.subarray(places), async (having) => {
        for (const one of await vault.secrets.list()) await vault.secrets.remove(one.path);
        await vault.secrets.importAll(having.map((place) => ({ path: `${place}/key`, value: secret(place) })));
        const narrowest = ["org/team/ws", "org/team", "org"].find((place) => having.includes(place));
        const found = await vault.secrets.resolveName("key", "org/team/ws");
        expect(found).toBe(narrowest === undefined ? undefined : `${narrowest}/key`);
      }),
      { numRuns: 20 },
    );
  });

  it("never takes a wider one because the narrower is expired, kept elsewhere, closed or damaged", async () => {
    const at = await openTestVault();
    const { vault, clock } = at;
    const names = ["expired", "elsewhere", "damaged", "row"];
    await vault.secrets.importAll(names.map((name) => ({ path: `org/${name}`, value: secret("wide") })));
    await vault.secrets.set("org/team/expired", secret("narrow"), { expiresAt: START + 1 });
    await vault.secrets.set("org/team/elsewhere", { backend: "vault", ref: "x" });
    await vault.secrets.set("org/team/damaged", secret("narrow"));
    await vault.secrets.set("org/team/row", secret("narrow"));
    clock.advance(1);
    const resolved = await Promise.all(names.map((name) => vault.secrets.resolveName(name, "org/team/ws")));
    expect(resolved).toEqual(names.map((name) => `org/team/${name}`));
    expect(await codeOf(() => vault.secrets.get("org/team/expired"))).toBe("VAULT_SECRET_EXPIRED");
    expect(await codeOf(() => vault.secrets.get("org/team/elsewhere"))).toBe("VAULT_BACKEND_UNAVAILABLE");
    // Behind the back of the one who has it open.
    await withRows(at, (storage) =>
      storage.write((tx) => {
        tx.put("meta:org/team/row", Buffer.from("no row"));
        tx.remove("value:org/team/damaged@1");
      }),
    );
    for (const name of ["damaged", "row"]) {
      const read = async (): Promise<unknown> => {
        const found = await vault.secrets.resolveName(name, "org/team/ws");
        return found === undefined ? undefined : vault.secrets.get(found);
      };
      await expect(read()).rejects.toThrow("VAULT_");
    }
  });
});

describe("the tier of scopes", () => {
  const expected = async (vault: Vault, scopes: readonly Scope[]): Promise<SecretTier> => {
    const actions = ["read", "write", "delete", "use"] as const;
    const covered = (await vault.secrets.list()).filter((one) =>
      actions.some((action) => scopesCover(scopes, action, one.path)),
    );
    return SECRET_TIERS[Math.max(0, ...covered.map(({ tier }) => SECRET_TIERS.indexOf(tier)))] ?? "standard";
  };

  it("is the highest of what they cover, whatever for, and standard for nothing", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/standard", secret("v"));
    await vault.secrets.set("a/sensitive", secret("v"), { tier: "sensitive" });
    await vault.secrets.set("b/critical", secret("v"), { tier: "critical" });
    const tierOf = (scopes: string) => vault.secrets.tierOf(parseScopes(scopes));
    expect(await tierOf("secrets:read:a/standard")).toBe("standard");
    expect(await tierOf("secrets:use:a/*")).toBe("sensitive");
    expect(await tierOf("secrets:*:*")).toBe("critical");
    expect(await tierOf("secrets:use:*")).toBe("critical");
    expect(await tierOf("secrets:delete:b/*")).toBe("critical");
    expect(await tierOf("secrets:read:a/standard secrets:write:b/critical")).toBe("critical");
    expect(await tierOf("secrets:read:none/*")).toBe("standard");
    await vault.secrets.describe("b/critical", { tier: "standard" });
    expect(await tierOf("secrets:*:*")).toBe("sensitive");
    await vault.secrets.remove("a/sensitive");
    expect(await tierOf("secrets:*:*")).toBe("standard");
  });

  it("is never of a time before, also after changes by others and a new key", {
    timeout: 120_000,
  }, async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const vaults = [one.vault, other.vault];
    const scope = fc.constantFrom("secrets:*:*", "secrets:use:a/*", "secrets:read:a/b*", "secrets:write:b/a");
    const step = fc.record({
      at: fc.nat(1),
      path: fc.constantFrom("a/b", "a/c", "b/a", "b/c"),
      tier: fc.constantFrom(...SECRET_TIERS),
      act: fc.constantFrom("set", "set", "remove", "describe", "token", "rekey"),
      scope,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15 }), async (steps) => {
        for (const { at, path: where, tier, act, scope: text } of steps) {
          const vault = vaults[at] ?? one.vault;
          const quietly = (done: Promise<unknown>): Promise<unknown> =>
            done.catch((error: unknown) => expect(isSidekeyError(error)).toBe(true));
          if (act === "set") await vault.secrets.set(where, secret("v"), { tier });
          else if (act === "remove") await quietly(vault.secrets.remove(where));
          else if (act === "describe") await quietly(vault.secrets.describe(where, { tier }));
          else if (act === "rekey") await vault.rekey();
          else await vault.tokens.issue({ agent: "a", scopes: parseScopes("secrets:use:a/*") });
          const fresh = await openTestVault(one);
          const scopes = parseScopes(text);
          const wanted = await expected(fresh.vault, scopes);
          const list = await fresh.vault.secrets.list();
          await fresh.vault.close();
          for (const any of vaults) {
            expect(await any.secrets.tierOf(scopes)).toBe(wanted);
            expect(await any.secrets.list()).toEqual(list);
          }
        }
      }),
      { numRuns: 8 },
    );
  });

  it("is that of the backup after a restore, for everybody", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const all = parseScopes("secrets:*:*");
    await one.vault.secrets.set("a/b", secret("v"), { tier: "sensitive" });
    const text = await one.vault.backup();
    await one.vault.secrets.set("a/b", secret("v"), { tier: "critical" });
    const generation = await one.vault.changes.current();
    expect(await other.vault.secrets.tierOf(all)).toBe("critical");
    const keys = { file: join(one.state, "vault.key") };
    await one.vault.restore(await openBackup(text, { keys, clock: one.clock }));
    for (const { vault } of [one, other]) expect(await vault.secrets.tierOf(all)).toBe("sensitive");
    // More than a ring can tell has changed.
    expect(await other.vault.changes.since(generation)).toBeUndefined();
  });
});
