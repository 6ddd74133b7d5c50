/**
 * The state directory: vault, keys, CA and audit live in it, so it is the owner's alone, and git never sees it. It must
 * never be taken over from somebody else: a directory that others can write is refused, not mended.
 */
import { chmodSync, mkdirSync, type Stats, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SidekeyError } from "./errors.ts";

const PRIVATE = 0o700;
const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;

/**
 * Makes `directory` (and its parents) when it is not there, with mode 0700 and a `.gitignore` of `*`. One that is there
 * is closed to others when it was readable. Errors: CONFIG_INVALID.
 */
export const prepareStateDirectory = (directory: string): void => {
  try {
    mkdirSync(directory, { recursive: true, mode: PRIVATE });
    check(directory, statSync(directory));
    ignoreInGit(directory);
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `The state directory ${directory} cannot be used (${systemCode(error)}).`,
      hint: "Choose a directory you own with 'state:' in sidekey.yaml.",
      cause: error,
    });
  }
};

const check = (directory: string, found: Stats): void => {
  if (!found.isDirectory()) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `The state directory ${directory} is not a directory.`,
      hint: "Choose another with 'state:' in sidekey.yaml.",
    });
  }
  const uid = process.getuid?.();
  // Root is trusted everywhere, but must not trust: what another user owns, that user can change under root's hands.
  if (uid !== undefined && found.uid !== uid && found.uid !== 0) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `The state directory ${directory} belongs to another user (uid ${found.uid}).`,
      hint: "Run this as that user, or choose a directory you own with 'state:' in sidekey.yaml.",
    });
  }
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `The state directory ${directory} can be written by others (mode ${modeText(found)}).`,
      hint: `Look at what is in it, then: chmod 700 ${directory}`,
    });
  }
  if ((found.mode & OPEN_TO_OTHERS) !== 0) chmodSync(directory, PRIVATE);
};

const ignoreInGit = (directory: string): void => {
  try {
    // wx: a .gitignore that is there already is the user's and stays.
    writeFileSync(join(directory, ".gitignore"), "*\n", { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
};

const modeText = (found: Stats): string => (found.mode & 0o777).toString(8).padStart(4, "0");

const systemCode = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
