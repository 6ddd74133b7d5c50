/**
 * R14: what a process that writes the vault has acknowledged is there after `kill -9` at any point, no secret is half
 * there, nobody else is held up, and the store accounts for all its rows. The same while its key changes.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openVault, type Vault } from "../../src/vault/index.ts";
import { expectedAfter, expectedChanges } from "./store-operations.ts";
import { PATHS, pathOf, turnOf } from "./store-values.ts";

const PROGRAM = new URL("store-process.ts", import.meta.url).pathname;
/** `SIDEKEY_KILLS=100` for as many as the promise names. */
const KILLS = Number(process.env["SIDEKEY_KILLS"] ?? 6);
const WRITERS = ["ann", "bob"] as const;

type Program = ChildProcessByStdio<null, Readable, null>;

let state = "";
const programs = new Set<Program>();

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "sidekey-store-kill-"));
});

afterEach(() => {
  for (const program of programs) program.kill("SIGKILL");
  programs.clear();
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

interface Run {
  readonly program: Program;
  readonly opened: Promise<void>;
  readonly end: Promise<void>;
  /** Lines so far. */
  readonly lines: readonly string[];
}

const start = (args: readonly string[], see: (line: string) => void = () => {}): Run => {
  const program = spawn(process.execPath, ["--import", "tsx", PROGRAM, state, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  programs.add(program);
  const lines: string[] = [];
  const reader = createInterface({ input: program.stdout });
  const opened = new Promise<void>((resolve, reject) => {
    reader.once("line", () => resolve());
    reader.once("close", () => reject(new Error(`${args.join(" ")}: ended before it was open`)));
  });
  reader.on("line", (line) => {
    lines.push(line);
    see(line);
  });
  const end = new Promise<void>((resolve) => program.once("close", () => resolve()));
  void end.then(() => programs.delete(program));
  opened.catch(() => {});
  return { program, opened, end, lines };
};

/** A writer until its kill: after so many acknowledged changes, and within the next one or a little later. */
const writeAndDie = async (name: string, mode = "write"): Promise<readonly string[]> => {
  let left = 2 + Math.floor(Math.random() * 60);
  const wait = Math.random() < 0.5 ? 0 : Math.random() * 8;
  const run = start([mode, name], () => {
    left -= 1;
    if (left === 0) setTimeout(() => run.program.kill("SIGKILL"), wait);
  });
  await run.end;
  await run.opened;
  return run.lines;
};

/** By path, the newest turn that was acknowledged. */
const acknowledged = (name: string, lines: readonly string[]): Map<string, number> => {
  const newest = new Map<string, number>();
  for (const line of lines) {
    const [what, turn] = line.split(" ");
    if (what === "set") newest.set(pathOf(name, Number(turn)), Number(turn));
    if (what === "all") for (let at = 0; at < PATHS; at += 1) newest.set(pathOf(name, at), Number(turn));
  }
  return newest;
};

/** What is wrong with a writer's secrets, given what it acknowledged. Counts the acknowledged changes. */
const judge = async (vault: Vault, name: string, lines: readonly string[]): Promise<readonly string[]> => {
  const wrong: string[] = [];
  for (const [path, turn] of acknowledged(name, lines)) {
    const { value, version } = await vault.secrets.get(path);
    const found = turnOf(name, value.lend(String));
    if (found === undefined) wrong.push(`${path} is half there`);
    // The change after the last acknowledged one may be in as well.
    else if (found < turn) wrong.push(`${path} is of turn ${found}, acknowledged ${turn}`);
    const history = await vault.secrets.history(path);
    if (history.length !== version) wrong.push(`${path} has ${history.length} versions of ${version}`);
    for (const known of history) {
      const old = await vault.secrets.get(path, known.version);
      if (turnOf(name, old.value.lend(String)) === undefined) wrong.push(`${path}@${known.version} is half there`);
    }
  }
  return wrong;
};

describe("a vault whose writers are killed", () => {
  it("has every write that was acknowledged, whole, after each kill", { timeout: 600_000 }, async () => {
    let writes = 0;
    let kills = 0;
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      // From the second round on, somebody has it open all the while, as a sidecar does.
      const onlooker = round === 0 ? undefined : await open();
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(name)));
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

/** What the ring tells of a writer since then, one list for each transaction; undefined when it does not know any more. */
const toldOf = async (
  vault: Vault,
  name: string,
  since: number,
): Promise<readonly (readonly string[])[] | undefined> => {
  const told = await vault.changes.since(since);
  const texts = told?.map(({ changes }) =>
    changes.flatMap((change) => ("path" in change ? [`${change.type} ${change.path} ${change.version}`] : [])),
  );
  return texts?.filter((one) => one.some((text) => text.includes(`/${name}/`)));
};

/** What of a writer's secrets is not as after these turns: what is there, each version's value, what is said about it. */
const compare = async (vault: Vault, name: string, turns: number): Promise<readonly string[]> => {
  const wrong: string[] = [];
  const expected = expectedAfter(name, turns);
  const there = (await vault.secrets.list(`operated/${name}/`)).map(({ path }) => path);
  if (there.join() !== [...expected.keys()].sort().join()) wrong.push(`there are ${there.join(", ")}`);
  for (const [path, { turns: ofVersions, tier }] of expected) {
    const found = await vault.secrets.find(path);
    if (found?.version !== ofVersions.length || found.tier !== tier) wrong.push(`${path} is version ${found?.version}`);
    for (const [at, turn] of ofVersions.entries()) {
      const { value } = await vault.secrets.get(path, at + 1);
      if (turnOf(name, value.lend(String)) !== turn) wrong.push(`${path}@${at + 1} is not of turn ${turn}`);
    }
  }
  return wrong;
};

describe("a vault whose writers are killed at whatever they do to secrets", () => {
  it("holds what was acknowledged and at most one turn more, whole, and tells of that and of nothing else", {
    timeout: 600_000,
  }, async () => {
    let acknowledged = 0;
    let kept = 0;
    for (let round = 0; round < Math.ceil(KILLS / WRITERS.length); round += 1) {
      const since = await withVault(({ changes }) => changes.current());
      const runs = await Promise.all(WRITERS.map((name) => writeAndDie(name, "operate")));
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
    const writer = start(["write", "ann", "15"]);
    await writer.opened;
    let underWay = 0;
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const rekeying = start(["rekey"]);
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
