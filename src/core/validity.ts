/** How long a certificate is good. Reads certificates alone, never a key. */
import { X509Certificate } from "node:crypto";
import type { EpochMs } from "./clock.ts";

export interface Validity {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

/** Of the first certificate in `pem`; undefined: it is damaged. */
export const validityOf = (pem: string): Validity | undefined => {
  try {
    const { validFrom, validTo } = new X509Certificate(pem);
    return { from: Date.parse(validFrom), to: Date.parse(validTo) };
  } catch {
    return undefined;
  }
};

export const isValidAt = ({ from, to }: Validity, now: EpochMs): boolean => from <= now && now < to;

/** `2026-11-28T12:00:00.000Z to …`, for people. */
export const validityWords = ({ from, to }: Validity): string =>
  `${new Date(from).toISOString()} to ${new Date(to).toISOString()}`;
