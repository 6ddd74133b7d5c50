/** The last records of a log and those that come: for people who watch. Checks nothing; that is `verify`. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { isAbsent, nodeAuditFs, READ_FLAGS, statIfThere } from "./file-access.ts";
import { filesOfLog } from "./log-files.ts";

export interface TailOptions {
  readonly path: string;
  /** How many of the records that are there. */
  readonly last: number;
  /** Goes on with new records until `signal` aborts. */
  readonly follow: boolean;
  readonly signal?: AbortSignal;
  /** Between looks at the file, in `ms`. */
  readonly pollMs?: number;
}

/** Lines as they are stored, without newline, oldest first. Follows the log through rotation. */
export async function* tailAudit({ path, last, follow, signal, pollMs = 200 }: TailOptions): AsyncGenerator<string> {
  let file = openReader(path);
  try {
    const lines = file?.backwards(last) ?? [];
    yield* [...olderLines(path, last - lines.length), ...lines];
    while (follow && signal?.aborted !== true) {
      // Asked first: what is read after it is all that a file which was rotated away will ever hold.
      const current = file?.isCurrent() ?? false;
      if (file !== undefined) yield* file.forwards();
      if (!current) {
        file?.close();
        file = openReader(path);
      }
      if (current || file === undefined) await pause(pollMs, signal);
    }
  } finally {
    file?.close();
  }
}

interface Reader {
  /** The last `count` whole lines; moves to the end. */
  backwards(count: number): string[];
  /** Whole lines that are new since. */
  forwards(): Generator<string>;
  /** True while the path leads to this file. */
  isCurrent(): boolean;
  close(): void;
}

const CHUNK = 64 * 1024;

const openReader = (path: string): Reader | undefined => {
  const fd = openIfThere(path);
  if (fd === undefined) return undefined;
  const buffer = Buffer.alloc(CHUNK);
  const { ino, dev } = fstatSync(fd);
  let offset = 0;
  let rest = "";
  const read = (from: number, length: number): string =>
    buffer.toString("latin1", 0, readSync(fd, buffer, 0, length, from));
  return {
    backwards(count) {
      offset = fstatSync(fd).size;
      let text = "";
      let newlines = 0;
      for (let from = offset; from > 0 && newlines <= count; ) {
        const length = Math.min(CHUNK, from);
        from -= length;
        const piece = read(from, length);
        newlines += piece.split("\n").length - 1;
        text = piece + text;
      }
      const lines = text.split("\n");
      rest = lines.pop() ?? "";
      return count > 0 ? lines.slice(-count) : [];
    },
    *forwards() {
      if (fstatSync(fd).size < offset) {
        offset = 0;
        rest = "";
      }
      for (let piece = read(offset, CHUNK); piece !== ""; piece = read(offset, CHUNK)) {
        offset += piece.length;
        const lines = (rest + piece).split("\n");
        rest = lines.pop() ?? "";
        yield* lines;
      }
    },
    isCurrent() {
      const there = statIfThere(nodeAuditFs, path);
      return there?.ino === ino && there.dev === dev;
    },
    close: () => closeSync(fd),
  };
};

const openIfThere = (path: string): number | undefined => {
  try {
    return openSync(path, READ_FLAGS);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

/** The last lines of the rotated files, as many as the current file lacks. */
const olderLines = (path: string, count: number): string[] => {
  let lines: string[] = [];
  for (const older of filesOfLog(path).reverse()) {
    if (older === path || lines.length >= count) continue;
    const file = openReader(older);
    if (file === undefined) continue;
    lines = [...file.backwards(count - lines.length), ...lines];
    file.close();
  }
  return lines;
};

const pause = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  }
};
