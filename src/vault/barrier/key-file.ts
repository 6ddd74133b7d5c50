/**
 * The file that holds a vault's keys. Synchronous but for its making, since it is read and replaced within transactions.
 * Must never leave half a file, widen who may read it, or put any part of a key into an error.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { PRIVATE_MODE, publishFile, replaceFileNow, syncDirectory, systemCode } from "../../core/whole-file.ts";

const OTHERS = 0o077;
/** Room for some hundred keys. */
const MAX_BYTES = 8 * 1024;

/** Undefined when there is no such file. Errors: VAULT_KEY_UNREADABLE. */
export const readKeyFile = (path: string): string | undefined => {
  let fd: number;
  try {
    // Non-blocking: a FIFO in its place must not hang the start.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") return undefined;
    throw unreadable(`${path} cannot be opened (${code}).`);
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile() || found.size > MAX_BYTES) throw unreadable(`${path} is not a key file.`);
    if ((found.mode & OTHERS) !== 0) {
      const mode = (found.mode & 0o777).toString(8).padStart(4, "0");
      throw new SidekeyError("VAULT_KEY_UNREADABLE", {
        detail: `${path} is open to other users (mode ${mode}).`,
        hint: `See who had access to it, then: chmod 600 ${path}`,
      });
    }
    return readFileSync(fd, "utf8");
  } catch (error) {
    throw isSidekeyError(error) ? error : unreadable(`${path} cannot be read (${systemCode(error)}).`);
  } finally {
    closeSync(fd);
  }
};

/** Never over an existing one. On disk before anything is sealed with it. Errors: VAULT_KEY_UNREADABLE. */
export const createKeyFile = async (path: string, text: string): Promise<void> => {
  const directory = dirname(path);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await publishFile(path, text, PRIVATE_MODE);
    await syncDirectory(directory);
  } catch (error) {
    throw new SidekeyError("VAULT_KEY_UNREADABLE", {
      detail: `${path} cannot be made (${systemCode(error)}).`,
      cause: error,
    });
  }
};

/**
 * The old text or the new one, also after `kill -9` or a power loss; mode and owner stay. On disk when it returns. Callers
 * hold the store's write lock, so no other of us has a draft; what stands in its place, left by a killed caller or put
 * there by somebody else, goes first, since a file of another user's would be read by him.
 * Errors: VAULT_KEY_UNWRITABLE.
 */
export const replaceKeyFile = (path: string, text: string): void => {
  try {
    // A link stays a link.
    const target = realpathSync(path);
    const { mode, uid, gid } = statSync(target);
    replaceFileNow(target, text, { draft: `${target}.next`, mode: mode & 0o700, uid, gid });
  } catch (error) {
    throw new SidekeyError("VAULT_KEY_UNWRITABLE", { detail: `${path} (${systemCode(error)}).`, cause: error });
  }
};

const unreadable = (detail: string): SidekeyError => new SidekeyError("VAULT_KEY_UNREADABLE", { detail });
