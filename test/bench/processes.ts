/**
 * Starts the programs of the bench, each pinned to one core where `taskset` can do it, and ends them again. It ends
 * only what it started.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { connect } from "node:net";
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import type { Closer } from "../../src/core/closer.ts";

/** The subject has core 0 to itself; the load, the upstream and everything else run on core 1. */
export const SUBJECT_CORE = 0;
export const OTHER_CORE = 1;

export interface RunningProcess {
  readonly pid: number;
  /** First line of standard output. Rejects with the end of standard error when the process ends before. */
  readonly firstLine: Promise<string>;
  /** Everything on standard output; rejects when the exit code is not 0. */
  readonly output: Promise<string>;
  close(): Promise<void>;
}

export interface Launcher {
  /** False: this machine has one core or no `taskset`, and figures mean little. */
  readonly pinned: boolean;
  start(core: number, command: readonly string[], options?: { readonly cwd?: string }): RunningProcess;
}

export const hasProgram = (name: string): boolean =>
  spawnSync("sh", ["-c", `command -v ${name}`], { stdio: "ignore" }).status === 0;

const GRACE_MS = 5000;
const STDERR_TAIL = 4000;

export const createLauncher = (closer: Closer): Launcher => {
  const pinned = process.platform === "linux" && cpus().length >= 2 && hasProgram("taskset");
  return {
    pinned,
    start: (core, command, options = {}) => {
      // taskset becomes the program (exec), so that the child's pid is the program's.
      const [file = "", ...args] = pinned ? ["taskset", "-c", String(core), ...command] : command;
      return closer.add(superviseProcess(spawn(file, args, { cwd: options.cwd, stdio: "pipe" }), command.join(" ")));
    },
  };
};

const superviseProcess = (child: ChildProcessWithoutNullStreams, name: string): RunningProcess => {
  let stdout = "";
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_TAIL);
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  const failure = (code: number | string): Error => new Error(`${name}: ended with ${code}\n${stderr}`);
  const ended = new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code ?? signal ?? "no code"));
  });
  const firstLine = new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).once("line", resolve);
    void ended.then((code) => reject(failure(code)));
  });
  const output = ended.then((code) => {
    if (code !== 0) throw failure(code);
    return stdout;
  });
  // Whoever does not wait for these must not be ended by their rejection.
  firstLine.catch(() => undefined);
  output.catch(() => undefined);

  return {
    pid: child.pid ?? 0,
    firstLine,
    output,
    async close() {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
      await ended;
      clearTimeout(timer);
    },
  };
};

/** Resolves when a TCP connection to the port is accepted; rejects with the process's own failure. */
export const untilListening = async (port: number, owner: RunningProcess): Promise<void> => {
  const deadline = performance.now() + 10_000;
  let ownerFailure: unknown;
  owner.output.catch((error) => {
    ownerFailure = error;
  });
  while (!(await canConnect(port))) {
    if (ownerFailure !== undefined) throw ownerFailure;
    if (performance.now() > deadline) throw new Error(`nothing listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const canConnect = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (isOpen: boolean) => () => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once("connect", answer(true));
    socket.once("error", answer(false));
  });
