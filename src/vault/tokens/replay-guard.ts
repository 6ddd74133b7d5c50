/**
 * Proofs of possession count once (RFC 9449, section 11.1): what was seen is remembered until it could not be used any
 * more. Here in memory, for one process, and on top of what processes that share a store have in common
 * (storage/postgres/proofs.ts). Must never answer yes twice.
 */
import { createHash, createHmac } from "node:crypto";
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

/** About 30 MB. */
const MAX_OWN = 200_000;

export interface SharedReplayParts {
  readonly clock: Pick<Clock, "now">;
  /** Of the store. */
  readonly key: () => Promise<Buffer>;
  /** What all processes have in common. It is not trusted with more than it has to be. */
  readonly common: ReplayGuard;
}

/**
 * Of processes that have one guard in common, in a database whose rows others might see and change: ids reach it as keyed
 * hashes, so that a row tells nothing and none can be put there for a proof to come; and what this process has let pass
 * itself does not pass it again, whatever becomes of the row. What somebody who takes rows away can still do is show a proof
 * that he has seen to another process, within its minute.
 */
export const createSharedReplayGuard = ({ clock, key, common }: SharedReplayParts, maxOwn = MAX_OWN): ReplayGuard => {
  /** In order of arrival. The oldest goes where there are too many: it is in the database. */
  const own = new Map<string, EpochMs>();

  const makeRoom = (now: EpochMs): void => {
    for (const [mac, expiresAt] of own) {
      if (expiresAt > now && own.size < maxOwn) break;
      own.delete(mac);
    }
  };

  return {
    async firstUse(id, expiresAt, holder) {
      const mac = createHmac("sha256", await key())
        .update(id)
        .digest("base64");
      if ((own.get(mac) ?? 0) > clock.now()) return false;
      makeRoom(clock.now());
      own.set(mac, expiresAt);
      try {
        return await common.firstUse(mac, expiresAt, holder);
      } catch (error) {
        // It has let nothing pass.
        own.delete(mac);
        throw error;
      }
    },
  };
};

/** What is remembered of an id: always as long, and nothing that was sent. */
export const proofHash = (id: string): Buffer => createHash("sha256").update(id).digest();
