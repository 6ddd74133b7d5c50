/** Time, passed in wherever it decides something, so that no test waits. */

/** Milliseconds since 1970. */
export type EpochMs = number;

export interface Clock {
  /** Wall clock: records and token lifetimes. */
  now(): EpochMs;
  /** Monotonic milliseconds: durations and timeouts. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
