/** How a server in the foreground is told to end. */
import { constants } from "node:os";
import { EXIT_SIGNAL_BASE } from "./exit.ts";

/** The first TERM or INT; the second ends the process at once. */
export const stopSignal = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    let asked = false;
    const stop = (signal: NodeJS.Signals): void => {
      if (asked) process.exit(EXIT_SIGNAL_BASE + constants.signals[signal]);
      asked = true;
      resolve(signal);
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
