/**
 * Signals that would end `run` while its program is not there to take them: on the way up and on the way down. By default
 * they end a process at once, and what it holds at a vault would stay good. The first one is remembered, for a way out in
 * order; the second ends the process.
 */
import { constants } from "node:os";
import { EXIT_SIGNAL_BASE } from "../exit.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const satisfies readonly NodeJS.Signals[];

export interface StopWatch {
  /** Exit code of the signal that came first; undefined: none has. */
  readonly exitCode: number | undefined;
  /** While this is under way signals are the program's. */
  leaveTo<T>(program: () => Promise<T>): Promise<T>;
}

/** From here to the end of the process. */
export const watchForStop = (exit: (code: number) => void = process.exit): StopWatch => {
  let exitCode: number | undefined;
  let isLeft = false;
  const came = (signal: NodeJS.Signals): void => {
    if (isLeft) return;
    const code = EXIT_SIGNAL_BASE + constants.signals[signal];
    if (exitCode !== undefined) exit(code);
    else exitCode = code;
  };
  for (const signal of SIGNALS) process.on(signal, came);
  return {
    get exitCode() {
      return exitCode;
    },
    async leaveTo(program) {
      isLeft = true;
      try {
        return await program();
      } finally {
        isLeft = false;
      }
    },
  };
};
