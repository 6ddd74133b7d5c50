/**
 * The wording of records about the log itself. `verify` reads these words back, so that writer and reader share them;
 * such a record counts only because its own hash does.
 */
import type { ChainHead } from "./chain.ts";

/** First record of a file that does not begin the chain: after rotation, or where a file was taken away. */
export const continuesNote = ({ seq, hash }: ChainHead): string => `continues ${seq} ${hash}`;

/** As above, where the file that is there ends before what was written to it. */
export const cutNote = (expected: ChainHead, found: ChainHead): string =>
  `continues ${expected.seq} ${expected.hash}, file ended at ${found.seq}`;

/** Last record of a file before older ones are deleted: the log begins with this record from now on. */
export const keepsNote = (first: number): string => `keeps from ${first}`;

/** First record after the pieces of one that a crash or a full disk tore. `bytes` counts all between two records. */
export const repairNote = (bytes: number): string => `repaired torn line of ${bytes} bytes`;

/** The two in one, where they are the first of a file: a crash in the middle of them must not part them. */
export const repairedStartNote = (bytes: number, head: ChainHead): string =>
  `${repairNote(bytes)}, ${continuesNote(head)}`;

export const resumedNote = (refused: number, cause: string): string =>
  `resumed after ${refused} refused records, ${cause}`;

/** The number of bytes that a repair note answers for. */
export const repairedBytes = (reason: string): number | undefined => {
  const [, bytes] = /^repaired torn line of ([0-9]+) bytes(?:$|,)/.exec(reason) ?? [];
  return bytes === undefined ? undefined : Number(bytes);
};

export const continuesFrom = (reason: string): ChainHead | undefined => {
  const [, seq, hash] =
    /^(?:repaired torn line of [0-9]+ bytes, )?continues ([0-9]+) ([A-Za-z0-9_-]{43})(?:$|,)/.exec(reason) ?? [];
  return seq === undefined || hash === undefined ? undefined : { seq: Number(seq), hash };
};

/** The number that a note of `keepsNote` names, from a line whose hash was checked: quotes in a text are escaped. */
export const keptFrom = (line: string): number | undefined => {
  if (!line.includes(KEEPS)) return undefined;
  const [, first] = /"type":"admin","reason":"keeps from ([1-9][0-9]{0,15})",/.exec(line) ?? [];
  return first === undefined ? undefined : Number(first);
};

const KEEPS = '"type":"admin","reason":"keeps from ';
