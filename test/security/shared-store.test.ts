/**
 * R14 for replicas of a vault server on one PostgreSQL: what was acknowledged is there after `kill -9` of a replica and
 * after a crash of the database, what may be used once is used once, a rekey that is cut short loses nothing, and rows that
 * somebody changes past Sidekey are not served.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScopes } from "../../src/identity/scope.ts";
import { generateFernetKey } from "../../src/vault/barrier/fernet.ts";
import { type AnyVault, openBackup, openSharedVault, restoreSharedVault } from "../../src/vault/index.ts";
import { failure } from "../support/failure.ts";
import { noPostgres, type PostgresServer, startPostgres, withSql } from "../support/postgres.ts";
import { openStore, useDatabase } from "./store-open.ts";
import { expectedChanges } from "./store-operations.ts";
import { compare, judge, KILLS, killPrograms, start, toldOf, writeAndDie } from "./store-programs.ts";

const WRITERS = ["ann", "bob"] as const;
const absent = noPostgres();

let server: PostgresServer | undefined;
let state = "";
let url = "";
const opened: AnyVault[] = [];

beforeAll(async () => {
  if (absent === undefined) server = await startPostgres();
});
afterAll(() => server?.close());
beforeEach(async () => {
  if (server === undefined) return;
  state = mkdtempSync(join(tmpdir(), "sidekey-shared-store-"));
  url = await server.createDatabase();
  useDatabase(state, url);
});
afterEach(async () => {
  await killPrograms();
  for (const vault of opened.splice(0)) await vault.close();
  rmSync(state, { recursive: true, force: true });
});

const open = async (): Promise<AnyVault> => {
  const vault = await openStore(state);
  opened.push(vault);
  return vault;
};

const secret = (text: string): SecretValue => SecretValue.fromText(text);

const suite = describe.skipIf(absent !== undefined);
const why = absent === undefined ? "" : ` (${absent})`;

suite(`replicas that are killed${why}`, () => {
  it("leave every write that was acknowledged, whole, and hold nobody up", { timeout: 600_000 }, async () => {
    const onlooker = await open();
    let writes = 0;
    let kills = 0;
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(state, name)));
      kills += runs.length;
      // Opening it goes through every row.
      const vault = await openStore(state);
      for (const [at, name] of WRITERS.entries()) {
        const lines = runs[at] ?? [];
        writes += lines.length - 1;
        expect(await judge(vault, name, lines)).toEqual([]);
        expect(await judge(onlooker, name, lines)).toEqual([]);
      }
      await vault.secrets.set("load/after", secret(`round ${round}`));
      for (const { path } of await vault.secrets.list()) await vault.secrets.remove(path);
      await vault.close();
      expect(await onlooker.secrets.list()).toEqual([]);
    }
    expect(writes).toBeGreaterThanOrEqual(kills);
    console.info(`${kills} kills, ${writes} acknowledged writes, none lost`);
  });

  it("leave all they did to secrets, whole, and one turn more at most, and tell of that alone", {
    timeout: 600_000,
  }, async () => {
    const vault = await open();
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      const since = await vault.changes.current();
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(state, name, "operate")));
      for (const [at, name] of WRITERS.entries()) {
        const done = (runs[at] ?? []).length - 1;
        const told = (await toldOf(vault, name, since)) ?? [];
        // The turn after the last acknowledged one may be in as well.
        expect([done, done + 1]).toContain(told.length);
        expect(told).toEqual(expectedChanges(name, told.length));
        expect(await compare(vault, name, told.length)).toEqual([]);
      }
      for (const { path } of await vault.secrets.list()) await vault.secrets.remove(path);
    }
  });

  it("leave a rekey that the next call goes on with, and every row readable meanwhile", {
    timeout: 600_000,
  }, async () => {
    const [oldKey, newKey] = [generateFernetKey(), generateFernetKey()];
    const keyFile = join(state, "vault.key");
    writeFileSync(keyFile, `${oldKey}\n`, { mode: 0o600 });
    const kept = Array.from({ length: 120 }, (_, n) => ({ path: `kept/s${n}`, value: secret(`kept ${n}`) }));
    const onlooker = await open();
    await onlooker.secrets.importAll(kept);
    const check = async (vault: AnyVault): Promise<readonly string[]> => {
      const wrong: string[] = [];
      for (const [n, { path }] of kept.entries()) {
        if ((await vault.secrets.get(path)).value.lend(String) !== `kept ${n}`) wrong.push(path);
      }
      return wrong;
    };
    // One key: making another is for whoever can give it to all of them.
    expect(await failure(() => onlooker.rekey())).toBe("CONFIG_USAGE");
    // The writer has the keys in the other order: which one seals is not its word.
    const others = mkdtempSync(join(tmpdir(), "sidekey-shared-store-"));
    try {
      useDatabase(others, url);
      writeFileSync(join(others, "vault.key"), `${oldKey}\n${newKey}\n`, { mode: 0o600 });
      writeFileSync(keyFile, `${newKey}\n${oldKey}\n`, { mode: 0o600 });
      const writer = start(others, ["write", "ann", "10"]);
      await writer.opened;
      for (let kill = 0; kill < Math.min(KILLS, 20); kill += 1) {
        const rekeying = start(state, ["rekey"]);
        await rekeying.opened;
        await pause(Math.random() * 120);
        rekeying.program.kill("SIGKILL");
        await rekeying.end;
        expect(await check(onlooker)).toEqual([]);
      }
      const last = await open();
      expect(await last.rekey()).toMatchObject({ resumed: true, file: undefined });
      writer.program.kill("SIGKILL");
      await writer.end;
      expect(writer.lines.length).toBeGreaterThan(1);
      const alone = await openStore(state, { text: newKey, where: "the test" });
      opened.push(alone);
      expect(await check(alone)).toEqual([]);
      expect(await judge(alone, "ann", writer.lines)).toEqual([]);
      expect(await failure(() => openStore(state, { text: oldKey, where: "the test" }))).toBe("VAULT_KEY_WRONG");
    } finally {
      rmSync(others, { recursive: true, force: true });
    }
  });
});

suite(`two replicas at once${why}`, () => {
  it("spend each of a thousand single uses once", { timeout: 300_000 }, async () => {
    const vault = await open();
    const request = { scopes: parseScopes("secrets:use:a/*"), agent: "research", maxUses: 1 };
    const ids = await Promise.all(
      Array.from({ length: 1000 }, async () => (await vault.tokens.issue(request)).claims.id),
    );
    const runs = ["one", "other"].map(() => start(state, ["spend", ...ids]));
    await Promise.all(runs.map(({ end }) => end));
    const lines = runs.flatMap((run) => run.lines.filter((line) => line !== "open"));
    expect(lines).toHaveLength(2 * ids.length);
    const refusals = lines.flatMap((line) => (line.startsWith("spent ") ? [] : [line.split(" ")[0]]));
    expect([...new Set(refusals)]).toEqual(["IDENTITY_TOKEN_SPENT"]);
    const spent = lines.filter((line) => line.startsWith("spent "));
    expect(new Set(spent).size).toBe(ids.length);
    expect(spent).toHaveLength(ids.length);
  });

  it("let each of a thousand proofs pass once", { timeout: 120_000 }, async () => {
    const vaults = [await open(), await open()];
    const until = Date.now() + 60_000;
    const inOrder = Array.from({ length: 1000 }, (_, n) => `proof ${n}`);
    // In another order at the other one: neither may wait for what the other has begun.
    const orders = [inOrder, inOrder.toReversed(), inOrder];
    const answers = await Promise.all(
      orders.flatMap((ids, at) => ids.map((id) => vaults[at % 2]?.replays.firstUse(id, until))),
    );
    expect(answers.filter((isFirst) => isFirst === true)).toHaveLength(1000);
    const stored = await withSql(url, (sql) => sql("SELECT encode(id, 'escape') AS id FROM sidekey_proofs"));
    expect(stored).toHaveLength(1000);
    expect(JSON.stringify(stored)).not.toContain("proof");
  });

  it("let a proof pass once, also when somebody takes its row away, and tell nobody what they saw", async () => {
    const [one, other] = [await open(), await open()];
    const until = Date.now() + 60_000;
    expect(await one.replays.firstUse("proof", until)).toBe(true);
    // Who knows a proof can tell from the rows neither whether it was seen, nor have one refused before it is shown.
    const known = (id: string): Buffer => createHash("sha256").update(id).digest();
    await withSql(url, async (sql) => {
      expect(await sql("SELECT 1 FROM sidekey_proofs WHERE id = $1", [known("proof")])).toEqual([]);
      await sql("INSERT INTO sidekey_proofs VALUES ($1, $2)", [known("to come"), until]);
      await sql("DELETE FROM sidekey_proofs WHERE id <> $1", [known("to come")]);
    });
    expect(await one.replays.firstUse("proof", until)).toBe(false);
    expect(await other.replays.firstUse("to come", until)).toBe(true);
    expect(await one.replays.firstUse("to come", until)).toBe(false);
  });
});

suite(`a database that crashes under load${why}`, () => {
  it("loses nothing that was acknowledged, and both replicas go on when it is back", { timeout: 120_000 }, async () => {
    const vaults = [await open(), await open()];
    const acknowledged = new Map<string, number>();
    const tried = new Map<string, number>();
    const failures = new Set<ErrorCode>();
    let isOver = false;
    const load = (vault: AnyVault, name: string) =>
      (async () => {
        for (let n = 1; !isOver; n += 1) {
          const path = `load/${name}`;
          tried.set(path, n);
          const write = await failure(() => vault.secrets.set(path, secret(`${n}`)));
          if (write === undefined) acknowledged.set(path, n);
          else failures.add(write);
          const read = await failure(() => vault.secrets.get(path));
          if (read !== undefined && read !== "VAULT_SECRET_MISSING") failures.add(read);
          if (write !== undefined) await pause(5);
        }
      })();
    const loads = vaults.flatMap((vault, at) => [1, 2, 3].map((n) => load(vault, `${at}-${n}`)));
    const grown = async (): Promise<void> => {
      const before = new Map(acknowledged);
      const hasGrown = ([path, n]: [string, number]): boolean => (acknowledged.get(path) ?? 0) > n;
      await expect.poll(() => acknowledged.size === 6 && [...before].every(hasGrown)).toBe(true);
    };
    await grown();
    for (let crash = 0; crash < 3; crash += 1) {
      await server?.stop("immediate");
      expect(await failure(() => vaults[0]?.secrets.list() ?? Promise.resolve())).toBe("VAULT_STORE_BUSY");
      await server?.start();
      await grown();
    }
    isOver = true;
    await Promise.all(loads);
    expect([...failures]).toEqual(["VAULT_STORE_BUSY"]);
    // Opening it goes through every row.
    const vault = await open();
    for (const [path, n] of acknowledged) {
      const found = Number((await vault.secrets.get(path)).value.lend(String));
      expect(found).toBeGreaterThanOrEqual(n);
      expect(found).toBeLessThanOrEqual(tried.get(path) ?? 0);
    }
  });

  it("tells who watches of changes that came while the notices were lost", { timeout: 60_000 }, async () => {
    const [one, other] = [await open(), await open()];
    const heard: number[] = [];
    await one.watch((generation) => heard.push(generation));
    await server?.stop("fast");
    await server?.start();
    await expect.poll(() => failure(() => other.secrets.set("a/b", secret("1")))).toBeUndefined();
    await expect.poll(() => heard.length).toBeGreaterThan(0);
    const last = heard.at(-1) ?? 0;
    await other.secrets.set("a/b", secret("2"));
    await expect.poll(() => heard.at(-1)).toBe(last + 1);
  });
});

suite(`rows that are changed past sidekey${why}`, () => {
  const CHANGES: readonly (readonly [string, string])[] = [
    ["a row that is deleted", "DELETE FROM sidekey_rows WHERE key = 'value:a/b@2'"],
    ["a row with another value", "UPDATE sidekey_rows SET value = value || 'x' WHERE key = 'meta:a/b'"],
    [
      "two rows that are exchanged",
      `UPDATE sidekey_rows a SET value = b.value FROM sidekey_rows b WHERE a.key IN ('value:a/b@2', 'value:a/c@1')
       AND b.key IN ('value:a/b@2', 'value:a/c@1') AND a.key <> b.key`,
    ],
    [
      "a row that is copied",
      "INSERT INTO sidekey_rows SELECT 'meta:a/x', value FROM sidekey_rows WHERE key = 'meta:a/b'",
    ],
    [
      "an older row",
      "UPDATE sidekey_rows SET value = old.value FROM old WHERE sidekey_rows.key = old.key AND old.key = 'meta:a/b'",
    ],
    [
      "all older rows but the sum",
      "UPDATE sidekey_rows SET value = old.value FROM old WHERE sidekey_rows.key = old.key AND old.key NOT LIKE 'integrity%'",
    ],
    ["all older rows", "DELETE FROM sidekey_rows; INSERT INTO sidekey_rows SELECT * FROM old"],
    ["another generation", "UPDATE sidekey_state SET generation = generation + 1"],
    ["no generation", "DELETE FROM sidekey_state"],
    ["no sum", "DELETE FROM sidekey_rows WHERE key = 'integrity:sum'"],
    ["no check row", "DELETE FROM sidekey_rows WHERE key = 'check:key'"],
    ["no rows", "DELETE FROM sidekey_rows"],
  ];

  const filled = async (): Promise<AnyVault> => {
    const vault = await open();
    await vault.secrets.set("a/b", secret("first"));
    await vault.secrets.set("a/c", secret("other"));
    await vault.secrets.set("a/z", secret("untouched"));
    await withSql(url, (sql) => sql("CREATE TABLE old AS SELECT * FROM sidekey_rows"));
    await vault.secrets.rotate("a/b", secret("second"));
    return vault;
  };

  it.each(CHANGES)("are refused when it is opened: %s", async (_, change) => {
    await filled();
    await withSql(url, (sql) => sql(change));
    expect(await failure(open)).toBe("VAULT_STORE_DAMAGED");
  });

  it.each(CHANGES)(
    "are found while it is open, and then nothing is served: %s",
    { timeout: 90_000 },
    async (_, change) => {
      await (await filled()).close();
      const vault = await openSharedVault({
        url,
        keys: { file: join(state, "vault.key") },
        clock: systemClock,
        log: silentLog,
        checkEveryMs: 20,
      });
      opened.push(vault);
      await withSql(url, (sql) => sql(change));
      // One that took long waits a hundred times as long for its next turn.
      const read = () => failure(() => vault.secrets.get("a/z"));
      await expect.poll(read, { timeout: 60_000 }).toBe("VAULT_STORE_DAMAGED");
      expect(await failure(() => vault.secrets.set("a/d", secret("x")))).toBe("VAULT_STORE_DAMAGED");
      expect(await failure(() => vault.secrets.list())).toBe("VAULT_STORE_DAMAGED");
    },
  );

  it("give way to a backup, and are kept aside", async () => {
    const vault = await filled();
    const keys = { file: join(state, "vault.key") };
    const text = await vault.backup();
    await withSql(url, (sql) => sql("DELETE FROM sidekey_rows WHERE key = 'meta:a/b'"));
    const backup = await openBackup(text, { keys, clock: systemClock });
    const options = { url, keys, clock: systemClock, log: silentLog };
    expect(await failure(() => restoreSharedVault(options, { backup, replace: false }))).toBe("VAULT_STORE_EXISTS");
    const restored = await restoreSharedVault(options, { backup, replace: true });
    expect(restored).toMatchObject({ how: "rebuilt" });
    const after = await open();
    expect((await after.secrets.get("a/b")).value.lend(String)).toBe("second");
    const kept = await withSql(url, (sql) => sql(`SELECT count(*)::integer AS rows FROM ${restored.keptAside}`));
    expect(kept[0]?.["rows"]).toBeGreaterThan(3);
    expect(await restoreSharedVault(options, { backup, replace: true })).toMatchObject({ how: "replaced" });
  });

  it("show no value and nothing that is said about a secret", async () => {
    const vault = await open();
    await vault.secrets.set("a/b", secret("c4n4ry-value"), { hosts: ["c4n4ry.test"] });
    await vault.tokens.issue({ scopes: parseScopes("secrets:use:a/c4n4ry*"), agent: "research" });
    const rows = await withSql(url, (sql) => sql("SELECT key, encode(value, 'escape') AS value FROM sidekey_rows"));
    expect(rows.length).toBeGreaterThan(4);
    expect(JSON.stringify(rows)).not.toContain("c4n4ry");
  });
});
