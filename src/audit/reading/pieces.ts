/**
 * Reads an open log file in pieces of whole lines, from either end, and finds a record by its number without reading the
 * file. For a server: it waits for the disk aside and leaves room between two pieces, so that nobody else waits long.
 */
import { read as readCallback } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { LONGEST_LINE } from "./lines.ts";
import type { OpenFile } from "./log-reader.ts";
import { isRecordLine, seqOf } from "./record-filter.ts";

const readFd = promisify(readCallback);

/** In `bytes`: some tenths of a millisecond to go through. */
const PIECE = 128 * 1024;
/** A few records. */
const STEP = 8 * 1024;

/** Bytes from `start` on, Latin-1; fewer at the end of the file. */
const readAt = async (fd: number, start: number, length: number): Promise<string> => {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await readFd(fd, buffer, filled, length - filled, start + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.toString("latin1", 0, filled);
};

/**
 * Whole lines that end at or before `end`, the last piece first; each ends with a newline, but for the end of a file
 * that has none. A line that is longer than any record is left out.
 *
 * @param end offset behind a line
 */
export async function* piecesBackwards({ fd }: OpenFile, end: number): AsyncGenerator<string> {
  let rest = "";
  for (let to = end; to > 0; ) {
    const from = Math.max(0, to - PIECE);
    const text = (await readAt(fd, from, to - from)) + rest;
    to = from;
    // The first line may begin before this piece.
    const whole = from === 0 ? 0 : text.indexOf("\n") + 1;
    rest = text.slice(0, whole);
    if (from > 0 && whole === 0) rest = text;
    if (rest.length > LONGEST_LINE) rest = "";
    if (from === 0 || whole > 0) yield text.slice(whole);
    await nextTurn();
  }
}

/** Whole lines from `start` on, the first piece first, up to where the file ended when it was opened. */
export async function* piecesForwards({ fd, stat }: OpenFile, start: number): AsyncGenerator<string> {
  let rest = "";
  for (let from = start; from < stat.size; from += PIECE) {
    const text = rest + (await readAt(fd, from, Math.min(PIECE, stat.size - from)));
    const whole = text.lastIndexOf("\n") + 1;
    rest = text.slice(whole);
    if (rest.length > LONGEST_LINE) rest = "";
    if (whole > 0) yield text.slice(0, whole);
    await nextTurn();
  }
}

export interface Place {
  readonly seq: number;
  /** Where its line begins. */
  readonly offset: number;
}

/** The first record that begins at `from` or later; undefined where there is none. */
const firstFrom = async ({ fd, stat }: OpenFile, from: number): Promise<Place | undefined> => {
  // One byte earlier, so that a line that begins just here is seen to.
  let start = Math.max(0, from - 1);
  let isLineStart = from === 0;
  let rest = "";
  for (let at = start; at < stat.size; at += STEP) {
    const text = rest + (await readAt(fd, at, Math.min(STEP, stat.size - at)));
    let line = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", line)) {
      const seq = isLineStart ? seqOf(text.slice(line, line + 32)) : undefined;
      if (seq !== undefined) return { seq, offset: start + line };
      isLineStart = true;
      line = end + 1;
    }
    rest = text.slice(line);
    start += line;
  }
  return undefined;
};

export const firstRecord = (file: OpenFile): Promise<Place | undefined> => firstFrom(file, 0);

export const lastSeq = async (file: OpenFile): Promise<number | undefined> => {
  for await (const piece of piecesBackwards(file, file.stat.size)) {
    const lines = piece.split("\n");
    for (let i = lines.length - 1; i >= 0; i--) {
      const line = lines[i] ?? "";
      const seq = isRecordLine(line) ? seqOf(line) : undefined;
      if (seq !== undefined) return seq;
    }
  }
  return undefined;
};

/** Where the first record that is after `seq` begins; the file's size where there is none. */
export const offsetAfter = async (file: OpenFile, seq: number): Promise<number> => {
  let low = 0;
  let high = file.stat.size;
  // All that begin before `low` are up to `seq`; what begins at `high` or later is after it.
  while (high - low > STEP) {
    const middle = low + Math.floor((high - low) / 2);
    const place = await firstFrom(file, middle);
    if (place === undefined || place.offset >= high) high = middle;
    else if (place.seq <= seq) low = place.offset + 1;
    else high = middle;
  }
  for (let from = low; ; ) {
    const place = await firstFrom(file, from);
    if (place === undefined) return file.stat.size;
    if (place.seq > seq) return place.offset;
    from = place.offset + 1;
  }
};
