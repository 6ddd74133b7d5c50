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
   * put the key's thumbprint into it. Errors: OVERLOADED (more than can be remembered), VAULT_STORE_BUSY (not known: refuse).
   */
  firstUse(id: string, expiresAt: EpochMs): Promise<boolean>;
}

/** About 40 MB. */
const MAX_REMEMBERED = 200_000;

/** Of one process: forgets all at its end. */
export const createMemoryReplayGuard = (clock: Clock, maxRemembered = MAX_REMEMBERED): ReplayGuard => {
  /** In order of arrival, which is nearly that of expiry. */
  const seen = new Map<string, EpochMs>();

  const forgetExpired = (now: EpochMs): void => {
    for (const [id, expiresAt] of seen) {
      if (expiresAt > now) break;
      seen.delete(id);
    }
    if (seen.size < maxRemembered) return;
    for (const [id, expiresAt] of seen) if (expiresAt <= now) seen.delete(id);
  };

  return {
    async firstUse(id, expiresAt) {
      const now = clock.now();
      forgetExpired(now);
      const hash = proofHash(id).toString("base64");
      if (seen.has(hash)) return false;
      // Forgetting one that still counts would let it in again.
      if (seen.size >= maxRemembered) throw new SidekeyError("OVERLOADED");
      seen.set(hash, expiresAt);
      return true;
    },
  };
};

/** What is remembered of an id: always as long, and nothing that was sent. */
export const proofHash = (id: string): Buffer => createHash("sha256").update(id).digest();
