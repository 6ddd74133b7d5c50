/**
 * Goes through all rows of a store from time to time while it is open. A store that others can write to past Sidekey could
 * be given back an old row; each row is as good as before, and only the sum over all of them tells.
 */
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";

export interface BackgroundCheckOptions {
  /** Errors: VAULT_STORE_DAMAGED ends the checks; others pass. */
  verify(): Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  /** About so often, so that not all processes of a store do it at once; default 5 minutes. `ms` */
  readonly everyMs?: number;
  /** From 0 to 1. */
  readonly random?: () => number;
}

const EVERY_MS = 5 * 60_000;
/** A large store is looked at less often: at most one hundredth of the time. */
const SHARE = 100;

/** Keeps no process alive. */
export const startBackgroundCheck = ({
  verify,
  clock,
  log,
  everyMs = EVERY_MS,
  random = Math.random,
}: BackgroundCheckOptions): { close(): Promise<void> } => {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  const check = async (): Promise<void> => {
    const begun = clock.monotonic();
    try {
      await verify();
    } catch (error) {
      const code = isSidekeyError(error) ? error.code : "INTERNAL";
      if (code === "VAULT_STORE_DAMAGED") {
        log.error("the store was changed past sidekey: nothing is read or written any more", { code });
        return;
      }
      log.warn("the store's rows could not be gone through; trying again later", { code });
    }
    schedule(Math.max(everyMs, (clock.monotonic() - begun) * SHARE));
  };

  const schedule = (ms: number): void => {
    if (closed) return;
    timer = setTimeout(
      () => {
        running = check();
      },
      ms * (0.5 + random()),
    ).unref();
  };

  schedule(everyMs);
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
};
