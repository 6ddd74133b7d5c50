/**
 * Puts the secrets of a backup into a store: by one transaction where the store is sound, so that whoever has it open
 * goes on with it; else into a new store, which takes the place of the old one in one step. Killed at any moment, it
 * leaves the store as it was or as it is to be.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { syncDirectory, systemCode } from "../../core/whole-file.ts";
import { storeExists } from "../barrier/key.ts";
import type { Backup } from "./backup.ts";

/** Of a vault, what is needed here. */
interface Target {
  restore(backup: Backup): Promise<void>;
  close(): Promise<void>;
}

export interface RestoreOptions {
  /** Absolute, of the store. */
  readonly directory: string;
  readonly backup: Backup;
  /** Whether the secrets of a store that is there may go. */
  readonly replace: boolean;
  readonly clock: Clock;
  /** Opens or makes the store in a directory. */
  openVault(directory: string): Promise<Target>;
}

export interface Restored {
  /** `made`: there was no store. `replaced`: the secrets of one. `rebuilt`: the whole of a damaged one. */
  readonly how: "made" | "replaced" | "rebuilt";
  /** Where the data of the damaged one are kept now. */
  readonly keptAside: string | undefined;
}

/** Errors: VAULT_STORE_EXISTS, VAULT_STORE_BUSY, VAULT_KEY_WRONG (of the store that is there). */
export const restoreInto = async (options: RestoreOptions): Promise<Restored> => {
  const { directory, backup, replace, openVault } = options;
  if (!(await storeExists(directory))) return placeNew(options, false);
  if (!replace) throw storeExistsError(directory);
  let vault: Target;
  try {
    vault = await openVault(directory);
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "VAULT_STORE_DAMAGED") throw error;
    return placeNew(options, true);
  }
  try {
    await vault.restore(backup);
  } finally {
    await vault.close();
  }
  return { how: "replaced", keptAside: undefined };
};

const placeNew = async (options: RestoreOptions, isDamaged: boolean): Promise<Restored> => {
  const { directory, backup, openVault } = options;
  const draft = `${directory}.restore-${randomUUID()}`;
  try {
    await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
    await mkdir(draft, { mode: 0o700 });
    const vault = await openVault(draft);
    try {
      await vault.restore(backup);
    } finally {
      await vault.close();
    }
    await syncFile(join(draft, "data.mdb"));
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const keptAside = isDamaged ? await keepAside(options) : undefined;
    await takePlace(draft, directory, isDamaged);
    return { how: isDamaged ? "rebuilt" : "made", keptAside };
  } catch (error) {
    if (isSidekeyError(error)) throw error;
    throw new SidekeyError("VAULT_STORE_BUSY", {
      detail: `The store in ${directory} cannot be written (${systemCode(error)}).`,
      cause: error,
    });
  } finally {
    // What could not even be begun has nothing to remove; its own error counts.
    await rm(draft, { recursive: true, force: true }).catch(() => undefined);
  }
};

/**
 * The lock file goes first. It belongs to the data of before, and whoever still has these open keeps both; together with
 * other data it would lead LMDB astray.
 */
const takePlace = async (draft: string, directory: string, isDamaged: boolean): Promise<void> => {
  const data = join(directory, "data.mdb");
  await rm(join(directory, "lock.mdb"), { force: true });
  if (isDamaged) await rename(join(draft, "data.mdb"), data);
  else {
    await link(join(draft, "data.mdb"), data).catch((error: unknown) => {
      // Made by somebody else in this moment.
      throw systemCode(error) === "EEXIST" ? storeExistsError(directory) : error;
    });
  }
  await syncDirectory(directory);
};

/** A second name for the damaged data, which the first one then leaves. */
const keepAside = async ({ directory, clock }: RestoreOptions): Promise<string> => {
  const time = new Date(clock.now()).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const aside = join(directory, `data.mdb.damaged-${time}-${randomUUID().slice(0, 8)}`);
  await link(join(directory, "data.mdb"), aside);
  return aside;
};

const syncFile = async (path: string): Promise<void> => {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
};

export const storeExistsError = (directory: string, hint?: string): SidekeyError =>
  new SidekeyError("VAULT_STORE_EXISTS", {
    detail: `${directory} holds one; nothing was changed.`,
    ...(hint !== undefined && { hint }),
  });
