/**
 * R14: what a process that writes the vault has acknowledged is there after `kill -9` at any point, no secret is half
 * there, nobody else is held up, and the store accounts for all its rows. The same while its key changes.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openVault, type Vault } from "../../src/vault/index.ts";
import { expectedChanges } from "./store-operations.ts";
import { compare, judge, KILLS, killPrograms, start, toldOf, writeAndDie } from "./store-programs.ts";

const WRITERS = ["ann", "bob"] as const;

let state = "";

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "sidekey-store-kill-"));
});

afterEach(async () => {
  await killPrograms();
  rmSync(state, { recursive: true, force: true });
});

const open = (): Promise<Vault> =>
  openVault({ directory: join(state, "vault"), keys: { file: join(state, "vault.key") }, clock: systemClock });

const withVault = async <T>(use: (vault: Vault) => Promise<T>): Promise<T> => {
  const vault = await open();
  try {
    return await use(vault);
  } finally {
    await vault.close();
  }
};

describe("a vault whose writers are killed", () => {
  it("has every write that was acknowledged, whole, after each kill", { timeout: 600_000 }, async () => {
    let writes = 0;
    let kills = 0;
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      // From the second round on, somebody has it open all the while, as a sidecar does.
      const onlooker = round === 0 ? undefined : await open();
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(state, name)));
      kills += runs.length;
      await withVault(async (vault) => {
        for (const [at, name] of WRITERS.entries()) {
          const lines = runs[at] ?? [];
          writes += lines.length - 1;
          expect(await judge(vault, name, lines)).toEqual([]);
        }
        // Nobody holds its lock any more.
        await vault.secrets.set("load/after", SecretValue.fromText(`round ${round}`));
        // It grows with its versions: each round begins anew.
        for (const { path } of await vault.secrets.list()) await vault.secrets.remove(path);
      });
      if (onlooker !== undefined) {
        expect(await onlooker.secrets.list()).toEqual([]);
        await onlooker.close();
      }
    }
    expect(writes).toBeGreaterThanOrEqual(kills);
    console.info(`${kills} kills, ${writes} acknowledged writes, none lost`);
  });
});

describe("a vault whose writers are killed at whatever they do to secrets", () => {
  it("holds what was acknowledged and at most one turn more, whole, and tells of that and of nothing else", {
    timeout: 600_000,
  }, async () => {
    let acknowledged = 0;
    let kept = 0;
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      const since = await withVault(({ changes }) => changes.current());
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(state, name, "operate")));
      await withVault(async (vault) => {
        for (const [at, name] of WRITERS.entries()) {
          const done = (runs[at] ?? []).length - 1;
          const told = (await toldOf(vault, name, since)) ?? [];
          // The turn after the last acknowledged one may be in as well.
          expect([done, done + 1]).toContain(told.length);
          expect(told).toEqual(expectedChanges(name, told.length));
          expect(await compare(vault, name, told.length)).toEqual([]);
          acknowledged += done;
          kept += told.length;
        }
        for (const { path } of await vault.secrets.list()) await vault.secrets.remove(path);
      });
    }
    expect(acknowledged).toBeGreaterThanOrEqual(KILLS);
    console.info(`${KILLS} kills, ${acknowledged} acknowledged turns, ${kept} in the store and in the ring of changes`);
  });
});

describe("a vault whose rekey is killed", () => {
  const SECRETS = 300;
  const keysInFile = (): readonly string[] => readFileSync(join(state, "vault.key"), "utf8").trim().split("\n");
  const valueAt = (n: number): string => `kept ${n} ${"k".repeat(200)}`;

  it("opens every row after each kill, also for who writes meanwhile and who has it open", {
    timeout: 600_000,
  }, async () => {
    const kept = Array.from({ length: SECRETS }, (_, n) => ({
      path: `kept/s${n}`,
      value: SecretValue.fromText(valueAt(n)),
    }));
    await withVault((vault) => vault.secrets.importAll(kept));
    const onlooker = await open();
    const check = async (vault: Vault): Promise<readonly string[]> => {
      const wrong: string[] = [];
      for (const [n, { path }] of kept.entries()) {
        const value = await vault.secrets.get(path).then(
          (found) => found.value.lend(String),
          (error: unknown) => (isSidekeyError(error) ? error.message : String(error)),
        );
        if (value !== valueAt(n)) wrong.push(`${path}: ${value.slice(0, 80)}`);
      }
      return wrong;
    };
    const [initial] = keysInFile();
    const writer = start(state, ["write", "ann", "15"]);
    await writer.opened;
    let underWay = 0;
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const rekeying = start(state, ["rekey"]);
        let ended = false;
        void rekeying.end.then(() => {
          ended = true;
        });
        await rekeying.opened;
        // At least once in the middle of it.
        if (kill === 0) while (!ended && keysInFile().length < 2) await pause(1);
        else await pause(Math.random() * 150);
        rekeying.program.kill("SIGKILL");
        await rekeying.end;
        const keys = keysInFile();
        expect([1, 2]).toContain(keys.length);
        if (keys.length === 2) underWay += 1;
        expect(await withVault(check)).toEqual([]);
        expect(await check(onlooker)).toEqual([]);
      }
      // The last one goes to its end, with the writer still at it.
      await withVault((vault) => vault.rekey());
    } finally {
      writer.program.kill("SIGKILL");
      await writer.end;
      await onlooker.close();
    }
    const [key = "", ...others] = keysInFile();
    expect(others).toEqual([]);
    expect(key).not.toBe(initial);
    const text = { text: key, where: "the file" };
    const alone = await openVault({ directory: join(state, "vault"), keys: text, clock: systemClock });
    expect(await check(alone)).toEqual([]);
    expect(await judge(alone, "ann", writer.lines)).toEqual([]);
    await alone.close();
    console.info(
      `${KILLS} kills of a rekey, ${underWay} with two keys in the file, ${writer.lines.length - 1} writes meanwhile`,
    );
  });
});
