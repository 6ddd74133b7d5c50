/** Time that this process wanted and did not get: for tests that hold a promised time on a machine that does other work. */
import { setTimeout as pause } from "node:timers/promises";

export interface Stalls {
  /** `performance.now()` without the stalls so far. `ms` */
  now(): number;
  stop(): void;
}

/** `ms` */
const EVERY = 5;

/** Looks until it is so. Rejects when this process had `ms` for it, and it was not. */
export const within = async (stalls: Stalls, ms: number, isSo: () => unknown): Promise<void> => {
  for (const began = stalls.now(); !(await isSo()); await pause(EVERY)) {
    if (stalls.now() - began > ms) throw new Error(`not within ${ms} ms`);
  }
};

/** Counts by how much a short interval comes late, which also is what the sidecar of the same process waits for. */
export const watchStalls = (): Stalls => {
  let stalled = 0;
  let last = performance.now();
  const look = (): void => {
    const now = performance.now();
    stalled += Math.max(0, now - last - EVERY);
    last = now;
  };
  const timer = setInterval(look, EVERY);
  return {
    now() {
      look();
      return last - stalled;
    },
    stop: () => clearInterval(timer),
  };
};
