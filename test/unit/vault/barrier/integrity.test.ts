import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { createIntegrity } from "../../../../src/vault/barrier/integrity.ts";
import type { Vault } from "../../../../src/vault/index.ts";
import type { Row, Tx } from "../../../../src/vault/storage/storage.ts";
import { codeOf, failureOf, openTestVault, type TestVault, withGuardedRows, withRows } from "../support.ts";

const secret = (text: string): SecretValue => SecretValue.fromText(text);

/** A closed vault with a secret in two versions, one in one, and a token; and its rows as of its first secret. */
const filledVault = async (): Promise<TestVault & { readonly early: readonly Row[] }> => {
  const at = await openTestVault();
  await at.vault.secrets.set("a/one", secret("one"));
  await at.vault.close();
  const early = await withRows(at, (storage) => storage.read((tx) => tx.range("")));
  const { vault } = await openTestVault(at);
  await vault.secrets.set("a/one", secret("two"));
  await vault.secrets.set("a/other", secret("other"), { hosts: ["x.test"] });
  await vault.tokens.issue({ agent: "default", scopes: parseScopes("secrets:use:a/*") });
  await vault.close();
  return { ...at, early };
};

const reopened = (at: TestVault): Promise<string> => codeOf(() => openTestVault(at));

/** As somebody would who can write the files and knows how they are made: the counter is left alone. */
const tamper = (at: TestVault, change: (tx: Tx) => void): Promise<void> =>
  withRows(at, async (storage) => {
    const before = storage.generation();
    await storage.write(change);
    await withCounter(at, before);
    expect(storage.generation()).toBe(before);
  });

/** Puts the counter back with LMDB itself, past our own storage, which counts up. */
const withCounter = async ({ state }: TestVault, value: number): Promise<void> => {
  const { open } = await import("lmdb");
  const db = open<Buffer, Buffer>({
    path: join(state, "vault"),
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    overlappingSync: false,
  });
  const bytes = Buffer.alloc(8);
  bytes.writeUIntBE(value, 2, 6);
  await db.put(Buffer.from("generation"), bytes);
  await db.close();
};

describe("a store whose rows were changed behind its back", () => {
  it("opens as long as nothing was", async () => {
    const at = await filledVault();
    await tamper(at, () => {});
    const { vault } = await openTestVault(at);
    expect((await vault.secrets.get("a/one")).value.lend(String)).toBe("two");
    await vault.secrets.remove("a/one");
    await vault.close();
    expect(await (await openTestVault(at)).vault.secrets.list()).toHaveLength(1);
  });

  const cases: readonly [string, (tx: Tx, early: readonly Row[]) => void][] = [
    ["a value", (tx) => tx.remove("value:a/one@2")],
    ["the value and the metadata of a secret", (tx) => void [tx.remove("value:a/other@1"), tx.remove("meta:a/other")]],
    ["a token", (tx) => tx.remove(tx.range("token:")[0]?.key ?? "")],
    ["the signing key", (tx) => tx.remove(tx.range("signer:")[0]?.key ?? "")],
    ["the sum", (tx) => tx.remove("integrity:sum")],
    ["the hash key", (tx) => tx.remove("integrity:key")],
    ["the sum and the hash key", (tx) => void [tx.remove("integrity:sum"), tx.remove("integrity:key")]],
    ["the check row", (tx) => tx.remove("check:key")],
  ];
  it.each(cases)("is refused when %s is gone", async (_what, change) => {
    const at = await filledVault();
    await tamper(at, (tx) => change(tx, at.early));
    expect(await reopened(at)).toBe("VAULT_STORE_DAMAGED");
  });

  const early = (rows: readonly Row[], name: string): Buffer => {
    const found = rows.find(({ key }) => key === name);
    if (found === undefined) throw new Error(`no row ${name}`);
    return found.value;
  };
  const replayed: readonly [string, (tx: Tx, rows: readonly Row[]) => void][] = [
    ["metadata: a version less", (tx, rows) => tx.put("meta:a/one", early(rows, "meta:a/one"))],
    ["the sum", (tx, rows) => tx.put("integrity:sum", early(rows, "integrity:sum"))],
    [
      "all rows but the counter",
      (tx, rows) => {
        for (const { key } of tx.range("")) tx.remove(key);
        for (const { key, value } of rows) tx.put(key, value);
      },
    ],
    ["a row that was removed", (tx, rows) => tx.put("value:a/gone@1", early(rows, "value:a/one@1"))],
    ["one row in another's place", (tx) => tx.put("value:a/other@1", tx.get("value:a/one@2") ?? Buffer.alloc(0))],
    [
      "two rows in each other's places",
      (tx) => {
        const [one, two] = [tx.get("value:a/one@1"), tx.get("value:a/one@2")];
        tx.put("value:a/one@1", two ?? Buffer.alloc(0));
        tx.put("value:a/one@2", one ?? Buffer.alloc(0));
      },
    ],
    ["garbage", (tx) => tx.put("value:a/other@1", Buffer.from("garbage"))],
    ["a changed byte in the check row", (tx) => tx.put("check:key", flipped(tx.get("check:key")))],
    ["a changed byte in the hash key", (tx) => tx.put("integrity:key", flipped(tx.get("integrity:key")))],
    ["a changed byte in the sum", (tx) => tx.put("integrity:sum", flipped(tx.get("integrity:sum")))],
  ];
  const flipped = (bytes: Buffer | undefined): Buffer => {
    const copy = Buffer.from(bytes ?? []);
    copy[40] = (copy[40] ?? 0) ^ 1;
    return copy;
  };
  it.each(replayed)("is refused when somebody put in %s", async (_what, change) => {
    const at = await filledVault();
    await tamper(at, (tx) => change(tx, at.early));
    const error = await failureOf(() => openTestVault(at));
    expect(error.code).toBe("VAULT_STORE_DAMAGED");
    expect(error.message).not.toMatch(/one-|two-|other-/);
  });

  it("gives its open users nothing more, and lets them write nothing, once the counter tells", async () => {
    const at = await filledVault();
    const { vault } = await openTestVault(at);
    await withRows(at, (storage) => storage.write((tx) => tx.remove("value:a/other@1")));
    expect(await codeOf(() => vault.secrets.get("a/one"))).toBe("VAULT_STORE_DAMAGED");
    expect(await codeOf(() => vault.secrets.list())).toBe("VAULT_STORE_DAMAGED");
    expect(await codeOf(() => vault.secrets.set("a/new", secret("x")))).toBe("VAULT_STORE_DAMAGED");
    expect(await codeOf(() => vault.tokens.state("x"))).toBe("VAULT_STORE_DAMAGED");
  });

  it("stays found after writes that came later", async () => {
    const at = await filledVault();
    await tamper(at, (tx) => tx.put("meta:a/one", early(at.early, "meta:a/one")));
    await withRows(at, (storage, { barrier }) =>
      storage.write((tx) =>
        createIntegrity(barrier, at.clock).tracked(tx, (counted) => {
          // What replaces the older row accounts for the row that should have been there, not for it.
          counted.put("meta:a/one", barrier.seal({ path: "meta:a/one", version: 0 }, Buffer.from("three")));
        }),
      ),
    );
    expect(await reopened(at)).toBe("VAULT_STORE_DAMAGED");
  });

  it.each([
    ["an older row", "meta:a/one", (vault: Vault) => vault.secrets.get("a/one")],
    ["a row that is gone", "meta:a/other", (vault: Vault) => vault.secrets.find("a/other")],
    ["a row that is gone, of several", "meta:a/other", (vault: Vault) => vault.secrets.resolveName("other", "a")],
    ["an older row, in a write", "meta:a/one", (vault: Vault) => vault.secrets.rotate("a/one", secret("three"))],
    ["a row of those that are listed", "meta:a/one", (vault: Vault) => vault.secrets.list()],
  ])("is noticed by whoever has it open, with the read: %s", async (_, name, use) => {
    const at = await filledVault();
    const { vault } = await openTestVault(at);
    const { vault: other } = await openTestVault(at);
    await other.secrets.set("a/later", secret("x"));
    await tamper(at, (tx) => {
      const row = at.early.find(({ key }) => key === name);
      if (row === undefined) tx.remove(name);
      else tx.put(name, row.value);
    });
    for (const one of [vault, other]) {
      expect(await codeOf(() => use(one))).toBe("VAULT_STORE_DAMAGED");
      expect(await codeOf(() => one.secrets.get("a/other"))).toBe("VAULT_STORE_DAMAGED");
      expect(await codeOf(() => one.tokens.state("x"))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("is noticed without waiting: a token that was revoked, and whose row was put back", async () => {
    const at = await openTestVault();
    const { claims } = await at.vault.tokens.issue({ agent: "default", scopes: parseScopes("secrets:use:a/*") });
    const { vault: other } = await openTestVault(at);
    const key = `token:${claims.id}`;
    const early = await withRows(at, (storage) => storage.read((tx) => tx.get(key)));
    await at.vault.tokens.revoke(claims.id);
    await tamper(at, (tx) => tx.put(key, early ?? Buffer.alloc(0)));
    for (const vault of [at.vault, other]) {
      expect(await codeOf(() => vault.tokens.state(claims.id))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("is served no more by who saw a newer one, when the whole of an older copy is put in its place", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set("a/one", secret("one"));
    const early = await withRows(at, (storage) => storage.read((tx) => tx.range("")));
    const generation = at.vault.generation();
    await at.vault.secrets.set("a/one", secret("two"));
    expect((await at.vault.secrets.get("a/one")).value.lend(String)).toBe("two");
    await withRows(at, async (storage) => {
      await storage.write((tx) => {
        for (const { key } of tx.range("")) tx.remove(key);
        for (const { key, value } of early) tx.put(key, value);
      });
      await withCounter(at, generation);
    });
    for (const use of [
      () => at.vault.secrets.get("a/one"),
      () => at.vault.secrets.set("a/new", secret("x")),
      () => at.vault.tokens.state("x"),
    ]) {
      expect(await codeOf(use)).toBe("VAULT_STORE_DAMAGED");
    }
    // A process that has not seen it takes it for what it is.
    const { vault } = await openTestVault(at);
    expect((await vault.secrets.get("a/one")).value.lend(String)).toBe("one");
  });

  it("opens as it was when the whole of an older copy is put back: nothing outside it tells", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set("a/one", secret("one"));
    await at.vault.close();
    const file = join(at.state, "vault", "data.mdb");
    await copyFile(file, `${file}.old`);
    const later = await openTestVault(at);
    await later.vault.secrets.set("a/one", secret("two"));
    await later.vault.close();
    await copyFile(`${file}.old`, file);
    const { vault } = await openTestVault(at);
    expect((await vault.secrets.get("a/one")).value.lend(String)).toBe("one");
    await vault.secrets.set("a/two", secret("two"));
    await vault.close();
    await openTestVault(at);
  });
});

describe("the sum", () => {
  const change = fc.record({
    name: fc.constantFrom("a", "b", "c:1", "c:2", "d"),
    value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
  });
  const transactions = fc.array(fc.record({ changes: fc.array(change, { maxLength: 6 }), isUndone: fc.boolean() }), {
    minLength: 1,
    maxLength: 8,
  });

  it("follows any changes, also of one row twice, and none of a transaction that was undone", async () => {
    const at = await openTestVault();
    await at.vault.close();
    await fc.assert(
      fc.asyncProperty(transactions, async (list) => {
        await withGuardedRows(at, async (storage) => {
          for (const { changes, isUndone } of list) {
            const done = storage.write((tx) => {
              for (const { name, value } of changes) {
                if (value === undefined) tx.remove(name);
                else tx.put(name, value);
              }
              if (isUndone) throw new TypeError("undone");
            });
            if (isUndone) await expect(done).rejects.toThrow("undone");
            else await done;
          }
        });
        // Opening goes through all rows.
        await withGuardedRows(at, async () => {});
      }),
      { numRuns: 25 },
    );
  });
});

describe("a store of 0.1.0, which has no sum", () => {
  const oldVault = async (): Promise<TestVault> => {
    const at = await filledVault();
    await withRows(at, (storage, { barrier }) =>
      storage.write((tx) => {
        tx.remove("integrity:sum");
        tx.remove("integrity:key");
        tx.put("check:key", barrier.seal({ path: "check:key", version: 0 }, Buffer.from("sidekey")));
      }),
    );
    return at;
  };

  it("gets one from the first that opens it, also when many do at once, and keeps its secrets", async () => {
    const at = await oldVault();
    const opened = await Promise.all(Array.from({ length: 4 }, () => openTestVault(at)));
    for (const { vault } of opened) {
      expect((await vault.secrets.get("a/one")).value.lend(String)).toBe("two");
      await vault.secrets.set("a/new", secret("x"));
    }
    for (const { vault } of opened) await vault.close();
    await tamper(at, (tx) => tx.remove("value:a/one@1"));
    expect(await reopened(at)).toBe("VAULT_STORE_DAMAGED");
  });

  it("is not made of a newer one by its check row alone", async () => {
    const at = await oldVault();
    const old = await withRows(at, (storage) => storage.read((tx) => tx.get("check:key")));
    await (await openTestVault(at)).vault.close();
    await tamper(at, (tx) => tx.put("check:key", old ?? Buffer.alloc(0)));
    expect(await reopened(at)).toBe("VAULT_STORE_DAMAGED");
  });

  it("is left alone by a wrong key", async () => {
    const at = await oldVault();
    const before = await withRows(at, (storage) => storage.read((tx) => tx.range("")));
    const other = await openTestVault();
    await other.vault.close();
    const keys = await readFile(join(at.state, "vault.key"), "utf8");
    await copyFile(join(other.state, "vault.key"), join(at.state, "vault.key"));
    expect(await reopened(at)).toBe("VAULT_KEY_WRONG");
    expect(keys).not.toBe(await readFile(join(at.state, "vault.key"), "utf8"));
    expect(await withRows(at, (storage) => storage.read((tx) => tx.range("")))).toEqual(before);
  });
});

describe("a store of a later version", () => {
  it("is refused with the advice to use that version", async () => {
    const at = await filledVault();
    await withRows(at, (storage, { barrier }) =>
      storage.write((tx) =>
        tx.put("check:key", barrier.seal({ path: "check:key", version: 0 }, Buffer.from("sidekey/3"))),
      ),
    );
    const error = await failureOf(() => openTestVault(at));
    expect(error.code).toBe("VAULT_STORE_DAMAGED");
    expect(error.hint).toContain("newer");
  });
});
