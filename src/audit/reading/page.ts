/**
 * One page of a log, newest record first, and how many records there are, for logs of any size: a page without a filter
 * is found by its sequence numbers and read alone. Rotated files don't change, so what was counted in one is kept.
 * Checks nothing; that is `verify`.
 */
import { closeSync } from "node:fs";
import { isOlderFile, type OpenFile, openLogFiles } from "./log-reader.ts";
import { firstRecord, lastSeq, offsetAfter, piecesBackwards } from "./pieces.ts";
import { createRecordTest, isRecordLine, type RecordFilter, type RecordTest } from "./record-filter.ts";

export interface PageRequest {
  /** From 1. */
  readonly page: number;
  readonly limit: number;
  readonly filter: RecordFilter;
}

export interface AuditPage {
  /** As they are stored, newest first. */
  readonly lines: readonly string[];
  /** Records that match, of those that rotation left. */
  readonly total: number;
}

export interface AuditPages {
  /** System errors of the files as they are; an AbortError once `signal` is. */
  read(request: PageRequest, signal?: AbortSignal): Promise<AuditPage>;
}

/** Counts kept, of one file and one filter each. */
const MAX_COUNTS = 1000;

export const createAuditPages = (path: string): AuditPages => {
  const counts = new Map<string, number>();

  const keep = (key: string, count: number): void => {
    if (counts.size >= MAX_COUNTS) counts.clear();
    counts.set(key, count);
  };

  return {
    async read({ page, limit, filter }, signal) {
      const test = createRecordTest(filter);
      const skip = (page - 1) * limit;
      const files = openLogFiles(path);
      try {
        if (test.all) return await numbered(files, skip, limit, signal);
        const row = createRow(skip, limit);
        for (const [age, file] of [...files].reverse().entries()) {
          if (filter.since !== undefined && isOlderFile(file, filter.since)) break;
          const key = `${keyOf(file)} ${test.name}`;
          const known = age === 0 ? undefined : counts.get(key);
          if (known !== undefined && !row.reaches(known)) {
            row.pass(known);
            continue;
          }
          const before = row.total();
          await take(file, file.stat.size, test, row, signal);
          if (age > 0) keep(key, row.total() - before);
        }
        return { lines: row.lines, total: row.total() };
      } finally {
        for (const { fd } of files) closeSync(fd);
      }
    },
  };
};

const keyOf = ({ stat: { dev, ino, size, mtimeMs } }: OpenFile): string => `${dev} ${ino} ${size} ${mtimeMs}`;

/** Matching records from the newest on; it keeps those of the page. */
const createRow = (skip: number, limit: number) => {
  const lines: string[] = [];
  let seen = 0;
  return {
    lines,
    total: () => seen,
    /** True where some of the next `count` are of the page. */
    reaches: (count: number): boolean => lines.length < limit && seen + count > skip,
    isFull: (): boolean => lines.length >= limit,
    pass(count: number): void {
      seen += count;
    },
    add(line: string): void {
      // A copy: a slice would keep the whole piece of the file alive that it was cut from.
      if (seen >= skip && lines.length < limit) lines.push(Buffer.from(line, "latin1").toString("latin1"));
      seen += 1;
    },
  };
};

type Row = ReturnType<typeof createRow>;

const take = async (
  file: OpenFile,
  end: number,
  test: Pick<RecordTest, "mayHold" | "matches">,
  row: Row,
  signal: AbortSignal | undefined,
  untilFull = false,
): Promise<void> => {
  for await (const piece of piecesBackwards(file, end)) {
    signal?.throwIfAborted();
    if (!test.mayHold(piece)) continue;
    for (let to = piece.endsWith("\n") ? piece.length - 1 : piece.length; to > 0; ) {
      const from = piece.lastIndexOf("\n", to - 1) + 1;
      const line = piece.slice(from, to);
      if (test.matches(line)) row.add(line);
      if (untilFull && row.isFull()) return;
      to = from - 1;
    }
  }
};

const ANY = { mayHold: () => true, matches: isRecordLine };

/** Without a filter: the chain numbers its records without a gap. */
const numbered = async (
  files: readonly OpenFile[],
  skip: number,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<AuditPage> => {
  const newestFirst = [...files].reverse();
  const ends: { readonly file: OpenFile; readonly first: number }[] = [];
  for (const file of newestFirst) {
    const place = await firstRecord(file);
    if (place !== undefined) ends.push({ file, first: place.seq });
  }
  const newest = ends[0];
  const last = newest === undefined ? undefined : await lastSeq(newest.file);
  const first = ends.at(-1)?.first;
  if (last === undefined || first === undefined) return { lines: [], total: 0 };
  const row = createRow(0, limit);
  const wanted = last - skip;
  for (const { file, first: begins } of ends) {
    if (row.isFull() || wanted < first) break;
    if (begins > wanted) continue;
    await take(file, await offsetAfter(file, wanted), ANY, row, signal, true);
  }
  return { lines: row.lines, total: last - first + 1 };
};
