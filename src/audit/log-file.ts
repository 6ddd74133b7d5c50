/**
 * One open audit file: where it ends, writing whole lines to it or nothing, and taking it up again. Knows bytes and
 * lines, not when to try again. Must never leave a part of a record behind where the file can be cut.
 */
import type { ChainHead, LineHash } from "./chain.ts";
import { GENESIS, parseLine } from "./chain.ts";
import { APPEND_FLAGS, type AuditFs, type FileStat, PRIVATE_MODE, statIfThere } from "./file-access.ts";
import { filesOfLog, rotatedPath, shiftFiles, surplusFiles } from "./log-files.ts";
import { continuesNote, cutNote, repairedStartNote, repairNote } from "./notes.ts";
import { findFirstSeq, findLogEnd, type LogEnd } from "./resume.ts";

/** Where to go on in a file. */
export interface Continuation {
  /** The record to chain to. */
  readonly head: ChainHead;
  /** Ends a line that stands open: a newline or nothing. */
  readonly lead: string;
  /** Reasons of the records that must come first. */
  readonly notes: readonly string[];
  /** Sequence number of the file's last record where that is less than was known; else undefined. */
  readonly cutAt: number | undefined;
}

/** A write that was not taken whole. `left` says where to go on where the part could not be taken back. */
export class ShortWrite extends Error {
  readonly code = "short write";
  readonly left: Continuation | undefined;

  constructor(left: Continuation | undefined, cause?: unknown) {
    super("short write", { cause });
    this.left = left;
  }
}

export interface LogFile {
  isOpen(): boolean;
  /** False for a device or FIFO: it can't be read back, cut, synced or rotated. */
  isRegular(): boolean;
  /** In `bytes`. */
  size(): number;
  /** Opens or makes the file and finds its end; goes on from `known` where the file has less. */
  open(known: ChainHead): Continuation;
  /** One write of whole lines, and a sync where `durable`. Throws when not all of it was done; then close. */
  write(bytes: Buffer, durable: boolean): void;
  sync(): void;
  /** True while the path still leads to this file and nobody else changed its length. */
  isIntact(): boolean;
  /** The record that the log will begin with once it is rotated; undefined where rotation deletes no file. */
  firstKept(keep: number): number | undefined;
  /** Makes the path free: this file becomes `.1`, and what would be older than `.keep` is deleted. */
  rotate(keep: number): void;
  close(): void;
}

const EMPTY: LogEnd = { head: GENESIS, torn: 0, open: false };

export const createLogFile = (fs: AuditFs, path: string, lineHash: LineHash): LogFile => {
  let fd: number | undefined;
  let regular = false;
  let identity: Pick<FileStat, "dev" | "ino"> = { dev: 0, ino: 0 };
  /** End of the last whole record. */
  let size = 0;

  const opened = (): number => {
    if (fd === undefined) throw new TypeError("the audit file is not open");
    return fd;
  };

  const endOfOlderFile = (): ChainHead => {
    const older = rotatedPath(path, 1);
    const stat = statIfThere(fs, older);
    return stat === undefined ? GENESIS : findLogEnd(fs, older, stat.size, lineHash).head;
  };

  const continueFrom = (known: ChainHead): Continuation => {
    const end = size === 0 ? EMPTY : findLogEnd(fs, path, size, lineHash);
    const hasRecord = end.head.seq > 0;
    const found = hasRecord ? end.head : endOfOlderFile();
    const cut = found.seq < known.seq;
    const head = cut ? known : found;
    const notes: string[] = [];
    if (end.torn > 0 && !hasRecord && head.seq > 0) notes.push(repairedStartNote(end.torn, head));
    else if (end.torn > 0) notes.push(repairNote(end.torn));
    if (cut && hasRecord) notes.push(cutNote(known, found));
    else if (!hasRecord && head.seq > 0 && end.torn === 0) notes.push(continuesNote(head));
    return { head, lead: end.open ? "\n" : "", notes, cutAt: cut ? found.seq : undefined };
  };

  /** Undoes a short write. What a device took stays: its whole records count, the rest is a torn line. */
  const takeBack = (bytes: Buffer, taken: number): Continuation | undefined => {
    if (taken === 0) return undefined;
    if (regular) {
      // Where someone else wrote meanwhile, cutting would take theirs; opening anew finds the torn line.
      if (fs.fstatSync(opened()).size === size + taken) fs.ftruncateSync(opened(), size);
      return undefined;
    }
    const text = bytes.toString("latin1");
    const whole = text.lastIndexOf("\n", taken - 1) + 1;
    const last = parseLine(text.slice(text.lastIndexOf("\n", whole - 2) + 1, Math.max(whole - 1, 0)));
    const torn = taken - whole;
    return {
      head: last ?? GENESIS,
      lead: torn > 0 ? "\n" : "",
      notes: torn > 0 ? [repairNote(torn + 1)] : [],
      cutAt: undefined,
    };
  };

  const shortWrite = (bytes: Buffer, taken: number): ShortWrite => {
    try {
      return new ShortWrite(takeBack(bytes, taken));
    } catch (error) {
      return new ShortWrite(undefined, error);
    }
  };

  /** What can't be made durable was not stored. */
  const syncOrTakeBack = (bytes: Buffer): void => {
    if (!regular) return;
    try {
      fs.fdatasyncSync(opened());
    } catch (error) {
      takeBack(bytes, bytes.length);
      throw error;
    }
  };

  return {
    isOpen: () => fd !== undefined,
    isRegular: () => regular,
    size: () => size,
    open(known) {
      const next = fs.openSync(path, APPEND_FLAGS, PRIVATE_MODE);
      fd = next;
      const stat = fs.fstatSync(next);
      identity = { dev: stat.dev, ino: stat.ino };
      regular = stat.isFile();
      size = regular ? stat.size : 0;
      if (!regular) return { head: known, lead: "", notes: [], cutAt: undefined };
      if ((stat.mode & 0o077) !== 0) fs.fchmodSync(next, PRIVATE_MODE);
      return continueFrom(known);
    },
    write(bytes, durable) {
      const taken = fs.writeSync(opened(), bytes);
      if (taken !== bytes.length) throw shortWrite(bytes, taken);
      if (durable) syncOrTakeBack(bytes);
      size += taken;
    },
    sync() {
      if (regular) fs.fdatasyncSync(opened());
    },
    isIntact() {
      const there = statIfThere(fs, path);
      return there?.ino === identity.ino && there.dev === identity.dev && there.size === size;
    },
    firstKept(keep) {
      const surplus = surplusFiles(path, keep);
      if (surplus.length === 0) return undefined;
      for (const kept of filesOfLog(path)) {
        const first = surplus.includes(kept) ? undefined : findFirstSeq(fs, kept);
        if (first !== undefined) return first;
      }
      return undefined;
    },
    rotate: (keep) => shiftFiles(fs, path, keep),
    close() {
      if (fd === undefined) return;
      const closing = fd;
      fd = undefined;
      fs.closeSync(closing);
    },
  };
};
