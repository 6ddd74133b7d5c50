/**
 * The audit key: 32 random bytes, base64url, in a file of its owner alone. Whoever holds it can write a log that
 * verifies, so it must never be put in a record, an error or a log line.
 */
import { SidekeyError } from "../core/errors.ts";
import { AUDIT_KEY_BYTES } from "./chain.ts";
import { type AuditFs, createWhole, errnoOf, statIfThere } from "./file-access.ts";

const TEXT = /^[A-Za-z0-9_-]{43}\n?$/;

const unreadable = (path: string, why: string, cause?: unknown): SidekeyError =>
  new SidekeyError("AUDIT_KEY_UNREADABLE", { detail: `${path}: ${why}.`, cause });

/** Errors: AUDIT_KEY_UNREADABLE when it is absent, of another size, or open to group or others. */
export const readAuditKey = (fs: AuditFs, path: string): Buffer => {
  let text: string;
  try {
    const { mode } = fs.statSync(path);
    if ((mode & 0o077) !== 0) throw unreadable(path, "group or others may use it; chmod 600");
    text = fs.readFileSync(path, "utf8");
  } catch (error) {
    throw error instanceof SidekeyError ? error : unreadable(path, errnoOf(error), error);
  }
  const key = Buffer.from(text.trimEnd(), "base64url");
  if (!TEXT.test(text) || key.length !== AUDIT_KEY_BYTES)
    throw unreadable(path, `it is not ${AUDIT_KEY_BYTES} bytes of base64url`);
  return key;
};

/**
 * Reads the key, or makes it where there is none; of two processes that make it at once, both get the same.
 *
 * @param random cryptographic random bytes
 * Errors: AUDIT_KEY_UNREADABLE.
 */
export const openAuditKey = (fs: AuditFs, path: string, random: (bytes: number) => Buffer): Buffer => {
  try {
    if (statIfThere(fs, path) === undefined) makeKey(fs, path, random);
  } catch (error) {
    throw unreadable(path, errnoOf(error), error);
  }
  return readAuditKey(fs, path);
};

const makeKey = (fs: AuditFs, path: string, random: (bytes: number) => Buffer): void => {
  const fresh = `${path}.${random(8).toString("hex")}`;
  createWhole(fs, fresh, `${random(AUDIT_KEY_BYTES).toString("base64url")}\n`);
  try {
    fs.linkSync(fresh, path);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  } finally {
    fs.unlinkSync(fresh);
  }
};
