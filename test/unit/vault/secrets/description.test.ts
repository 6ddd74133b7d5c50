import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { sealJson } from "../../../../src/vault/barrier/barrier.ts";
import { SECRET_CATEGORIES, SECRET_TIERS, SECRET_TYPES, type SetOptions } from "../../../../src/vault/index.ts";
import { parseMeta } from "../../../../src/vault/secrets/metadata.ts";
import { codeOf, openTestVault, START, withGuardedRows } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);

const nested = (depth: number): Record<string, unknown> => (depth === 0 ? {} : { in: nested(depth - 1) });

describe("what is said about a secret", () => {
  it("keeps every tier, type and category, and what was not said again", async () => {
    const { vault } = await openTestVault();
    for (const tier of SECRET_TIERS) expect((await vault.secrets.set("a/t", secret("v"), { tier })).tier).toBe(tier);
    for (const type of SECRET_TYPES) expect((await vault.secrets.set("a/t", secret("v"), { type })).type).toBe(type);
    for (const category of SECRET_CATEGORIES) {
      expect((await vault.secrets.set("a/t", secret("v"), { category })).category).toBe(category);
    }
    const metadata = { owner: "ann", tags: ["x", { deep: null }], n: 1.5, __proto__x: true };
    await vault.secrets.set("a/t", secret("w"), { metadata });
    expect(await vault.secrets.rotate("a/t", secret("x"))).toMatchObject({
      tier: "critical",
      type: "custom",
      category: "agent",
      metadata,
    });
    expect((await vault.secrets.set("a/new", secret("v"))).tier).toBe("standard");
  });

  it("changes without a new version", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("v"), { hosts: ["x.test"], metadata: { a: 1 } });
    clock.advance(1000);
    const info = await vault.secrets.describe("a/b", { tier: "sensitive", metadata: { b: 2 }, by: "ann" });
    expect(info).toMatchObject({ version: 1, tier: "sensitive", metadata: { b: 2 }, hosts: ["x.test"] });
    expect(await vault.secrets.find("a/b")).toEqual(info);
    expect(await vault.secrets.history("a/b")).toEqual([{ version: 1, createdAt: START }]);
    expect(await codeOf(() => vault.secrets.describe("a/none", { tier: "sensitive" }))).toBe("VAULT_SECRET_MISSING");
    expect(await vault.secrets.find("a/none")).toBeUndefined();
  });

  it("is the same secret through its versions, and another after its removal", async () => {
    const { vault, clock } = await openTestVault();
    const { id } = await vault.secrets.set("a/b", secret("v"));
    clock.advance(1);
    expect((await vault.secrets.rotate("a/b", secret("w"))).id).toBe(id);
    await vault.secrets.remove("a/b");
    expect((await vault.secrets.set("a/b", secret("v"))).id).not.toBe(id);
    expect((await vault.secrets.set("a/c", secret("v"))).id).not.toBe(id);
  });

  const bad: readonly (readonly [string, unknown])[] = [
    ["metadata of over 8 KiB", { metadata: { x: "y".repeat(8 * 1024) } }],
    ["metadata that go too deep", { metadata: nested(9) }],
    ["metadata that are a list", { metadata: [] }],
    ["metadata that are null", { metadata: null }],
    ["metadata with a date", { metadata: { at: new Date(0) } }],
    ["metadata with a function", { metadata: { toJSON: () => ({}) } }],
    ["metadata with NaN", { metadata: { n: Number.NaN } }],
    ["metadata with undefined", { metadata: { n: undefined } }],
    ["another category", { category: "other" }],
    ["an end in the past", { expiresAt: START - 1 }],
    ["an end now", { expiresAt: START }],
    ["an end that is no time", { expiresAt: Number.NaN }],
    ["a tier of two words", { tier: "very high" }],
  ];
  it.each(bad)("refuses %s, everywhere, and stores nothing", async (_, options) => {
    const { vault } = await openTestVault();
    const said = options as SetOptions;
    expect(await codeOf(() => vault.secrets.set("a/b", secret("v"), said))).toBe("VAULT_BAD_METADATA");
    await vault.secrets.set("a/b", secret("v"));
    const generation = vault.generation();
    expect(await codeOf(() => vault.secrets.describe("a/b", said))).toBe("VAULT_BAD_METADATA");
    expect(await codeOf(() => vault.secrets.rotate("a/b", secret("w"), said))).toBe("VAULT_BAD_METADATA");
    expect(vault.generation()).toBe(generation);
  });

  it("takes metadata as deep and as large as they may be, and a key like __proto__ for a key", async () => {
    const { vault } = await openTestVault();
    const metadata = JSON.parse('{"__proto__": {"polluted": 1}}');
    await vault.secrets.set("a/b", secret("v"), { metadata });
    const found = await vault.secrets.find("a/b");
    expect(JSON.stringify(found?.metadata)).toBe('{"__proto__":{"polluted":1}}');
    expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
    await vault.secrets.set("a/b", secret("v"), { metadata: nested(7) });
    await vault.secrets.set("a/b", secret("v"), { metadata: { x: "y".repeat(8 * 1024 - 8) } });
  });

  it("lets nobody change afterwards what was checked", async () => {
    const { vault } = await openTestVault();
    const inner: Record<string, unknown> = { a: 1 };
    await vault.secrets.set("a/b", secret("v"), { metadata: { inner } });
    inner["a"] = 2;
    expect((await vault.secrets.find("a/b"))?.metadata).toEqual({ inner: { a: 1 } });
  });
});

describe("rows of Sidekey 0.1", () => {
  const row = {
    versions: [
      { version: 1, createdAt: START - 5, by: "ann" },
      { version: 2, createdAt: START - 1, readableUntil: START },
    ],
    type: "my-own-word",
    tier: "high",
    hosts: ["x.test"],
  };

  it("are read, listed and written on; another word than a tier's counts as sensitive", async () => {
    const at = await openTestVault();
    await at.vault.close();
    await withGuardedRows(at, (storage, { barrier }) =>
      storage.write((tx) => {
        tx.put("meta:a/old", sealJson(barrier, "meta:a/old", { ...row, versions: row.versions.slice(0, 1) }));
        tx.put("value:a/old@1", barrier.seal({ path: "a/old", version: 1 }, Buffer.from("value")));
      }),
    );
    const { vault } = await openTestVault(at);
    const found = await vault.secrets.get("a/old");
    expect(found.value.lend(String)).toBe("value");
    expect(found).toMatchObject({ type: "my-own-word", tier: "sensitive", metadata: {}, hosts: ["x.test"] });
    expect(await vault.secrets.list()).toHaveLength(1);
    expect(await vault.secrets.set("a/old", secret("w"), { tier: "standard" })).toMatchObject({
      version: 2,
      type: "my-own-word",
      tier: "standard",
    });
  });

  it("stay readable for it where nothing newer was said", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set("a/b", secret("v"), { type: "api_key", tier: "high", hosts: ["x.test"], by: "ann" });
    await at.vault.secrets.rotate("a/b", secret("w"), { graceMs: 5 });
    await at.vault.close();
    await withGuardedRows(at, async (storage, { barrier }) => {
      const sealed = await storage.read((tx) => tx.get("meta:a/b"));
      const meta = parseMeta(barrier, "a/b", sealed ?? Buffer.alloc(0));
      expect(Object.keys(meta).sort()).toEqual(["hosts", "tier", "type", "versions"]);
      expect(meta.versions.map((version) => Object.keys(version).sort())).toEqual([
        ["by", "createdAt", "readableUntil", "version"],
        ["createdAt", "version"],
      ]);
    });
  });
});
