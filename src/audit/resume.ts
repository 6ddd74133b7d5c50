/**
 * Finds where a log ended, from its tail alone: the last whole record, checked under the key, and what stands behind
 * it. It must refuse rather than guess: a chain is never started anew over one that does not verify.
 */
import { SidekeyError } from "../core/errors.ts";
import { type ChainHead, GENESIS, type LineHash, parseLine } from "./chain.ts";
import { type AuditFs, READ_FLAGS } from "./file-access.ts";

export interface LogEnd {
  /** The last whole record; `GENESIS` when there is none. */
  readonly head: ChainHead;
  /** What stands behind it that is no record, in `bytes`, a closing newline that is still missing included. */
  readonly torn: number;
  /** True when the last byte is not a newline. */
  readonly open: boolean;
}

const FIRST_READ = 16 * 1024;
/** Records are below 64 KiB; a tail without one is damage, not a torn write. */
const LAST_READ = 1024 * 1024;

/**
 * @param size of the file, in `bytes`
 * Errors: AUDIT_KEY_UNREADABLE when the last record is not of this key, AUDIT_UNAVAILABLE when there is none near the
 * end; system errors as they are.
 */
export const findLogEnd = (fs: AuditFs, path: string, size: number, lineHash: LineHash): LogEnd => {
  for (let length = Math.min(size, FIRST_READ); ; length = Math.min(size, length * 8)) {
    const end = endOf(readTail(fs, path, size, length), length === size, path, lineHash);
    if (end !== undefined) return end;
    if (length >= LAST_READ)
      throw new SidekeyError("AUDIT_UNAVAILABLE", { detail: `${path} is damaged: no record near its end.` });
  }
};

/** Number of the first record of a file; undefined where there is none near its beginning. Checks no hash. */
export const findFirstSeq = (fs: AuditFs, path: string): number | undefined => {
  for (const line of readFrom(fs, path, 0, LAST_READ).split("\n")) {
    const seq = parseLine(line)?.seq;
    if (seq !== undefined) return seq;
  }
  return undefined;
};

const readTail = (fs: AuditFs, path: string, size: number, length: number): string =>
  readFrom(fs, path, size - length, length);

const readFrom = (fs: AuditFs, path: string, start: number, length: number): string => {
  const buffer = Buffer.alloc(length);
  const fd = fs.openSync(path, READ_FLAGS);
  try {
    let filled = 0;
    while (filled < length) {
      const n = fs.readSync(fd, buffer, filled, length - filled, start + filled);
      if (n === 0) break;
      filled += n;
    }
    return buffer.toString("latin1", 0, filled);
  } finally {
    fs.closeSync(fd);
  }
};

/** Undefined when the tail holds no whole record but more of the file stands before it. */
const endOf = (tail: string, whole: boolean, path: string, lineHash: LineHash): LogEnd | undefined => {
  const open = tail.length > 0 && !tail.endsWith("\n");
  let end = open ? tail.length : tail.length - 1;
  while (end > 0) {
    const start = tail.lastIndexOf("\n", end - 1) + 1;
    // The first piece of a partial tail may be the end of a line.
    if (start === 0 && !whole) return undefined;
    const line = parseLine(tail.slice(start, end));
    if (line !== undefined) {
      if (lineHash(line.open) !== line.hash) throw wrongKey(path, line.seq);
      const rest = tail.length - Math.min(end + 1, tail.length);
      return { head: { seq: line.seq, hash: line.hash }, torn: rest === 0 ? 0 : rest + (open ? 1 : 0), open };
    }
    end = start - 1;
  }
  if (!whole) return undefined;
  if (tail !== "" && !isTornStart(tail)) throw notALog(path);
  return { head: GENESIS, torn: tail.length + (open ? 1 : 0), open };
};

/** The only text without a whole record that we may have written ourselves: the beginning of a first one. */
const isTornStart = (tail: string): boolean => {
  const start = '{"seq":';
  const line = tail.replace(/\n$/, "");
  return !line.includes("\n") && (line.startsWith(start) || start.startsWith(line));
};

const notALog = (path: string): SidekeyError =>
  new SidekeyError("AUDIT_UNAVAILABLE", {
    detail: `${path} is not an audit log, or is damaged: it holds no record.`,
    hint: "Give another 'audit.path', or move the file away and keep it as evidence.",
  });

const wrongKey = (path: string, seq: number): SidekeyError =>
  new SidekeyError("AUDIT_KEY_UNREADABLE", {
    detail: `The last record of ${path} (${seq}) does not verify under this key.`,
    hint: "Restore the key the log was made with, or move the log away and keep it as evidence.",
  });
