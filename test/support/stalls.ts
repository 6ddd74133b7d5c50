/** Time that this process wanted and did not get: for tests that hold a promised time on a machine that does other work. */

export interface Stalls {
  /** `performance.now()` without the stalls so far. `ms` */
  now(): number;
  stop(): void;
}

/** `ms` */
const EVERY = 5;

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
