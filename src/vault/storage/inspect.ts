/**
 * A look at an LMDB data file before LMDB maps it: a truncated file would end the process with SIGBUS, a broken page with
 * SIGSEGV, and a broken list of free pages would spoil the store with the next write. Reads only, and must never decide
 * on a file that another process is just changing: it looks again.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { SidekeyError } from "../../core/errors.ts";
import { checkPages, Damage, type Meta, type ReadAt, readMeta } from "./pages.ts";

/** Looks at a file that stands still. */
const ATTEMPTS = 4;
/** Looks at one that is written to all the while. */
const MOVING_ATTEMPTS = 200;
const PAUSE_MS = 25;

interface Look {
  /** Undefined: nothing is wrong. */
  readonly finding: string | undefined;
  /** Commits came while it was looked at, so what was found may be two states in one. */
  readonly moving: boolean;
}

/** Returns when there is no file, or one that LMDB can map. Errors: VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const inspectDataFile = async (path: string): Promise<void> => {
  let still = 0;
  for (let attempt = 0; attempt < MOVING_ATTEMPTS; attempt += 1) {
    const { finding, moving } = examine(path);
    if (finding === undefined) return;
    if (!moving) still += 1;
    if (still === ATTEMPTS) throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `${path}: ${finding}.` });
    // A file that is just being made is empty for an instant.
    await pause(moving ? 1 : PAUSE_MS);
  }
  // Another process has committed two hundred times meanwhile: LMDB gets on with this file.
};

const WHOLE: Look = { finding: undefined, moving: false };

/** In one go: the shorter it takes, the less another process can do meanwhile. */
const examine = (path: string): Look => {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT") return WHOLE;
    throw new SidekeyError("VAULT_STORE_BUSY", { detail: `${path} cannot be read (${String(code)}).`, cause: error });
  }
  const read: ReadAt = (position, length) => {
    const buffer = Buffer.allocUnsafe(length);
    return readSync(fd, buffer, 0, length, position) === length ? buffer : undefined;
  };
  let meta: Meta | undefined;
  try {
    const { size } = fstatSync(fd);
    if (size === 0) throw new Damage("it is empty");
    meta = readMeta(read);
    checkPages(read, meta, size);
    return WHOLE;
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
    return { finding: error.message, moving: meta !== undefined && hasMoved(read, meta) };
  } finally {
    closeSync(fd);
  }
};

const hasMoved = (read: ReadAt, { txnid }: Meta): boolean => {
  try {
    return readMeta(read).txnid !== txnid;
  } catch (error) {
    if (error instanceof Damage) return true;
    throw error;
  }
};
