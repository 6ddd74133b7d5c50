/** How much somebody may ask for within a minute. Knows some thousand callers at once; whoever asks least is forgotten first. */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../../core/clock.ts";

export interface Budget {
  /** Counts one; the seconds to wait when it is one too many, else undefined. */
  spend(key: string): number | undefined;
  /** As `spend`, without counting. */
  excess(key: string): number | undefined;
}

const WINDOW_MS = 60_000;
const MAX_CALLERS = 10_000;

interface Window {
  readonly endsAt: number;
  spent: number;
}

export const createBudget = (perMinute: number, clock: Pick<Clock, "monotonic">): Budget => {
  const windows = new LRUCache<string, Window>({ max: MAX_CALLERS });
  const current = (key: string): Window | undefined => {
    const found = windows.get(key);
    return found === undefined || found.endsAt <= clock.monotonic() ? undefined : found;
  };
  const wait = ({ endsAt }: Window): number => Math.max(1, Math.ceil((endsAt - clock.monotonic()) / 1000));
  return {
    spend(key) {
      let window = current(key);
      if (window === undefined) {
        window = { endsAt: clock.monotonic() + WINDOW_MS, spent: 0 };
        windows.set(key, window);
      }
      window.spent += 1;
      return window.spent > perMinute ? wait(window) : undefined;
    },
    excess(key) {
      const window = current(key);
      return window !== undefined && window.spent >= perMinute ? wait(window) : undefined;
    },
  };
};
