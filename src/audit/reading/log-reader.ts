/**
 * Reads a log line by line, oldest first, over its rotated files, in bounded memory and without a promise for each
 * line: a log may have a gigabyte. Checks nothing; that is `verify`. It must never miss a file that is rotated while it
 * reads, and never read from a device or a FIFO.
 */
import { closeSync, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { isAbsent, nodeAuditFs, READ_FLAGS, statIfThere } from "../file-access.ts";
import { filesOfLog } from "../log-files.ts";
import { LONGEST_LINE } from "./lines.ts";

/** A line as it is stored, Latin-1: one character a byte. */
export interface StoredLine {
  /** Without its newline; cut at `LONGEST_LINE`. */
  readonly text: string;
  /** False for the end of a file that has no newline. */
  readonly ended: boolean;
  /** The file it was found in, by the name it had then. */
  readonly file: string;
  /** In that file, from 1. */
  readonly number: number;
}

export interface LogReader {
  /** Undefined at the end. */
  next(): StoredLine | undefined;
  close(): void;
}

const CHUNK = 256 * 1024;
const TAIL = 64 * 1024;
/** Snapshots of a row of files before taking one in which something moved. */
const ATTEMPTS = 10;

/** `time` of a line in the form of a record, or nothing. ISO 8601, so that text order is time order. */
export const timeOf = (line: string): string => {
  const at = line.startsWith('{"seq":') ? line.indexOf('"time":"') : -1;
  return at === -1 || at > 32 ? "" : line.slice(at + 8, line.indexOf('"', at + 8));
};

/** Undefined where there is nothing, or no file that keeps what is written to it. */
export const openLogFile = (path: string): { readonly fd: number; readonly stat: Stats } | undefined => {
  try {
    const fd = openSync(path, READ_FLAGS);
    const stat = fstatSync(fd);
    if (stat.isFile()) return { fd, stat };
    closeSync(fd);
    return undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

export interface OpenFile {
  readonly fd: number;
  readonly name: string;
  readonly stat: Stats;
}

/** The files of a log, oldest first. Opened newest first, and again where a rotation came between: a file that moves on is met twice and never missed. */
export const openLogFiles = (path: string): OpenFile[] => {
  for (let attempt = 1; ; attempt++) {
    const files: OpenFile[] = [];
    for (const name of filesOfLog(path).reverse()) {
      const opened = openLogFile(name);
      if (opened !== undefined) files.push({ ...opened, name });
    }
    const newest = files[0];
    const now = statIfThere(nodeAuditFs, path);
    const isSettled = newest === undefined ? now === undefined || !now.isFile() : now?.ino === newest.stat.ino;
    if (isSettled || attempt === ATTEMPTS) return files.reverse();
    for (const { fd } of files) closeSync(fd);
  }
};

const lastTimeOf = ({ fd, stat }: OpenFile): string => {
  const length = Math.min(stat.size, TAIL);
  const buffer = Buffer.alloc(length);
  const text = buffer.toString("latin1", 0, readSync(fd, buffer, 0, length, stat.size - length));
  return (
    text
      .split("\n")
      .map(timeOf)
      .findLast((time) => time !== "") ?? ""
  );
};

/** Ended before `since` by what its last record and its own date say: both must, for either may be wrong. */
export const isOlderFile = (file: OpenFile, since: string): boolean =>
  file.stat.mtimeMs < Date.parse(since) && lastTimeOf(file) < since;

/**
 * @param since ISO 8601: files that ended before it are left out, but for one, which may hold the intent of an outcome
 * that comes later
 */
export const openLogReader = (path: string, since?: string): LogReader => {
  let files = openLogFiles(path);
  if (since !== undefined) {
    const older = files.findIndex((file) => !isOlderFile(file, since));
    const from = older === -1 ? files.length : Math.max(0, older - 1);
    for (const { fd } of files.slice(0, from)) closeSync(fd);
    files = files.slice(from);
  }
  const buffer = Buffer.allocUnsafe(CHUNK);
  let text = "";
  let from = 0;
  let offset = 0;
  let number = 0;

  const nextFile = (): void => {
    const done = files.shift();
    if (done !== undefined) closeSync(done.fd);
    text = "";
    from = 0;
    offset = 0;
    number = 0;
  };

  return {
    next() {
      for (let file = files[0]; file !== undefined; file = files[0]) {
        const end = text.indexOf("\n", from);
        if (end !== -1) {
          const line = text.slice(from, Math.min(end, from + LONGEST_LINE));
          from = end + 1;
          return { text: line, ended: true, file: file.name, number: ++number };
        }
        const rest = text.slice(from, from + LONGEST_LINE);
        const read = readSync(file.fd, buffer, 0, CHUNK, offset);
        offset += read;
        from = 0;
        text = rest + buffer.toString("latin1", 0, read);
        if (read > 0) continue;
        const last = { text: rest, ended: false, file: file.name, number: number + 1 };
        nextFile();
        if (rest !== "") return last;
      }
      return undefined;
    },
    close() {
      while (files.length > 0) nextFile();
    },
  };
};

/** The time of a log's first record; nothing where it has none. */
export const firstTimeOf = (path: string): string => {
  const [oldest] = filesOfLog(path);
  const opened = oldest === undefined ? undefined : openLogFile(oldest);
  if (opened === undefined) return "";
  try {
    const buffer = Buffer.alloc(Math.min(opened.stat.size, TAIL));
    return timeOf(buffer.toString("latin1", 0, readSync(opened.fd, buffer, 0, buffer.length, 0)));
  } finally {
    closeSync(opened.fd);
  }
};
