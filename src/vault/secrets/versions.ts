/**
 * Which versions of a secret may be read, and which are remembered. Clocks are set back, and those of two replicas differ:
 * what was closed must not open again with one.
 */
import type { EpochMs } from "../../core/clock.ts";
import type { MetaVersion } from "./metadata.ts";
import type { SecretVersion } from "./types.ts";

/** Of versions that are not read any more, the dates of the last ones stay. */
const MAX_REMEMBERED = 100;
/** The row of a secret that is written each minute would grow without an end, and each write costs as much as the row. */
const MAX_VERSIONS = 1000;
/** For this long the value of a closed version is kept, sealed, to be found in what upstreams send back (ruling 3). `ms` */
const SOUGHT_FOR_MS = 10 * 60_000;

/** A rotation put an end to it that has come, or had when a later version was written: its value may be gone since. */
export const isClosed = (
  { version, readableUntil }: SecretVersion,
  all: readonly SecretVersion[],
  now: EpochMs,
): boolean =>
  readableUntil !== undefined &&
  (readableUntil <= now || all.some((other) => other.version > version && other.createdAt >= readableUntil));

/** Of one that is closed: its value may be looked for, never used. Not once a clock was set back before its end. */
export const isSought = ({ readableUntil }: SecretVersion, now: EpochMs): boolean =>
  readableUntil !== undefined && readableUntil <= now && now < soughtUntil(readableUntil);

export const soughtUntil = (readableUntil: EpochMs): EpochMs => readableUntil + SOUGHT_FOR_MS;

export const isExpired = ({ expiresAt }: SecretVersion, now: EpochMs): boolean =>
  expiresAt !== undefined && expiresAt <= now;

/** Those that have to go before one more comes, the oldest: first of what is not read any more, then of all. */
export const beyondLimits = (all: readonly MetaVersion[], now: EpochMs): readonly MetaVersion[] => {
  if (all.length <= MAX_REMEMBERED) return [];
  const over = all.filter((known) => isClosed(known, all, now) || isExpired(known, now));
  const forgotten = new Set(over.slice(0, Math.max(0, over.length - MAX_REMEMBERED)));
  const left = all.filter((known) => !forgotten.has(known));
  return [...forgotten, ...left.slice(0, Math.max(0, left.length + 1 - MAX_VERSIONS))];
};
