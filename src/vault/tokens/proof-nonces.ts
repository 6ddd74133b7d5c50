/**
 * Nonces for proofs of possession (RFC 9449 section 8): by one of them a sidecar whose clock is wrong can still show that
 * its proof is new. Each is a keyed hash of the minute it was given out in, so that all processes of a store take each
 * other's and none is remembered. Whether a proof was seen before is another question.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock, EpochMs } from "../../core/clock.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { createSealedKey } from "../barrier/sealed-key.ts";
import type { VaultStorage } from "../storage/storage.ts";

export interface ProofNonces {
  /** The one to give out now, in `DPoP-Nonce`. */
  current(): Promise<string>;
  /** Until when a nonce may be used; undefined when it is none of this store's, or over. */
  judge(): Promise<(nonce: string) => EpochMs | undefined>;
}

/** A nonce is taken in the window it was given out in and in the next. `ms` */
export const NONCE_WINDOW_MS = 60_000;

const ROW = "noncekey:dpop";
const NONCE = /^([0-9a-z]{1,9})\.([A-Za-z0-9_-]{43})$/;

export const createProofNonces = (storage: VaultStorage, barrier: Barrier, clock: Clock): ProofNonces => {
  const requireKey = createSealedKey(storage, barrier, ROW);

  const windowNow = (): number => Math.floor(clock.now() / NONCE_WINDOW_MS);

  return {
    async current() {
      const window = windowNow();
      return `${window.toString(36)}.${macOf(await requireKey(), window).toString("base64url")}`;
    },

    async judge() {
      const known = await requireKey();
      return (nonce) => {
        const [, digits = "", mac = ""] = NONCE.exec(nonce) ?? [];
        const window = Number.parseInt(digits, 36);
        const age = windowNow() - window;
        // One window ahead: another process's clock may be.
        if (!(age >= -1 && age <= 1)) return undefined;
        const given = Buffer.from(mac, "base64url");
        const wanted = macOf(known, window);
        if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
        return (window + 2) * NONCE_WINDOW_MS;
      };
    },
  };
};

const macOf = (key: Buffer, window: number): Buffer =>
  createHmac("sha256", key).update(`dpop nonce ${window}`).digest();
