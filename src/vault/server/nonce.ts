/** Nonces for proofs (RFC 9449 section 8): a time under a MAC of this process, so that none has to be remembered. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock, EpochMs } from "../../core/clock.ts";

export interface Nonces {
  make(): string;
  /** Until when it may be used; undefined when it is none of ours, or over. */
  until(nonce: string): EpochMs | undefined;
}

/** `ms` */
const LIFE_MS = 5 * 60_000;
const FORM = /^([0-9a-z]{1,12})\.([A-Za-z0-9_-]{22})$/;

export const createNonces = (clock: Pick<Clock, "now">): Nonces => {
  const key = randomBytes(32);
  const mac = (time: string): Buffer => createHmac("sha256", key).update(time).digest().subarray(0, 16);
  return {
    make() {
      const time = clock.now().toString(36);
      return `${time}.${mac(time).toString("base64url")}`;
    },
    until(nonce) {
      const [, time = "", sum = ""] = FORM.exec(nonce) ?? [];
      const given = Buffer.from(sum, "base64url");
      if (given.length !== 16 || !timingSafeEqual(given, mac(time))) return undefined;
      const end = Number.parseInt(time, 36) + LIFE_MS;
      return end > clock.now() ? end : undefined;
    },
  };
};
