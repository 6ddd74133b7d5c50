/** Runs the processes of store-process.ts, ends them at a bad moment, and judges what they left. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { AnyVault } from "../../src/vault/index.ts";
import { expectedAfter } from "./store-operations.ts";
import { PATHS, pathOf, turnOf } from "./store-values.ts";

const PROGRAM = new URL("store-process.ts", import.meta.url).pathname;
/** `SIDEKEY_KILLS=100` for as many as the promise names. */
export const KILLS = Number(process.env["SIDEKEY_KILLS"] ?? 6);

type Program = ChildProcessByStdio<null, Readable, null>;

/** Those that run, by their end. */
const programs = new Map<Program, Promise<void>>();

/** Those that still run; resolves when none does. */
export const killPrograms = async (): Promise<void> => {
  for (const [program, end] of programs) {
    program.kill("SIGKILL");
    await end;
  }
};

export interface Run {
  readonly program: Program;
  readonly opened: Promise<void>;
  readonly end: Promise<void>;
  /** Lines so far. */
  readonly lines: readonly string[];
}

export const start = (state: string, args: readonly string[], see: (line: string) => void = () => {}): Run => {
  const program = spawn(process.execPath, ["--import", "tsx", PROGRAM, state, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
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
  programs.set(program, end);
  void end.then(() => programs.delete(program));
  opened.catch(() => {});
  return { program, opened, end, lines };
};

/** A writer until its kill: after so many acknowledged changes, and within the next one or a little later. */
export const writeAndDie = async (state: string, name: string, mode = "write"): Promise<readonly string[]> => {
  let left = 2 + Math.floor(Math.random() * 60);
  const wait = Math.random() < 0.5 ? 0 : Math.random() * 8;
  const run = start(state, [mode, name], () => {
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
export const judge = async (vault: AnyVault, name: string, lines: readonly string[]): Promise<readonly string[]> => {
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

/** What the ring tells of a writer since then, one list for each transaction; undefined when it does not know any more. */
export const toldOf = async (
  vault: AnyVault,
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
export const compare = async (vault: AnyVault, name: string, turns: number): Promise<readonly string[]> => {
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
