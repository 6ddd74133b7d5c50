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
const writeAndDie = async (name: string): Promise<readonly string[]> => {
  let left = 2 + Math.floor(Math.random() * 60);
  const wait = Math.random() < 0.5 ? 0 : Math.random() * 8;
  const run = start(["write", name], () => {
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
      const runs = await Promise.all(WRITERS.map(writeAndDie));
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
