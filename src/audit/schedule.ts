/** Turns and ticks, passed in so that no test waits. Ticks never keep the process alive. */

import { atTurnEnd } from "../core/turn-end.ts";

export interface Schedule {
  /** Runs once, at the end of this turn of the event loop. */
  soon(run: () => void): void;
  /** Runs once, `ms` from now; what waits for it is in no hurry. */
  after(ms: number, run: () => void): void;
  /** Runs every `ms` until the returned function is called. */
  every(ms: number, run: () => void): () => void;
}

export const systemSchedule: Schedule = {
  soon: (run) => atTurnEnd({ turnEnds: run }),
  after: (ms, run) => {
    setTimeout(run, ms);
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms).unref();
    return () => clearInterval(timer);
  },
};
