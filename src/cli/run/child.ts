/**
 * The program under `run`: started with our streams in our process group, told the signals that came to us alone, and
 * its end turned into an exit code.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { EXIT_FAILED, EXIT_RUN_NOT_EXECUTABLE, EXIT_RUN_NOT_FOUND, EXIT_SIGNAL_BASE } from "../exit.ts";

/** A terminal sends these to the whole group: the child has them already, and decides. */
const IGNORED = ["SIGINT", "SIGQUIT", "SIGTSTP"] as const satisfies readonly NodeJS.Signals[];
const FORWARDED = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const satisfies readonly NodeJS.Signals[];

export interface ChildEnd {
  readonly exitCode: number;
  /** Why it could not be started: the system's word. */
  readonly failure?: string;
}

/** Resolves when the child has ended, or could not be started. */
export const runChild = (
  [program = "", ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ChildEnd> =>
  new Promise((resolve) => {
    const listeners: [NodeJS.Signals, () => void][] = [];
    const listen = (signal: NodeJS.Signals, listener: () => void): void => {
      process.on(signal, listener);
      listeners.push([signal, listener]);
    };
    const finish = (end: ChildEnd): void => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
      resolve(end);
    };
    // Before the child is there, so that no signal finds a moment in between.
    for (const signal of IGNORED) listen(signal, () => {});
    const child = spawn(program, args, { env: { ...env }, stdio: "inherit" });
    for (const signal of FORWARDED) listen(signal, () => void child.kill(signal));
    child.on("error", (error: NodeJS.ErrnoException) => {
      // A signal that could not be delivered is no end.
      if (child.pid !== undefined) return;
      const failure = error.code ?? "unknown";
      finish({ exitCode: failure === "ENOENT" ? EXIT_RUN_NOT_FOUND : EXIT_RUN_NOT_EXECUTABLE, failure });
    });
    child.on("exit", (code, signal) => finish({ exitCode: exitCodeOf(code, signal) }));
  });

const exitCodeOf = (code: number | null, signal: NodeJS.Signals | null): number => {
  if (code !== null) return code;
  return signal === null ? EXIT_FAILED : EXIT_SIGNAL_BASE + constants.signals[signal];
};
