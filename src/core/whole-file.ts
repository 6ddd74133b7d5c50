/**
 * Small files that are written whole or not at all, and read only when they are plain files: keys, certificates. Never
 * through something that stands in a file's place, and never over what is there unless that is asked for.
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { link, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Of those that hold a key. */
export const PRIVATE_MODE = 0o600;
const OTHERS = 0o077;

/** What stands at a path is not to be used: `reason` follows the path in a sentence. */
export class FileFault extends Error {
  readonly reason: string;
  /** Others could have read it. */
  readonly isOpenToOthers: boolean;

  constructor(path: string, reason: string, isOpenToOthers = false) {
    super(`${path} ${reason}`);
    this.name = "FileFault";
    this.reason = reason;
    this.isOpenToOthers = isOpenToOthers;
  }
}

/** Puts a whole file at `path` in one step; false when something is already there, which stays as it is. */
export const publishFile = (path: string, text: string, mode: number): Promise<boolean> =>
  withDraft(path, text, mode, async (draft) => {
    try {
      await link(draft, path);
      return true;
    } catch (error) {
      if (systemCode(error) === "EEXIST") return false;
      throw error;
    }
  });

/** Puts a whole file at `path` in one step, in the place of what is there; `check` may refuse the draft before that. */
export const replaceFile = (
  path: string,
  text: string,
  mode: number,
  check: (draft: string) => Promise<void> = async () => {},
): Promise<void> =>
  withDraft(path, text, mode, async (draft) => {
    await check(draft);
    await rename(draft, path);
  });

/** A new name in `directory` is on disk after this. */
export const syncDirectory = async (directory: string): Promise<void> => {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Whose a file is to be. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ReplaceNow extends Ownership {
  /** Beside the file. What stands there goes first: a file of another user's would be read by him. */
  readonly draft: string;
  /** Throws where the file must stay as it is; just before it would be replaced. */
  readonly check?: () => void;
}

/**
 * The old content or the new, also after `kill -9` or a power loss; on disk when it returns. Synchronous, for who holds a
 * lock meanwhile. `path`: without links. Nothing is left of the draft when it throws.
 */
export const replaceFileNow = (path: string, content: string | Buffer, options: ReplaceNow): void => {
  const { draft, mode, uid, gid, check } = options;
  try {
    rmSync(draft, { force: true });
    const file = openSync(draft, "wx", PRIVATE_MODE);
    try {
      writeFileSync(file, content);
      if (uid !== process.getuid?.() || gid !== process.getgid?.()) fchownSync(file, uid, gid);
      fchmodSync(file, mode);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    check?.();
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
};

const withDraft = async <T>(
  path: string,
  text: string,
  mode: number,
  place: (draft: string) => Promise<T>,
): Promise<T> => {
  // A name that nobody can guess, and never through a link: the directory may be open to others.
  const draft = `${path}.${randomUUID()}`;
  try {
    const file = await open(draft, "wx", mode);
    try {
      // The umask may have taken bits from the mode given to open.
      await file.chmod(mode);
      const owner = await ownerToBe(path);
      if (owner !== undefined) await file.chown(owner.uid, owner.gid);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    return await place(draft);
  } finally {
    await rm(draft, { force: true });
  }
};

/** Root makes files for the directory's owner: what it writes there must not lock the sidecar out. */
const ownerToBe = async (path: string): Promise<{ readonly uid: number; readonly gid: number } | undefined> => {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = await stat(dirname(path));
  return uid === 0 ? undefined : { uid, gid };
};

export interface ReadLimits {
  /** `bytes` */
  readonly maxBytes: number;
  /** Refused when group or others have any right to it. */
  readonly isPrivate: boolean;
}

/** Undefined only when nothing is there. Judged on the file that was opened. Errors: FileFault. */
export const readWholeFile = async (path: string, limits: ReadLimits): Promise<string | undefined> => {
  try {
    // Non-blocking, so that a FIFO put in its place can't hang the start.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { mode, size } = await file.stat();
      if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new FileFault(path, "is not a regular file");
      if (size > limits.maxBytes) throw new FileFault(path, "is too large");
      if (limits.isPrivate && (mode & OTHERS) !== 0) {
        throw new FileFault(path, `is open to other users (mode ${(mode & 0o777).toString(8)})`, true);
      }
      return await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof FileFault) throw error;
    const code = systemCode(error);
    if (code === "ENOENT") return undefined;
    throw new FileFault(path, `cannot be read (${code})`);
  }
};

/** `ENOSPC` and the like: the part of a system error that may be shown. */
export const systemCode = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error";
