/**
 * Runs one program for its standard output. No shell; its own process group, so that what it starts ends with it. Must
 * never put anything that it wrote into an error: either stream may hold the secret.
 */
import { type ChildProcess, spawn } from "node:child_process";

export interface ProgramRun {
  /** Absolute. */
  readonly program: string;
  readonly args: readonly string[];
  /** All of its environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly directory: string;
  /** More standard output than this ends it. `bytes` */
  readonly maxBytes: number;
  /** `ms` */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export type ProgramEnd =
  | { readonly kind: "exit"; readonly code: number; readonly output: Buffer; readonly errorBytes: number }
  | { readonly kind: "signal"; readonly signal: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "too much" }
  /** It could not be started; `code` as the system has it. */
  | { readonly kind: "unstarted"; readonly code: string };

/** `started`: told of the child, until it has ended. */
export const runProgram = (run: ProgramRun, started: (kill: () => void) => () => void): Promise<ProgramEnd> =>
  new Promise((resolve) => {
    const { program, args, environment, directory, maxBytes, timeoutMs, signal } = run;
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        cwd: directory,
        env: environment,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
      });
    } catch (error) {
      resolve({ kind: "unstarted", code: codeOf(error) });
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    let errorBytes = 0;
    let over = false;

    const kill = (): void => killGroup(child);
    const ended = started(kill);
    const finish = (end: ProgramEnd): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
      ended();
      if (end.kind === "timeout" || end.kind === "too much") kill();
      // Whoever still holds their other ends does not hold us.
      child.stdout?.destroy();
      child.stderr?.destroy();
      for (const chunk of chunks) chunk.fill(0);
      resolve(end);
    };
    const giveUp = (): void => finish({ kind: "timeout" });
    const timer = setTimeout(giveUp, timeoutMs);
    signal?.addEventListener("abort", giveUp);

    child.stdout?.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > maxBytes) finish({ kind: "too much" });
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      errorBytes += chunk.length;
    });
    child.on("error", (error) => finish({ kind: "unstarted", code: codeOf(error) }));
    // Both streams have ended, too: a program that left a child behind with them is waited for until the timeout.
    child.on("close", (code, endedBy) => {
      if (code === null) finish({ kind: "signal", signal: endedBy ?? "unknown" });
      else finish({ kind: "exit", code, output: Buffer.concat(chunks), errorBytes });
    });
  });

const killGroup = ({ pid }: ChildProcess): void => {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // All of it has ended already.
    if (codeOf(error) !== "ESRCH") throw error;
  }
};

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
