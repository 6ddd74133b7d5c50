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

/** First record after the pieces of one that a crash or a full disk tore. `bytes` counts all between two records. */
export const repairNote = (bytes: number): string => `repaired torn line of ${bytes} bytes`;

export const resumedNote = (refused: number, cause: string): string =>
  `resumed after ${refused} refused records, ${cause}`;

/** The number of bytes that a repair note answers for. */
export const repairedBytes = (reason: string): number | undefined => {
  const [, bytes] = /^repaired torn line of ([0-9]+) bytes$/.exec(reason) ?? [];
  return bytes === undefined ? undefined : Number(bytes);
};

export const continuesFrom = (reason: string): ChainHead | undefined => {
  const [, seq, hash] = /^continues ([0-9]+) ([A-Za-z0-9_-]{43})(?:$|,)/.exec(reason) ?? [];
  return seq === undefined || hash === undefined ? undefined : { seq: Number(seq), hash };
};
