/**
 * The vault in a PostgreSQL database, for a server of several replicas. Each of them has the keys from a place of its own;
 * which one seals is told by the store.
 */
import type { Clock } from "../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { type AnyVault, assembleVault, type IdentityOptions } from "./assemble.ts";
import type { Backup } from "./backup/backup.ts";
import type { Restored } from "./backup/restore.ts";
import { startBackgroundCheck } from "./barrier/background-check.ts";
import { createBarrier } from "./barrier/barrier.ts";
import { CHECK, guardShared } from "./barrier/guarded-storage.ts";
import { openKeyRing, type VaultKeySource } from "./barrier/key.ts";
import { openPostgres, setStoreAside } from "./storage/postgres.ts";
import type { ReadTx } from "./storage/storage.ts";

export interface SharedVaultOptions {
  /** `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, as storage/postgres/url.ts reads it. */
  readonly url: string;
  /** A key file is made (0600) when both it and the store are absent. */
  readonly keys: VaultKeySource;
  readonly clock: Clock;
  readonly log: Log;
  readonly identity?: IdentityOptions;
  /** Connections at most, beside the one that listens; default 10. */
  readonly poolSize?: number;
  /** About how often all rows are gone through; default 5 minutes. `ms` */
  readonly checkEveryMs?: number;
}

/** Errors: CONFIG_INVALID, CONFIG_UNREADABLE (URL), VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_*. */
export const openSharedVault = async (options: SharedVaultOptions): Promise<AnyVault> => {
  const { url, keys, clock, log, identity, poolSize, checkEveryMs } = options;
  const database = await openPostgres(url, { clock, log, ...(poolSize !== undefined && { poolSize }) });
  try {
    const ring = await openKeyRing(keys, await database.read(isEmpty));
    const barrier = createBarrier(ring, clock);
    const storage = await guardShared(database, { ring, barrier }, clock);
    const check = startBackgroundCheck({
      verify: storage.verify,
      clock,
      log,
      ...(checkEveryMs !== undefined && { everyMs: checkEveryMs }),
    });
    const parts = { ring, barrier, isShared: true, replays: database.replays };
    return {
      ...assembleVault(storage, parts, clock, identity),
      // Not by spreading, which would read it once.
      get keyCount() {
        return ring.keys.length;
      },
      async close() {
        await check.close();
        await database.close();
      },
    };
  } catch (error) {
    await database.close();
    throw error;
  }
};

/** Whether the database holds a store already. Errors: as `openSharedVault` has of its URL and database. */
export const sharedStoreExists = async ({
  url,
  clock,
  log,
}: Pick<SharedVaultOptions, "url" | "clock" | "log">): Promise<boolean> => {
  const database = await openPostgres(url, { clock, log, poolSize: 1 });
  try {
    return !(await database.read(isEmpty));
  } finally {
    await database.close();
  }
};

/**
 * As `restoreVault`. The tables of a damaged store are kept under other names. Killed between, it leaves an empty store,
 * and the same call with `replace` goes on.
 * Errors: VAULT_STORE_EXISTS, and those of `openSharedVault`.
 */
export const restoreSharedVault = async (
  options: SharedVaultOptions,
  { backup, replace }: { readonly backup: Backup; readonly replace: boolean },
): Promise<Restored> => {
  const exists = await sharedStoreExists(options);
  if (exists && !replace) {
    throw new SidekeyError("VAULT_STORE_EXISTS", { detail: "The database holds one; nothing was changed." });
  }
  let vault: AnyVault;
  let keptAside: string | undefined;
  try {
    vault = await openSharedVault(options);
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "VAULT_STORE_DAMAGED") throw error;
    keptAside = await setStoreAside(options.url, options);
    vault = await openSharedVault(options);
  }
  try {
    await vault.restore(backup);
  } finally {
    await vault.close();
  }
  return { how: keptAside !== undefined ? "rebuilt" : exists ? "replaced" : "made", keptAside };
};

const isEmpty = (tx: ReadTx): boolean => tx.generation === 0 && tx.get(CHECK) === undefined;
