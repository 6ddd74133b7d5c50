/**
 * Reads a log from its first record to its last and says where the chain breaks. The numbers it names are those the
 * records should have had, so that a record that was dropped is named by its own number. It believes nothing that its
 * hash does not prove.
 */
import { type ChainHead, createLineHash, GENESIS_HASH, parseLine } from "../chain.ts";
import { nodeAuditFs } from "../file-access.ts";
import { readHead } from "../head.ts";
import { type AuditLog, filesOfLog } from "../log-files.ts";
import { continuesFrom, keptFrom, repairedBytes } from "../notes.ts";
import { eachLine, fileChunks, type RawLine } from "./lines.ts";

export interface IntactLog {
  readonly ok: true;
  /** Number of the first record: above 1 where older files were rotated away. Undefined in an empty log. */
  readonly first: number | undefined;
  readonly last: ChainHead | undefined;
  readonly records: number;
  /** True when the record that the head names is there; false without a head. */
  readonly anchored: boolean;
  /** At the end, of a record that was being written or that a crash tore; the next start repairs it. */
  readonly tornBytes: number;
}

/**
 * `malformed`: not a record. `hash`: changed, or of another key. `sequence`: a record is missing, or not in its place.
 * `previous`: authentic, but of another chain. `truncated`: the log ends before its head. `head`: not the record the
 * head names.
 */
export type BreakCause = "malformed" | "hash" | "sequence" | "previous" | "truncated" | "head";

export interface BrokenLog {
  readonly ok: false;
  /** Sequence number of the first record that is not as it was written. */
  readonly bad: number;
  readonly cause: BreakCause;
  /** A sentence for the operator. */
  readonly detail: string;
  /** Good records before it. */
  readonly records: number;
}

export type AuditVerdict = IntactLog | BrokenLog;

export interface VerifyOptions {
  readonly key: Buffer;
  /**
   * What `audit.head` says; without it a log that was cut at its end can't be told from a shorter one. `unreadable`:
   * something is there, and it is no head.
   */
  readonly head?: ChainHead | "unreadable" | undefined;
  /** True for a part of a log that was handed on: it may begin and end anywhere, and in between it must be whole. */
  readonly excerpt?: boolean | undefined;
  /** Told now and then how many records were good. */
  readonly onProgress?: ((records: number) => void) | undefined;
}

/** Records between two calls of `onProgress`: some tenths of a second. */
const PROGRESS_EVERY = 25_000;

export interface VerifyFiles extends VerifyOptions {
  /** Oldest first. */
  readonly files: readonly string[];
}

export interface VerifyStream extends VerifyOptions {
  readonly stream: AsyncIterable<Uint8Array | string>;
}

/** System errors of the files are thrown as they are. */
export const verifyAudit = async (options: VerifyFiles | VerifyStream): Promise<AuditVerdict> => {
  const verifier = createVerifier(options);
  const streams = "files" in options ? options.files.map(fileChunks) : [options.stream];
  for (const stream of streams) {
    verifier.nextFile();
    await eachLine(stream, verifier.take);
  }
  return verifier.finish();
};

/** Verifies a log with its rotated files and its head. */
export const verifyLog = (
  log: AuditLog,
  key: Buffer,
  onProgress?: VerifyOptions["onProgress"],
): Promise<AuditVerdict> =>
  verifyAudit({
    files: filesOfLog(log.path),
    key,
    head: readHead(nodeAuditFs, log.headPath) ?? "unreadable",
    onProgress,
  });

interface Verifier {
  nextFile(): void;
  /** False once the chain is broken. */
  take(line: RawLine): boolean;
  finish(): AuditVerdict;
}

const createVerifier = ({ key, head: given, excerpt = false, onProgress }: VerifyOptions): Verifier => {
  const head = given === "unreadable" ? undefined : given;
  const lineHash = createLineHash(key);
  let records = 0;
  let first: number | undefined;
  let last: ChainHead | undefined;
  let broken: BrokenLog | undefined;
  /** Bytes since the last record that are no record. */
  let torn = 0;
  let tornAtEnd = false;
  let anchored = false;
  /** What the log itself says it begins with: rotation puts it on record before it deletes a file. */
  let begins = 1;

  const breakAt = (bad: number, cause: BreakCause, detail: string): false => {
    broken ??= { ok: false, bad, cause, detail, records };
    return false;
  };

  const checkTorn = (note: string, seq: number): boolean => {
    if (torn === 0 || repairedBytes(note) === torn) {
      torn = 0;
      return true;
    }
    const bad = last === undefined ? Math.max(1, seq - 1) : last.seq + 1;
    return breakAt(bad, "malformed", `Where record ${bad} should stand there is no record.`);
  };

  const checkFirst = (seq: number, prev: string, note: string): boolean => {
    if (excerpt || (seq === 1 && prev === GENESIS_HASH)) return true;
    const from = continuesFrom(note);
    if (from?.seq === seq - 1 && from.hash === prev) return true;
    return breakAt(begins, "sequence", `The log begins with record ${seq}, which is not the first of a file.`);
  };

  const take = ({ text, bytes, ended }: RawLine): boolean => {
    if (broken !== undefined) return false;
    const line = parseLine(text);
    if (line === undefined) {
      torn += bytes;
      tornAtEnd = !ended;
      return true;
    }
    const { seq, prev, hash } = line;
    const expected = last === undefined ? (prev === GENESIS_HASH ? 1 : seq) : last.seq + 1;
    if (lineHash(line.open) !== hash)
      return breakAt(expected, "hash", `Record ${expected} was changed, or was not written with this key.`);
    const note = torn > 0 || last === undefined ? noteOf(text) : "";
    if (last === undefined && !checkFirst(seq, prev, note)) return false;
    if (!checkTorn(note, seq)) return false;
    if (seq !== expected)
      return breakAt(expected, "sequence", `Where record ${expected} should stand there is record ${seq}.`);
    if (last !== undefined && prev !== last.hash)
      return breakAt(expected, "previous", `Record ${expected} does not follow the one before it.`);
    if (head?.seq === seq && head.hash !== hash)
      return breakAt(seq, "head", `Record ${seq} is not the one that the head names.`);
    if (head?.seq === seq) anchored = true;
    begins = Math.max(begins, keptFrom(text) ?? 0);
    first ??= seq;
    last = { seq, hash };
    records += 1;
    if (records % PROGRESS_EVERY === 0) onProgress?.(records);
    return true;
  };

  return {
    nextFile() {
      tornAtEnd = false;
    },
    take,
    finish() {
      if (broken !== undefined) return broken;
      const end = last?.seq ?? 0;
      if (torn > 0 && !tornAtEnd)
        breakAt(end + 1, "malformed", `Where record ${end + 1} should stand there is no record.`);
      else if (!excerpt && first !== undefined && first > begins)
        breakAt(begins, "sequence", `The records ${begins} to ${first - 1} are missing: no rotation deleted them.`);
      else if (given === "unreadable")
        breakAt(end + 1, "head", `Its head cannot be read, so nothing tells whether record ${end + 1} was removed.`);
      else if (head !== undefined && end < head.seq)
        breakAt(end + 1, "truncated", `The log is truncated after ${end}: its head names record ${head.seq}.`);
      return broken ?? { ok: true, first, last, records, anchored, tornBytes: torn };
    },
  };
};

/** The reason of an `admin` record whose hash was checked; else nothing. */
const noteOf = (text: string): string => {
  const record: unknown = JSON.parse(text);
  if (typeof record !== "object" || record === null || !("type" in record) || !("reason" in record)) return "";
  return record.type === "admin" && typeof record.reason === "string" ? record.reason : "";
};
