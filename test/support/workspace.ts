/** A directory for one test: a place to run the program in, gone afterwards. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endProcessesIn } from "./processes.ts";
import { type Finished, type RunOptions, sidekey } from "./program.ts";

export interface Workspace {
  readonly path: string;
  /** Absolute path of a name in it. */
  at(name: string): string;
  write(name: string, text: string): string;
  /** Runs `sidekey ARGS` in it. */
  sidekey(args: readonly string[], options?: Omit<RunOptions, "cwd">): Promise<Finished>;
  /** With whatever still runs in it: a test ends with a failure, or at a program's last word, as well as at its end. */
  remove(): void;
}

export const createWorkspace = (): Workspace => {
  const path = mkdtempSync(join(tmpdir(), "sidekey-e2e-"));
  const at = (name: string): string => join(path, name);
  return {
    path,
    at,
    write(name, text) {
      // As under the usual umask: `start` refuses a file that the group may write.
      writeFileSync(at(name), text, { mode: 0o644 });
      return at(name);
    },
    sidekey: (args, options = {}) => sidekey(args, { cwd: path, ...options }),
    remove() {
      endProcessesIn(path);
      rmSync(path, { recursive: true, force: true });
    },
  };
};
