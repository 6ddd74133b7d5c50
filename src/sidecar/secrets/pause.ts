/** How long a source is left alone after a failure. */
import type { SidekeyError } from "../../core/errors.ts";

/** Missing, forbidden, no credential: the answer is likely the same in a moment. `ms` */
const REFUSED_MS = 1_000;
const FIRST_MS = 100;
/** An outage: as long as anybody asks, it must be over within 2 s of the source's return (guarantees.md R1). `ms` */
const OUTAGE_MS = 1_800;
/** A source that asked for time, or that still owes the answer before. `ms` */
const LONGEST_MS = 30_000;

/** The source could not say; what it said before may still hold. */
export const isOutage = ({ code }: SidekeyError): boolean =>
  code === "SOURCE_UNAVAILABLE" || code === "SOURCE_BAD_VALUE";

export interface Attempts {
  /** Failed ones in a row, this one included. */
  readonly count: number;
  /** The last one was given up and is still not answered. */
  readonly hangs: boolean;
  /** 0 to 1, evenly. */
  readonly random: () => number;
}

/** `ms` */
export const pauseAfter = (error: SidekeyError, { count, hangs, random }: Attempts): number => {
  if (error.code !== "SOURCE_UNAVAILABLE") return REFUSED_MS;
  const longest = hangs ? LONGEST_MS : OUTAGE_MS;
  // Doubled, at most; jittered, so that many sidecars don't ask at once (and never earlier than half).
  const pause = Math.min(FIRST_MS * 2 ** Math.min(count - 1, 16), longest) * (0.5 + random() / 2);
  return error.retryAfter === undefined ? pause : Math.max(pause, Math.min(error.retryAfter * 1000, LONGEST_MS));
};
