/**
 * Takes secrets out of a response while it streams. Two rules it must never break:
 *
 * - When a byte is released depends on byte counts and line ends alone, never on what the other bytes are. Holding bytes
 *   back only while they look like a secret would tell, by timing, how much of a guess is right. So the last `longest - 1`
 *   bytes are always held, until more bytes, a line end or the end. A line ends with a line feed, in an event stream with a
 *   carriage return as well; one that some form contains (UTF-16 of a few scripts) releases nothing.
 * - The length stays the same, so that Content-Length is true although it was sent first.
 *
 * Held bytes stay as they came, because a longer form may still grow out of them; they are overwritten on release.
 */
import type { Matcher } from "./matcher.ts";

export interface ScrubberOptions {
  /** Body length, when known: its last byte is the end, and nothing is held behind it. */
  readonly contentLength?: number;
  /** Lines may end with a carriage return alone, as those of an event stream may. Default: no. */
  readonly endsLinesWithCr?: boolean;
}

export type Emit = (bytes: Buffer) => void;

export interface Scrubber {
  /** Takes over the chunk, which may be overwritten in place; `emit` is called at once, for zero or more buffers. */
  push(chunk: Buffer, emit: Emit): void;
  /** Looks for this from the next chunk on. What is held came before any of it was sent that was not looked for so far. */
  lookFor(matcher: Matcher): void;
  /** Releases what is held. */
  end(emit: Emit): void;
  /** Secrets taken out so far; overlapping ones count as one. */
  readonly reflected: number;
}

/** Offsets in the stream, half-open. */
interface Interval {
  readonly start: number;
  readonly end: number;
}

const LF = 0x0a;
const CR = 0x0d;
/** No byte. */
const NEVER = -1;
const EMPTY: Buffer = Buffer.alloc(0);
const MARK = Buffer.from("[redacted]", "latin1");
const FILL = 0x2a;
/**
 * Chunks up to this size are joined with the held bytes. Larger ones follow them as they came: both leave in one write
 * anyway, since an answer gathers what is said in one turn of the loop, and the copy would be for nothing. `bytes`
 */
const JOIN_BYTES = 4 * 1024;

export const createScrubber = (matcher: Matcher, options: ScrubberOptions = {}): Scrubber =>
  new StreamScrubber(matcher, options.contentLength ?? Number.POSITIVE_INFINITY, options.endsLinesWithCr === true);

/** A class because one is made for each response: an object literal with a getter costs more than a 1 KB body. */
class StreamScrubber implements Scrubber {
  #matcher: Matcher;
  readonly #contentLength: number;
  readonly #endsLinesWithCr: boolean;
  #hold: number;
  /** The bytes behind which everything may go. */
  #lineFeed: number;
  #carriageReturn: number;
  /** Raw bytes from offset `#released` on. */
  #held = EMPTY;
  #received = 0;
  #released = 0;
  /** The interval that was cut by the last release: its rest is in `#held`. */
  #cut: Interval | undefined;
  #reflected = 0;

  constructor(matcher: Matcher, contentLength: number, endsLinesWithCr: boolean) {
    this.#matcher = matcher;
    this.#contentLength = contentLength;
    this.#endsLinesWithCr = endsLinesWithCr;
    this.#hold = Math.max(0, matcher.longest - 1);
    this.#lineFeed = matcher.contains(LF) ? NEVER : LF;
    this.#carriageReturn = !endsLinesWithCr || matcher.contains(CR) ? NEVER : CR;
  }

  get reflected(): number {
    return this.#reflected;
  }

  push(chunk: Buffer, emit: Emit): void {
    if (chunk.length > 0) this.#advance(chunk, this.#received + chunk.length >= this.#contentLength, emit);
  }

  lookFor(matcher: Matcher): void {
    this.#matcher = matcher;
    this.#hold = Math.max(0, matcher.longest - 1);
    this.#lineFeed = matcher.contains(LF) ? NEVER : LF;
    this.#carriageReturn = !this.#endsLinesWithCr || matcher.contains(CR) ? NEVER : CR;
  }

  end(emit: Emit): void {
    if (this.#held.length > 0) this.#advance(EMPTY, true, emit);
  }

  #advance(chunk: Buffer, atEnd: boolean, emit: Emit): void {
    const held = this.#held;
    const hold = this.#hold;
    const from = this.#released;
    const end = this.#received + chunk.length;
    const release = atEnd ? end : Math.max(from, end - hold, this.#afterLastLine(chunk, end));

    const whole = held.length === 0 || chunk.length <= JOIN_BYTES;
    const head = whole ? join(held, chunk) : held;
    const tail = whole ? EMPTY : chunk;
    const matches = findAll(this.#matcher, head, tail, hold, from);
    if (this.#cut !== undefined) matches.push(this.#cut);
    if (matches.length > 0) this.#redact(merge(matches), head, tail, release);

    const count = release - from;
    const fromTail = Math.max(0, count - head.length);
    const fromHead = count - fromTail;
    this.#held =
      fromHead === head.length ? part(tail, fromTail, tail.length) : join(part(head, fromHead, head.length), tail);
    this.#received = end;
    this.#released = release;
    if (fromHead > 0) emit(part(head, 0, fromHead));
    if (fromTail > 0) emit(part(tail, 0, fromTail));
  }

  /** Offset behind the last line end of a chunk that ends at `end`, if it is among its last `hold` bytes; else 0. */
  #afterLastLine(chunk: Buffer, end: number): number {
    const lineFeed = this.#lineFeed;
    const carriageReturn = this.#carriageReturn;
    const first = Math.max(0, chunk.length - this.#hold);
    for (let i = chunk.length - 1; i >= first; i--) {
      const byte = chunk[i];
      if (byte === lineFeed || byte === carriageReturn) return end - (chunk.length - 1 - i);
    }
    return 0;
  }

  /** Overwrites what is about to be released; `head` begins at offset `#released`, and `tail` follows it. */
  #redact(intervals: readonly Interval[], head: Buffer, tail: Buffer, release: number): void {
    const from = this.#released;
    this.#cut = undefined;
    for (const interval of intervals) {
      if (interval.start >= release) break;
      if (interval.start >= from) this.#reflected++;
      overwrite(head, from, interval, release);
      overwrite(tail, from + head.length, interval, release);
      if (interval.end > release) this.#cut = interval;
    }
  }
}

/**
 * A header's name or value without its secrets, or undefined when it has none. The value itself is not changed. A name
 * that comes back scrubbed is no token any more: leave that header out.
 */
export const scrubValue = (matcher: Matcher, value: Buffer): Buffer | undefined => {
  const matches = findAll(matcher, value, EMPTY, 0, 0);
  if (matches.length === 0) return undefined;
  const clean = Buffer.from(value);
  for (const interval of merge(matches)) overwrite(clean, 0, interval, value.length);
  return clean;
};

/**
 * All matches in `head` followed by `tail`, as stream offsets; `base` is the offset of the first byte. The two are not
 * joined: the first `hold` bytes of the tail are enough to complete whatever begins in the head.
 */
const findAll = (matcher: Matcher, head: Buffer, tail: Buffer, hold: number, base: number): Interval[] => {
  const matches: Interval[] = [];
  const search = (bytes: Buffer, offset: number): void =>
    matcher.find(bytes, 0, bytes.length, (start, end) => matches.push({ start: offset + start, end: offset + end }));
  if (tail.length === 0) {
    search(head, base);
  } else {
    search(join(head, tail.subarray(0, hold)), base);
    search(tail, base + head.length);
  }
  return matches;
};

/** `bytes[from, to)`, without making a view of nothing or of everything: small bodies pass here whole. */
const part = (bytes: Buffer, from: number, to: number): Buffer => {
  if (from === to) return EMPTY;
  return from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
};

const join = (a: Buffer, b: Buffer): Buffer => {
  if (a.length === 0) return b;
  return b.length === 0 ? a : Buffer.concat([a, b]);
};

/** Sorted, and joined where they overlap: one secret inside another is one place in the text. */
const merge = (intervals: Interval[]): readonly Interval[] => {
  if (intervals.length === 1) return intervals;
  const merged: Interval[] = [];
  for (const next of intervals.sort((a, b) => a.start - b.start || b.end - a.end)) {
    const last = merged.at(-1);
    if (last === undefined || next.start >= last.end) merged.push(next);
    else if (next.end > last.end) merged[merged.length - 1] = { start: last.start, end: next.end };
  }
  return merged;
};

/** Writes the mark over an interval where it lies in `buffer`, whose first byte has `offset`, and before `limit`. */
const overwrite = (buffer: Buffer, offset: number, { start, end }: Interval, limit: number): void => {
  const to = Math.min(end, limit, offset + buffer.length);
  for (let at = Math.max(start, offset); at < to; at++) buffer[at - offset] = MARK[at - start] ?? FILL;
};
