/**
 * CAs that sign no more and are still trusted for a while: `ca-old.pem`, each certificate under the time it was retired.
 * What cannot be read is left out: less trust is the safe side.
 */
import type { EpochMs } from "../../core/clock.ts";
import { CERTIFICATE_MODE, readCertificateFile, replaceFile } from "./authority-files.ts";

export interface RetiredAuthority {
  readonly pem: string;
  readonly retiredAt: EpochMs;
}

/** Twice the life of a leaf: until then a sidecar that was not told could still show one. `ms` */
export const OVERLAP_MS = 48 * 3_600_000;

const ENTRY =
  /^# retired (\d{4}-\d\d-\d\dT[\d:.]+Z)\r?\n(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----)/gm;

/** Those in overlap. */
export const readRetired = async (path: string, now: EpochMs): Promise<readonly RetiredAuthority[]> => {
  const text = (await readCertificateFile(path).catch(() => undefined)) ?? "";
  return Array.from(text.matchAll(ENTRY), ([, time = "", pem = ""]) => ({ pem, retiredAt: Date.parse(time) })).filter(
    ({ retiredAt }) => now < retiredAt + OVERLAP_MS,
  );
};

/** Adds one that signs no more from now on. */
export const retire = async (path: string, pem: string, now: EpochMs): Promise<void> => {
  const others = (await readRetired(path, now)).filter((one) => one.pem !== pem.trim());
  const all = [{ pem: pem.trim(), retiredAt: now }, ...others];
  const text = all.map((one) => `# retired ${new Date(one.retiredAt).toISOString()}\n${one.pem}\n`).join("");
  await replaceFile(path, text, CERTIFICATE_MODE);
};
