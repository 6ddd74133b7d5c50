/** Starts a program for `doctor` and waits for its end, for a time: it and what it started are gone afterwards. */
import { spawn } from "node:child_process";

export interface Call {
  readonly program: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute. */
  readonly directory: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface CallEnd {
  /** Undefined: it could not be started, was killed, or did not end in time. */
  readonly code: number | undefined;
  readonly timedOut: boolean;
  /** Of both streams, at most 64 KiB. */
  readonly output: string;
}

/** Kept of what it prints. `bytes` */
const MAX_OUTPUT = 64 * 1024;

export const call = ({ program, args, environment, directory, timeoutMs, signal }: Call): Promise<CallEnd> =>
  new Promise((resolve) => {
    let output = "";
    let timedOut = false;
    // A group of its own, so that what it started ends with it.
    const child = spawn(program, args, {
      cwd: directory,
      env: environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended, and nothing of it is left.
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    signal.addEventListener("abort", kill);
    const keep = (chunk: Buffer): void => {
      if (output.length < MAX_OUTPUT) output += chunk.toString("utf8").slice(0, MAX_OUTPUT - output.length);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const finish = (code: number | undefined): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
      // What it left running holds its streams open.
      kill();
      resolve({ code, timedOut, output });
    };
    child.once("error", () => finish(undefined));
    child.once("exit", (code) => {
      // What it wrote last may still be on its way; what it left running must not be waited for.
      const left = setTimeout(() => finish(code ?? undefined), 200);
      child.once("close", () => {
        clearTimeout(left);
        finish(code ?? undefined);
      });
    });
    if (signal.aborted) kill();
  });
