/**
 * How files of the CA are read and written: whole or not at all, and never through something that is no plain file. It
 * knows nothing of what is in them.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { link, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { SidekeyError } from "../../core/errors.ts";

export const CERTIFICATE_MODE = 0o644;
export const KEY_MODE = 0o600;
const OTHERS = 0o077;
/** Ours are a few KiB, and more with name constraints for many hosts; anything larger is not ours. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Puts a whole file at `path` in one step; false when something is already there, which stays as it is. */
export const publishFile = (path: string, text: string, mode: number): Promise<boolean> =>
  withDraft(path, text, mode, async (draft) => {
    try {
      await link(draft, path);
      return true;
    } catch (error) {
      if (errnoOf(error) === "EEXIST") return false;
      throw error;
    }
  });

/** Puts a whole file at `path` in one step, in the place of what is there. */
export const replaceFile = (path: string, text: string, mode: number): Promise<void> =>
  withDraft(path, text, mode, (draft) => rename(draft, path));

const withDraft = async <T>(
  path: string,
  text: string,
  mode: number,
  place: (draft: string) => Promise<T>,
): Promise<T> => {
  // A name that nobody can guess, and never through a link: the directory may be open to others.
  const draft = `${path}.${randomUUID()}`;
  try {
    const file = await open(draft, "wx", mode);
    try {
      // The umask may have taken bits from the mode given to open.
      await file.chmod(mode);
      const owner = await ownerToBe(path);
      if (owner !== undefined) await file.chown(owner.uid, owner.gid);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    return await place(draft);
  } catch (error) {
    throw unusable(`${path} cannot be written (${errnoOf(error)}).`, error);
  } finally {
    await rm(draft, { force: true });
  }
};

/** Root makes files for the directory's owner: a `ca rotate` by root must not lock the sidecar out. */
const ownerToBe = async (path: string): Promise<{ readonly uid: number; readonly gid: number } | undefined> => {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = await stat(dirname(path));
  return uid === 0 ? undefined : { uid, gid };
};

export const readCertificateFile = (path: string): Promise<string | undefined> => readRegularFile(path, 0);

/** As above, and refused when others may use it. */
export const readKeyFile = (path: string): Promise<string | undefined> => readRegularFile(path, OTHERS);

/** Undefined only when nothing is there. Mode bits in `forbidden` are refused, judged on the file that was opened. */
const readRegularFile = async (path: string, forbidden: number): Promise<string | undefined> => {
  try {
    // Non-blocking, so that a FIFO put in its place can't hang the start.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { mode, size } = await file.stat();
      if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw unusable(`${path} is not a regular file.`);
      if (size > MAX_FILE_BYTES) throw unusable(`${path} is too large.`);
      if ((mode & forbidden) !== 0) {
        throw unusable(
          `${path} is open to other users (mode ${(mode & 0o777).toString(8)}).`,
          undefined,
          `Treat its key as known to others: remove ca.key, ca-next.key and ca.pem, or, if you are sure, chmod 600 ${path}.`,
        );
      }
      return await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (errnoOf(error) === "ENOENT") return undefined;
    throw unusable(`${path} cannot be read (${errnoOf(error)}).`, error);
  }
};

export const unusable = (detail: string, cause?: unknown, hint?: string): SidekeyError =>
  new SidekeyError("TLS_CA_UNUSABLE", { detail, cause, ...(hint === undefined ? {} : { hint }) });

export const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error";
