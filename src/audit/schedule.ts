/** Turns and ticks, passed in so that no test waits. Ticks never keep the process alive. */

export interface Schedule {
  /** Runs once, at the end of this turn of the event loop. */
  soon(run: () => void): void;
  /** Runs every `ms` until the returned function is called. */
  every(ms: number, run: () => void): () => void;
}

export const systemSchedule: Schedule = {
  soon: (run) => {
    setImmediate(run);
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms).unref();
    return () => clearInterval(timer);
  },
};
