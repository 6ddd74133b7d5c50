/** Says when the event loop stood still: everything here shares one thread, so a stall is everybody's latency. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Closable } from "../../core/closer.ts";
import type { Log } from "../../core/log.ts";

/** A stall worth a line in the log, `ms`. */
const STALL_MS = 200;
const LOOK_EVERY_MS = 1_000;
/** Of the delay sampler, `ms`. Its own timer, so not finer than needed. */
const RESOLUTION_MS = 50;

export const startWatchdog = (log: Log): Closable => {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const timer = setInterval(() => {
    const stallMs = Math.round(delay.max / 1e6) - RESOLUTION_MS;
    delay.reset();
    if (stallMs > STALL_MS) log.warn("the event loop stood still", { stallMs });
  }, LOOK_EVERY_MS).unref();
  return {
    close() {
      clearInterval(timer);
      delay.disable();
    },
  };
};
