/** `sidekey vault serve` as a process of its own, and what the end-to-end tests do to it. */
import { createInterface } from "node:readline";
import { type Finished, finished, launch, type RunOptions } from "../program.ts";

export interface RunningVault {
  readonly pid: number;
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  readonly end: Promise<Finished>;
  stop(signal?: NodeJS.Signals): Promise<Finished>;
}

/** Runs `sidekey vault serve ARGS` until its ready line. Rejects with what it wrote when it ends before that. */
export const serveVault = async (args: readonly string[], options: RunOptions): Promise<RunningVault> => {
  const child = launch(["vault", "serve", ...args], options);
  child.stdin?.end();
  const end = finished(child);
  const ready = await new Promise<{ readonly pid: number; readonly address: string }>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("no standard output"));
    const prefix = "sidekey vault ready ";
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith(prefix)) resolve(JSON.parse(line.slice(prefix.length)));
    });
    end.then(({ code, stderr }) => reject(new Error(`vault serve ended with ${code}:\n${stderr}`)), reject);
  });
  return {
    ...ready,
    end,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return end;
    },
  };
};
