/**
 * The program under `run`: started with our streams in our process group, told the signals that came to us alone,
 * stopped and continued as one job with us, and its end turned into an exit code.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { EXIT_FAILED, EXIT_RUN_NOT_EXECUTABLE, EXIT_RUN_NOT_FOUND, EXIT_SIGNAL_BASE } from "../exit.ts";
import { stoppedByTerminal } from "./job.ts";

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
    // All before the child is there: it may say that it is ready while we are still on our way to the next line, and a
    // signal that came in between would be lost. No listener runs before `child` is set.
    for (const signal of IGNORED) listen(signal, () => {});
    for (const signal of FORWARDED) listen(signal, () => void child.kill(signal));
    // The shell gives its prompt back when the whole job has stopped, and we are the part that it waits for.
    listen("SIGCHLD", () => {
      if (child.pid !== undefined && stoppedByTerminal(child.pid)) process.kill(process.pid, "SIGSTOP");
    });
    // `fg` continues both; whoever continues us alone means the program.
    listen("SIGCONT", () => void child.kill("SIGCONT"));
    const child = spawn(program, args, { env: { ...env }, stdio: "inherit" });
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
