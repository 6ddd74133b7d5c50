/** Runs the built program as a person would: a process of its own, with a clean environment. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { createInterface } from "node:readline";

export const MAIN = new URL("../../dist/main.js", import.meta.url).pathname;

export interface Finished {
  /** 128 + number when it died of a signal, as a shell has it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd: string;
  /** Added to PATH, HOME and nothing else. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Standard input, then its end. */
  readonly input?: string | Buffer;
  readonly nodeArguments?: readonly string[];
  /** Shell commands that come first, in the same process: `ulimit -n 256`. */
  readonly before?: string;
}

/** Runs `sidekey ARGS` to its end. */
export const sidekey = async (args: readonly string[], options: RunOptions): Promise<Finished> => {
  const child = launch(args, options);
  child.stdin?.on("error", () => {}).end(options.input ?? "");
  return finished(child);
};

export interface Running {
  readonly child: ChildProcess;
  /** The object behind `sidekey ready `. */
  readonly ready: Readonly<Record<string, unknown>>;
  readonly end: Promise<Finished>;
  /** Sends the signal (SIGTERM) and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Finished>;
}

/** Runs `sidekey start ARGS` until its ready line. Rejects with what it wrote when it ends before that. */
export const startSidekey = async (args: readonly string[], options: RunOptions): Promise<Running> => {
  const child = launch(["start", ...args], options);
  child.stdin?.end();
  const end = finished(child);
  const ready = await new Promise<Readonly<Record<string, unknown>>>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("no standard output"));
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("sidekey ready ")) resolve(JSON.parse(line.slice("sidekey ready ".length)));
    });
    end.then(({ code, stderr }) => reject(new Error(`sidekey start ended with ${code}:\n${stderr}`)), reject);
  });
  return {
    child,
    ready,
    end,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return end;
    },
  };
};

/**
 * The first line on its standard error that says this. Others may come before it: a busy machine makes the program say that
 * it stood still. Rejects when the program ends without it.
 */
export const logged = (child: ChildProcess, message: string): Promise<Readonly<Record<string, unknown>>> =>
  new Promise((resolve, reject) => {
    if (child.stderr === null) return reject(new Error("no standard error"));
    createInterface({ input: child.stderr })
      .on("line", (line) => {
        if (line.includes(`"msg":"${message}"`)) resolve(JSON.parse(line));
      })
      .once("close", () => reject(new Error(`it ended and did not say: ${message}`)));
  });

export const launch = (args: readonly string[], options: RunOptions): ChildProcess => {
  const node = [process.execPath, ...(options.nodeArguments ?? []), MAIN, ...args];
  const { before } = options;
  const [program = "", ...words] =
    before === undefined ? node : ["bash", "-c", `${before} && exec "$@"`, "bash", ...node];
  return spawn(program, words, {
    cwd: options.cwd,
    env: cleanEnvironment(options.environment),
    stdio: ["pipe", "pipe", "pipe"],
  });
};

export const cleanEnvironment = (added: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  PATH: process.env["PATH"] ?? "",
  HOME: process.env["HOME"] ?? "",
  ...added,
});

export const finished = (child: ChildProcess): Promise<Finished> =>
  new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (chunk) => {
      stdout += String(chunk);
    });
    child.stderr?.on("data", (chunk) => {
      stderr += String(chunk);
    });
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve({ code: code ?? 128 + signalNumber(signal), stdout, stderr: withoutStalls(stderr) }),
    );
  });

/** How long a busy machine lets the program stand still is no part of what a test looks at. */
const withoutStalls = (stderr: string): string => stderr.replaceAll(/^.*"msg":"the event loop stood still"\}\n/gm, "");

const signalNumber = (signal: NodeJS.Signals | null): number =>
  signal === null ? 0 : (constants.signals[signal] ?? 0);
