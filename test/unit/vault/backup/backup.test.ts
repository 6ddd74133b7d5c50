import { createHash } from "node:crypto";
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { openBackup, openVault, restoreVault, type Vault } from "../../../../src/vault/index.ts";
import {
  afterTest,
  codeOf,
  createTestClock,
  failureOf,
  openTestVault,
  START,
  temporaryDirectory,
  withGuardedRows,
} from "../support.ts";

const CANARY = "canary-3e7a51";

const fill = async (vault: Vault): Promise<void> => {
  await vault.secrets.set("a/one", SecretValue.fromText(`${CANARY}-1`), { hosts: ["x.test"] });
  await vault.secrets.set("a/one", SecretValue.fromText(`${CANARY}-2`), { by: "ann the operator" });
  await vault.secrets.set("b/two", SecretValue.fromText(`${CANARY}-3`));
};

const values = async (vault: Vault): Promise<Record<string, string>> => {
  const found: Record<string, string> = {};
  for (const { path } of await vault.secrets.list()) {
    for (const { version } of await vault.secrets.history(path)) {
      const { value } = await vault.secrets.get(path, version);
      found[`${path}@${version}`] = value.lend((bytes) => bytes.toString());
    }
  }
  return found;
};

const ALL = { "a/one@1": `${CANARY}-1`, "a/one@2": `${CANARY}-2`, "b/two@1": `${CANARY}-3` };

/** A filled vault, its backup, and a place for another vault with the same key. */
const setUp = async () => {
  const made = await openTestVault();
  await fill(made.vault);
  const text = await made.vault.backup();
  const clock = createTestClock();
  const keys = { file: join(made.state, "vault.key") };
  const place = async (): Promise<string> => join(await temporaryDirectory(), "vault");
  const read = (of: string) => openBackup(of, { keys, clock });
  const open = async (directory: string): Promise<Vault> => {
    const vault = await openVault({ directory, keys, clock });
    afterTest(async () => vault.close());
    return vault;
  };
  const restore = async (directory: string, replace = false, of = text) =>
    restoreVault({ directory, keys, clock }, { backup: await read(of), replace });
  return { ...made, text, keys, place, read, open, restore };
};

/** With a checksum that is right again: what somebody does who has no key. */
const resum = (lines: readonly string[]): string => {
  const sha256 = createHash("sha256").update(lines.join("\n")).digest("hex");
  return `${[...lines, JSON.stringify({ sha256 })].join("\n")}\n`;
};

describe("a backup", () => {
  it("holds sealed rows and nothing that can be read but paths", async () => {
    const { text } = await setUp();
    expect(text.split("\n")[0]).toBe('{"format":"sidekey-vault-backup","v":1}');
    for (const clear of [CANARY, "x.test", "ann the operator"]) expect(text).not.toContain(clear);
  });

  it("says of when and of how much it is", async () => {
    const { text, read, vault } = await setUp();
    const { createdAt, secrets, rows, generation } = await read(text);
    expect({ createdAt, secrets, rows: rows.length }).toEqual({ createdAt: START, secrets: 2, rows: 5 });
    expect(generation).toBe(vault.generation());
  });

  it("of an empty vault is one too", async () => {
    const { vault, state } = await openTestVault();
    const text = await vault.backup();
    const { secrets } = await openBackup(text, { keys: { file: join(state, "vault.key") }, clock: createTestClock() });
    expect(secrets).toBe(0);
  });

  it("is not written of a store whose rows do not all open", async () => {
    const { vault, state } = await setUp();
    await vault.close();
    const clock = createTestClock();
    await withGuardedRows({ state, clock }, (storage) =>
      storage.write((tx) => tx.put("value:a/one@2", tx.get("value:a/one@1") ?? Buffer.alloc(0))),
    );
    const again = await openTestVault({ state, clock });
    expect(await codeOf(() => again.vault.backup())).toBe("VAULT_STORE_DAMAGED");
  });

  it("is refused when it is cut anywhere", async () => {
    const { text, read } = await setUp();
    for (let length = 0; length < text.length; length += 13) {
      expect(await codeOf(() => read(text.slice(0, length)))).toBe("VAULT_BAD_BACKUP");
    }
    const lines = text.split("\n");
    for (let count = 0; count < lines.length - 1; count += 1) {
      expect(
        await codeOf(() =>
          read(
            lines
              .slice(0, count)
              .map((line) => `${line}\n`)
              .join(""),
          ),
        ),
      ).toBe("VAULT_BAD_BACKUP");
    }
  });

  it("is refused when any bit is another, as damage and not as a wrong key", async () => {
    const { text, read } = await setUp();
    for (let at = 0; at < text.length; at += 11) {
      const bytes = Buffer.from(text, "latin1");
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      expect(await codeOf(() => read(bytes.toString("latin1"))), `byte ${at}`).toBe("VAULT_BAD_BACKUP");
    }
  });

  it.each([
    ["dropped", (lines: string[]) => lines.toSpliced(2, 1)],
    ["repeated", (lines: string[]) => lines.toSpliced(2, 0, lines[2] ?? "")],
    ["exchanged", (lines: string[]) => [...lines.slice(0, 3), lines[4] ?? "", lines[3] ?? "", ...lines.slice(5)]],
    ["renamed", (lines: string[]) => lines.map((line) => line.replace("a/one@1", "a/one@7"))],
  ])("is refused when a row was %s by somebody without the key", async (_, change) => {
    const { text, read } = await setUp();
    const lines = text.trimEnd().split("\n").slice(0, -1);
    expect((await read(resum(lines))).secrets).toBe(2);
    expect(await codeOf(() => read(resum(change([...lines]))))).toBe("VAULT_BAD_BACKUP");
  });

  it.each([
    ["nothing", ""],
    ["another file", "version: 1\n"],
    ["JSON", "{}\n"],
    ["an LMDB file", `${"\0".repeat(40)}\n`],
    ["one of a newer version", '{"format":"sidekey-vault-backup","v":2}\n{}\n'],
  ])("is not %s", async (_, other) => {
    const { read } = await setUp();
    expect(await codeOf(() => read(other))).toBe("VAULT_BAD_BACKUP");
  });

  it("opens with no other key, which is told, and with an older one that is still in the key file", async () => {
    const { text, keys } = await setUp();
    const clock = createTestClock();
    const other = Buffer.alloc(32, 9).toString("base64url");
    const refused = await failureOf(() => openBackup(text, { keys: { text: other, where: "variable K" }, clock }));
    expect(refused.code).toBe("VAULT_KEY_WRONG");
    expect(refused.message).not.toContain(other);
    const both = { text: `${other} ${await readFile(keys.file, "utf8")}`, where: "variable K" };
    expect((await openBackup(text, { keys: both, clock })).secrets).toBe(2);
  });

  it("needs one key only, also when it is of a store that is sealed with several", async () => {
    const { vault, keys, state } = await setUp();
    await vault.close();
    const old = await readFile(keys.file, "utf8");
    const fresh = `${Buffer.alloc(32, 5).toString("base64url")}\n`;
    await writeFile(keys.file, `${fresh}${old}`);
    const clock = createTestClock();
    const both = await openVault({ directory: join(state, "vault"), keys, clock });
    await both.secrets.set("c/three", SecretValue.fromText(`${CANARY}-4`));
    const text = await both.backup();
    await both.close();
    await writeFile(keys.file, fresh);
    expect((await openBackup(text, { keys, clock })).secrets).toBe(3);
  });

  it("is restored with the key of its time beside the present one, which then suffices", async () => {
    const { vault, text, keys, state, read, restore, open } = await setUp();
    const old = await readFile(keys.file, "utf8");
    await vault.rekey();
    const present = await readFile(keys.file, "utf8");
    expect(present).not.toBe(old);
    expect(await codeOf(() => read(text))).toBe("VAULT_KEY_WRONG");
    await writeFile(keys.file, `${present}${old}`);
    await vault.secrets.remove("a/one");
    expect(await restore(join(state, "vault"), true)).toMatchObject({ how: "replaced" });
    await vault.close();
    await writeFile(keys.file, present);
    expect(await values(await open(join(state, "vault")))).toEqual(ALL);
  });

  it("makes no key", async () => {
    const { text } = await setUp();
    const file = join(await temporaryDirectory(), "vault.key");
    expect(await codeOf(() => openBackup(text, { keys: { file }, clock: createTestClock() }))).toBe(
      "VAULT_KEY_UNREADABLE",
    );
  });
});

describe("a restored backup", () => {
  it("makes a store where there is none, and leaves nothing beside it", async () => {
    const { place, restore, open } = await setUp();
    const directory = await place();
    expect(await restore(directory)).toEqual({ how: "made", keptAside: undefined });
    expect(await values(await open(directory))).toEqual(ALL);
    expect(await readdir(join(directory, ".."))).toEqual(["vault"]);
  });

  it("touches no store that is there, unless told to", async () => {
    const { state, vault, restore } = await setUp();
    await vault.secrets.remove("b/two");
    expect(await codeOf(() => restore(join(state, "vault")))).toBe("VAULT_STORE_EXISTS");
    expect(await vault.secrets.list()).toHaveLength(1);
  });

  it("takes the place of all secrets at once, for those who have the store open too; tokens stay", async () => {
    const { state, vault, restore } = await setUp();
    const kept = await vault.tokens.issue({ agent: "x", scopes: parseScopes("secrets:use:*") });
    const revoked = await vault.tokens.issue({ agent: "x", scopes: parseScopes("secrets:use:*") });
    const text = await vault.backup();
    await vault.tokens.revoke(revoked.claims.id);
    await vault.secrets.remove("a/one");
    await vault.secrets.set("c/new", SecretValue.fromText("new"));
    const before = vault.generation();
    expect(await restore(join(state, "vault"), true, text)).toEqual({ how: "replaced", keptAside: undefined });
    expect(await values(vault)).toEqual(ALL);
    expect(vault.generation()).toBeGreaterThan(before);
    expect(vault.tokens.state(kept.claims.id)).toBe("active");
    expect(vault.tokens.state(revoked.claims.id)).toBe("revoked");
  });

  it("takes the place of a damaged store, whose data stay", async () => {
    const { state, vault, restore, open } = await setUp();
    await vault.close();
    const directory = join(state, "vault");
    await truncate(join(directory, "data.mdb"), 5000);
    const { how, keptAside = "" } = await restore(directory, true);
    expect(how).toBe("rebuilt");
    expect(await readFile(keptAside)).toHaveLength(5000);
    expect(await values(await open(directory))).toEqual(ALL);
    expect((await readdir(state)).sort()).toEqual(["vault", "vault.key"]);
  });

  it("never takes the place of a store that another key opens", async () => {
    const { place, restore } = await setUp();
    const directory = await place();
    const keys = { text: Buffer.alloc(32, 9).toString("base64url"), where: "variable K" };
    const other = await openVault({ directory, keys, clock: createTestClock() });
    await fill(other);
    await other.close();
    expect(await codeOf(() => restore(directory, true))).toBe("VAULT_KEY_WRONG");
    const again = await openVault({ directory, keys, clock: createTestClock() });
    expect(await values(again)).toEqual(ALL);
    await again.close();
  });

  it("says so when the place cannot be written, and leaves nothing", async () => {
    const { restore } = await setUp();
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "file"), "");
    expect(await codeOf(() => restore(join(directory, "file/vault")))).toBe("VAULT_STORE_BUSY");
    expect(await readdir(directory)).toEqual(["file"]);
  });
});

describe("agents, operators and sidecars in a backup", () => {
  const JKT = "j".repeat(43);

  const setUpServer = async () => {
    const made = await setUp();
    const { vault } = made;
    const operator = await vault.agents.create({ name: "root", kind: "operator" });
    const agent = await vault.agents.create({ name: "bot", scopes: parseScopes("secrets:use:a/*") });
    const gone = await vault.agents.create({ name: "gone", scopes: parseScopes("secrets:use:a/*") });
    await vault.agents.revoke("gone");
    await vault.sidecars.enroll({ agentId: agent.info.id, name: "side", jkt: JKT });
    return { ...made, old: made.text, operator, agent, gone, text: await vault.backup() };
  };

  it("are known to a new store by the same keys, which the backup does not hold", async () => {
    const { text, read, place, restore, open, operator, agent, gone } = await setUpServer();
    expect(text.split("\n")[0]).toBe('{"format":"sidekey-vault-backup","v":2}');
    for (const { key } of [operator, agent, gone]) expect(text).not.toContain(key);
    expect(await read(text)).toMatchObject({ secrets: 2, agents: 2 });
    const directory = await place();
    await restore(directory, false, text);
    const vault = await open(directory);
    expect(await values(vault)).toEqual(ALL);
    expect(await vault.agents.authenticate(operator.key)).toMatchObject({ name: "root", kind: "operator" });
    expect(await vault.agents.authenticate(agent.key)).toMatchObject({ id: agent.info.id });
    expect(await codeOf(() => vault.agents.authenticate(gone.key))).toBe("IDENTITY_KEY_INVALID");
    expect(await vault.agents.hasOperator()).toBe(true);
    expect(await vault.sidecars.find(agent.info.id, JKT)).toMatchObject({ name: "side" });
    expect(await vault.tokens.list()).toEqual([]);
    // It works: the agent gets a token that is good here.
    const { token } = await vault.tokens.issue({
      agent: await vault.agents.find("bot"),
      scopes: parseScopes("secrets:use:a/one"),
    });
    expect(await vault.tokens.verify(token)).toMatchObject({ agent: "bot" });
  });

  it("come back to no store that knows better: what was revoked there stays revoked, what is new stays", async () => {
    const { state, vault, restore, text, agent, operator } = await setUpServer();
    await vault.agents.revoke("bot");
    const again = await vault.agents.create({ name: "bot", scopes: parseScopes("secrets:use:b/*") });
    await restore(join(state, "vault"), true, text);
    expect(await codeOf(() => vault.agents.authenticate(agent.key))).toBe("IDENTITY_KEY_INVALID");
    expect(await vault.agents.authenticate(again.key)).toMatchObject({ id: again.info.id });
    expect(await vault.agents.find("bot")).toMatchObject({ id: again.info.id });
    expect((await vault.sidecars.find(agent.info.id, JKT))?.revokedAt).toBeDefined();
    expect(await vault.agents.authenticate(operator.key)).toMatchObject({ name: "root" });
  });

  it("are added to a store that was made anew, beside its own operator, whatever the names", async () => {
    const { text, keys, place, restore, open, operator, agent } = await setUpServer();
    const directory = await place();
    const fresh = await openVault({ directory, keys, clock: createTestClock() });
    const own = await fresh.agents.create({ name: "root", kind: "operator" });
    await fresh.close();
    await restore(directory, true, text);
    const vault = await open(directory);
    for (const { key, info } of [own, operator, agent]) {
      expect(await vault.agents.authenticate(key)).toMatchObject({ id: info.id });
    }
    expect(await vault.agents.find("root")).toMatchObject({ id: own.info.id });
    expect(await vault.agents.list()).toHaveLength(4);
  });

  it("are in none of the first version", async () => {
    const { text, read } = await setUpServer();
    const lines = text.replace('"v":2', '"v":1').trimEnd().split("\n").slice(0, -1);
    expect(await codeOf(() => read(resum(lines)))).toBe("VAULT_BAD_BACKUP");
  });

  it("that an earlier version wrote, without any, is restored and takes away none", async () => {
    const { state, vault, restore, agent, old } = await setUpServer();
    expect(old.split("\n")[0]).toBe('{"format":"sidekey-vault-backup","v":1}');
    await restore(join(state, "vault"), true, old);
    expect(await vault.agents.authenticate(agent.key)).toMatchObject({ name: "bot" });
  });
});
