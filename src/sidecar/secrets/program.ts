/** Where the program of an `exec` source is, found once: what runs must not depend on who asks, or on where from. */
import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";

export interface ProgramPlace {
  /** Absolute directory that a path with a `/` starts from. */
  readonly baseDir: string;
  /** PATH of the sidecar, for a bare name. Relative entries are passed over. */
  readonly searchPath: string | undefined;
}

/** For a PATH that is not set (execvp's own, without the working directory). */
const USUAL_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Absolute path of what `name` runs; undefined when there is no such program. */
export const findProgram = (name: string, { baseDir, searchPath = USUAL_PATH }: ProgramPlace): string | undefined => {
  const candidates = name.includes("/")
    ? [resolve(baseDir, name)]
    : searchPath
        .split(":")
        .filter(isAbsolute)
        .map((directory) => join(directory, name));
  return candidates.find(isProgram);
};

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
};
