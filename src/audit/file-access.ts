/**
 * The file system as the audit uses it: synchronous, and narrow enough that a test can script a full disk. Never the
 * asynchronous calls: they wait behind other jobs of libuv's pool (ruling 7: 3.2 s behind 8 busy ones).
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";

export interface FileStat {
  readonly dev: number;
  readonly ino: number;
  readonly mode: number;
  /** In `bytes`. */
  readonly size: number;
  isFile(): boolean;
}

export interface AuditFs {
  openSync(path: string, flags: number, mode?: number): number;
  /** Returns the bytes taken, which may be fewer than given. */
  writeSync(fd: number, bytes: Uint8Array): number;
  readSync(fd: number, into: Buffer, offset: number, length: number, position: number): number;
  fstatSync(fd: number): FileStat;
  fchmodSync(fd: number, mode: number): void;
  ftruncateSync(fd: number, length: number): void;
  fdatasyncSync(fd: number): void;
  closeSync(fd: number): void;
  statSync(path: string): FileStat;
  readFileSync(path: string, encoding: "utf8"): string;
  renameSync(from: string, to: string): void;
  /** A second name; fails where the name is taken. */
  linkSync(from: string, to: string): void;
  unlinkSync(path: string): void;
}

export const nodeAuditFs: AuditFs = {
  openSync,
  writeSync,
  readSync,
  fstatSync,
  fchmodSync,
  ftruncateSync,
  linkSync,
  fdatasyncSync,
  closeSync,
  statSync,
  readFileSync,
  renameSync,
  unlinkSync,
};

const { O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY, O_TRUNC } = constants;

/** O_NONBLOCK: a FIFO nobody reads fails instead of stopping the process. */
export const APPEND_FLAGS = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK;
export const READ_FLAGS = O_RDONLY | O_NONBLOCK;
const REPLACE_FLAGS = O_WRONLY | O_CREAT | O_TRUNC;
const CREATE_FLAGS = O_WRONLY | O_CREAT | O_EXCL;
export const PRIVATE_MODE = 0o600;

/** `ENOSPC` and the like: the part of a system error that may be shown. */
export const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error";

export const isAbsent = (error: unknown): boolean => errnoOf(error) === "ENOENT";

/** Undefined when there is nothing at the path; other errors are thrown. */
export const statIfThere = (fs: AuditFs, path: string): FileStat | undefined => {
  try {
    return fs.statSync(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

const writeWhole = (fs: AuditFs, path: string, flags: number, text: string): void => {
  const fd = fs.openSync(path, flags, PRIVATE_MODE);
  try {
    const bytes = Buffer.from(text, "latin1");
    if (fs.writeSync(fd, bytes) !== bytes.length) throw Object.assign(new Error(path), { code: "ENOSPC" });
  } finally {
    fs.closeSync(fd);
  }
};

/** Makes a file of its owner alone; fails where there is one. */
export const createWhole = (fs: AuditFs, path: string, text: string): void => writeWhole(fs, path, CREATE_FLAGS, text);

/** Replaces a file in one step, so that a reader sees the old one or the new one. */
export const replaceWhole = (fs: AuditFs, path: string, text: string): void => {
  const next = `${path}.tmp`;
  writeWhole(fs, next, REPLACE_FLAGS, text);
  fs.renameSync(next, path);
};
