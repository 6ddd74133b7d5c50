/**
 * Proofs of possession count once (RFC 9449, section 11.1): what was seen is remembered until it could not be used any
 * more. Here in memory, for one process; for processes that share a store see storage/postgres/proofs.ts. Must never answer
 * yes twice.
 */
import { createHash } from "node:crypto";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";

export interface ReplayGuard {
  /**
   * Whether `id` was never seen before; remembers it until `expiresAt`. `id` is of any length, and is one for all keys:
   * put the key's thumbprint into it. `holder`: whose it is; where memory is short, none gets more than its share.
   * Errors: OVERLOADED (more than can be remembered), VAULT_STORE_BUSY (not known: refuse).
   */
  firstUse(id: string, expiresAt: EpochMs, holder?: string): Promise<boolean>;
}

/** About 40 MB. */
const MAX_REMEMBERED = 200_000;

/** Of all that is remembered, what one holder may take: whoever makes proofs as fast as he can stops himself alone. */
const SHARE = 1 / 4;

interface Seen {
  readonly expiresAt: EpochMs;
  readonly holder: string;
}

/** Of one process: forgets all at its end. */
export const createMemoryReplayGuard = (clock: Clock, maxRemembered = MAX_REMEMBERED): ReplayGuard => {
  /** In order of arrival, which is nearly that of expiry. */
  const seen = new Map<string, Seen>();
  const held = new Map<string, number>();
  const share = Math.max(1, Math.floor(maxRemembered * SHARE));

  const forget = (id: string, holder: string): void => {
    seen.delete(id);
    const left = (held.get(holder) ?? 0) - 1;
    if (left > 0) held.set(holder, left);
    else held.delete(holder);
  };

  const forgetExpired = (now: EpochMs, holder: string): void => {
    for (const [id, one] of seen) {
      if (one.expiresAt > now) break;
      forget(id, one.holder);
    }
    if (seen.size < maxRemembered && (held.get(holder) ?? 0) < share) return;
    for (const [id, one] of seen) if (one.expiresAt <= now) forget(id, one.holder);
  };

  return {
    async firstUse(id, expiresAt, holder = "") {
      const now = clock.now();
      forgetExpired(now, holder);
      const hash = proofHash(id).toString("base64");
      if (seen.has(hash)) return false;
      // Forgetting one that still counts would let it in again.
      const own = held.get(holder) ?? 0;
      if (seen.size >= maxRemembered || (holder !== "" && own >= share)) throw new SidekeyError("OVERLOADED");
      seen.set(hash, { expiresAt, holder });
      held.set(holder, own + 1);
      return true;
    },
  };
};

/** What is remembered of an id: always as long, and nothing that was sent. */
export const proofHash = (id: string): Buffer => createHash("sha256").update(id).digest();
