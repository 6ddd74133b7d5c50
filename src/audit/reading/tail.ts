/** The last records of logs and those that come: for people who watch. Checks nothing; that is `verify`. */
import { closeSync, fstatSync, readSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { nodeAuditFs, statIfThere } from "../file-access.ts";
import { filesOfLog, rotatedPath } from "../log-files.ts";
import { openLogFile, timeOf } from "./log-reader.ts";

export interface TailOptions {
  /** Paths of the logs; asked again at every look, so that one which begins later is followed from its beginning. */
  readonly logs: () => readonly string[];
  /** How many of the records that are there, over all logs. */
  readonly last: number;
  /** Goes on with new records until `signal` aborts. */
  readonly follow: boolean;
  readonly signal?: AbortSignal;
  /** Between looks at the files, in `ms`. */
  readonly pollMs?: number;
}

/** Lines as they are stored, without newline, in the order of their times. Follows each log through rotation. */
export async function* tailAudit(options: TailOptions): AsyncGenerator<string> {
  const { logs, last, follow, signal, pollMs = 200 } = options;
  const tails = new Map<string, LogTail>();
  try {
    for (const path of logs()) tails.set(path, openTail(path));
    const before = inOrder([...tails.values()].map((tail) => tail.last(last)));
    yield* last === 0 ? [] : before.slice(-last);
    while (follow && signal?.aborted !== true) {
      for (const path of logs()) if (!tails.has(path)) tails.set(path, openTail(path));
      const lines = inOrder([...tails.values()].map((tail) => tail.more()));
      yield* lines;
      if (lines.length === 0) await pause(pollMs, signal);
    }
  } finally {
    for (const tail of tails.values()) tail.close();
  }
}

interface LogTail {
  /** The last `count` whole lines there are; `more` begins behind them. */
  last(count: number): string[];
  /** Whole lines that are new since, or at first all; a piece of them where there are many. */
  more(): string[];
  close(): void;
}

const CHUNK = 64 * 1024;
/** Of one log at one look, in `bytes`. */
const PIECE = 4 * 1024 * 1024;
const ATTEMPTS = 10;

const openTail = (path: string): LogTail => {
  let file = openReader(path);
  return {
    last(count) {
      const lines = file?.backwards(count) ?? [];
      return [...olderLines(path, file, count - lines.length), ...lines];
    },
    more() {
      const lines: string[] = [];
      file ??= openReader(path);
      while (file !== undefined) {
        // Asked first: what is read after it is all that a file which was rotated away will ever hold.
        const isCurrent = file.isAt(path);
        if (!file.forwards(lines) || isCurrent) break;
        const next = successorOf(path, file);
        if (next === undefined) break;
        file.close();
        file = next;
      }
      return lines;
    },
    close: () => file?.close(),
  };
};

interface Reader {
  /** The last `count` whole lines; moves to the end. */
  backwards(count: number): string[];
  /** Adds whole lines that are new since; false when it stopped before the end. */
  forwards(lines: string[]): boolean;
  /** True while the path leads to this file. */
  isAt(path: string): boolean;
  close(): void;
}

const openReader = (path: string): Reader | undefined => {
  const opened = openLogFile(path);
  if (opened === undefined) return undefined;
  const { fd, stat } = opened;
  const buffer = Buffer.alloc(CHUNK);
  let offset = 0;
  let rest = "";
  const read = (from: number, length: number): string =>
    buffer.toString("latin1", 0, readSync(fd, buffer, 0, length, from));
  return {
    backwards(count) {
      offset = fstatSync(fd).size;
      const pieces: string[] = [];
      let newlines = 0;
      for (let from = offset; from > 0 && newlines <= count; ) {
        const length = Math.min(CHUNK, from);
        from -= length;
        const piece = read(from, length);
        newlines += piece.split("\n").length - 1;
        pieces.push(piece);
      }
      const lines = pieces.reverse().join("").split("\n");
      rest = lines.pop() ?? "";
      return count > 0 ? lines.slice(-count) : [];
    },
    forwards(lines) {
      if (fstatSync(fd).size < offset) {
        offset = 0;
        rest = "";
      }
      const end = offset + PIECE;
      for (let piece = read(offset, CHUNK); piece !== ""; piece = read(offset, CHUNK)) {
        offset += piece.length;
        const whole = (rest + piece).split("\n");
        rest = whole.pop() ?? "";
        for (const line of whole) lines.push(line);
        if (offset >= end) return false;
      }
      return true;
    },
    isAt(where) {
      const there = statIfThere(nodeAuditFs, where);
      return there?.ino === stat.ino && there.dev === stat.dev;
    },
    close: () => closeSync(fd),
  };
};

/** The file that came after one that was rotated away: not always the current one, where they are small. */
const successorOf = (path: string, file: Reader): Reader | undefined => {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const place = placeOf(path, file);
    const next = openReader(place === undefined || place <= 1 ? path : rotatedPath(path, place - 1));
    // A rotation in between moved them all on by one.
    if (next === undefined || placeOf(path, file) === place) return next;
    next.close();
  }
  return undefined;
};

/** Its age in the row; undefined when it is gone. */
const placeOf = (path: string, file: Reader): number | undefined => {
  for (let age = 1; statIfThere(nodeAuditFs, rotatedPath(path, age)) !== undefined; age++)
    if (file.isAt(rotatedPath(path, age))) return age;
  return undefined;
};

/** The last lines of the rotated files, as many as the current file lacks. */
const olderLines = (path: string, current: Reader | undefined, count: number): string[] => {
  let lines: string[] = [];
  for (const older of filesOfLog(path).reverse()) {
    // Also where it became an older one just now.
    if (older === path || lines.length >= count || current?.isAt(older) === true) continue;
    const file = openReader(older);
    if (file === undefined) continue;
    lines = [...file.backwards(count - lines.length), ...lines];
    file.close();
  }
  return lines;
};

/** Each log is in order; among logs the time decides. */
const inOrder = (logs: readonly (readonly string[])[]): string[] => {
  const lines: { readonly line: string; readonly time: string }[] = [];
  for (const log of logs) {
    let time = "";
    for (const line of log) {
      time = timeOf(line) || time;
      lines.push({ line, time });
    }
  }
  if (logs.filter((log) => log.length > 0).length > 1)
    lines.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  return lines.map(({ line }) => line);
};

const pause = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  }
};
