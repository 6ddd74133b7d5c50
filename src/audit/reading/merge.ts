/**
 * The lines of several logs as one row in the order of their times. Each log is read in its own order, which is that of
 * its chain; only among logs the time decides. A log is opened when its turn comes, so that thousands of old runs cost
 * no open files.
 */
import { firstTimeOf, type LogReader, openLogReader, type StoredLine, timeOf } from "./log-reader.ts";

export interface MergedLine extends StoredLine {
  /** Path of the log it belongs to. */
  readonly log: string;
  /** Of the record; where a line is none, of the one before it. */
  readonly time: string;
}

interface Cursor {
  readonly log: string;
  readonly reader: LogReader;
  head: MergedLine;
}

/** @param since see `openLogReader` */
export function* mergeLogs(paths: readonly string[], since?: string): Generator<MergedLine> {
  const waiting = paths
    .map((log) => ({ log, first: firstTimeOf(log) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const open: Cursor[] = [];

  const read = (log: string, reader: LogReader, time: string): MergedLine | undefined => {
    const line = reader.next();
    return line === undefined ? undefined : { ...line, log, time: timeOf(line.text) || time };
  };

  try {
    while (waiting.length > 0 || open.length > 0) {
      const cursor = earliest(open);
      const next = waiting[0];
      if (next !== undefined && (cursor === undefined || next.first <= cursor.head.time)) {
        waiting.shift();
        const reader = openLogReader(next.log, since);
        const head = read(next.log, reader, next.first);
        if (head === undefined) reader.close();
        else open.push({ log: next.log, reader, head });
        continue;
      }
      if (cursor === undefined) continue;
      // As long as no other log is due, without looking at them all again.
      const others = open.filter((other) => other !== cursor).map(({ head }) => head.time);
      const until = [...others, ...waiting.slice(0, 1).map(({ first }) => first)].sort()[0];
      for (let { head } = cursor; ; ) {
        yield head;
        const following = read(cursor.log, cursor.reader, head.time);
        if (following === undefined) {
          cursor.reader.close();
          open.splice(open.indexOf(cursor), 1);
          break;
        }
        head = following;
        cursor.head = head;
        if (until !== undefined && head.time >= until) break;
      }
    }
  } finally {
    for (const { reader } of open) reader.close();
  }
}

const earliest = (open: readonly Cursor[]): Cursor | undefined => {
  let found: Cursor | undefined;
  for (const cursor of open) if (found === undefined || cursor.head.time < found.head.time) found = cursor;
  return found;
};
