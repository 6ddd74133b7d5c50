/** Proofs count once (RFC 9449 section 11.1): remembered until they could not be used any more. */
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";

export interface ReplayGuard {
  /** Whether `id` was never seen before; remembers it until `expiresAt`. Errors: OVERLOADED. */
  firstUse(id: string, expiresAt: EpochMs): Promise<boolean>;
}

const MAX_REMEMBERED = 200_000;

export const createMemoryReplayGuard = (clock: Pick<Clock, "now">): ReplayGuard => {
  const seen = new Map<string, EpochMs>();
  return {
    async firstUse(id, expiresAt) {
      const now = clock.now();
      for (const [known, end] of seen) {
        if (end > now) break;
        seen.delete(known);
      }
      if (seen.has(id)) return false;
      if (seen.size >= MAX_REMEMBERED) throw new SidekeyError("OVERLOADED");
      seen.set(id, expiresAt);
      return true;
    },
  };
};
