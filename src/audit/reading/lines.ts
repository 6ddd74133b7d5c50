/**
 * Bytes to lines for those who read logs. Latin-1, so that every byte of a damaged log stays what it is, and bounded:
 * a log is evidence that someone else may have written.
 */
import { createReadStream } from "node:fs";

export interface RawLine {
  /** Without its newline; one character a byte; cut at `LONGEST_LINE`. */
  readonly text: string;
  /** Newline included. */
  readonly bytes: number;
  /** False for the end of a file that has no newline. */
  readonly ended: boolean;
}

/** In `bytes`; records stay below 64 KiB. */
export const LONGEST_LINE = 256 * 1024;

/** Calls `take` for each line as long as it returns true. */
export const eachLine = async (
  chunks: AsyncIterable<Uint8Array | string>,
  take: (line: RawLine) => boolean,
): Promise<void> => {
  let text = "";
  let bytes = 0;
  const add = (piece: string): void => {
    bytes += piece.length;
    if (text.length < LONGEST_LINE) text += piece;
  };
  for await (const chunk of chunks) {
    const piece = typeof chunk === "string" ? Buffer.from(chunk).toString("latin1") : latin1(chunk);
    let from = 0;
    for (let end = piece.indexOf("\n"); end !== -1; end = piece.indexOf("\n", from)) {
      add(piece.slice(from, end));
      if (!take({ text, bytes: bytes + 1, ended: true })) return;
      text = "";
      bytes = 0;
      from = end + 1;
    }
    add(piece.slice(from));
  }
  if (bytes > 0) take({ text, bytes, ended: false });
};

const latin1 = ({ buffer, byteOffset, byteLength }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("latin1");

export const fileChunks = (path: string): AsyncIterable<Uint8Array> =>
  createReadStream(path, { highWaterMark: 1 << 18 });
