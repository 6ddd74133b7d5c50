/**
 * The embedded vault: an encrypted store of secrets and tokens in a directory, which several processes may have open at
 * once. Opening it checks the key and every row, so that a wrong or changed one is told here and not by a secret later.
 */
import type { Clock } from "../core/clock.ts";
import { type Backup, backupLines, readBackup, writeBackup } from "./backup.ts";
import { createBarrier } from "./barrier.ts";
import { guardStorage } from "./guarded-storage.ts";
import { openKeyRing, storeExists, type VaultKeySource } from "./key.ts";
import { createPlaceCheck } from "./place.ts";
import { type Rekeyed, rekey } from "./rekey.ts";
import { type Restored, restoreInto } from "./restore.ts";
import { META, VALUE } from "./rows.ts";
import { createVaultSecrets, type VaultSecrets } from "./secrets.ts";
import { openLmdb } from "./storage/lmdb.ts";
import type { Watchable } from "./storage/storage.ts";
import { createVaultTokens, type VaultTokens } from "./tokens.ts";

export { type Backup, isBackup, MAX_BACKUP_BYTES } from "./backup.ts";
export { KEY_VARIABLE, storeExists, type VaultKeyContext, type VaultKeySource, vaultKeySource } from "./key.ts";
export { isSecretPath } from "./path.ts";
export type { Rekeyed } from "./rekey.ts";
export { type Restored, storeExistsError } from "./restore.ts";
export type {
  ImportEntry,
  Imported,
  SecretInfo,
  SecretVersion,
  SetOptions,
  StoredSecret,
  VaultSecrets,
} from "./secrets.ts";
export {
  DEFAULT_TOKEN_TTL_MS,
  type IssuedToken,
  type IssueRequest,
  MAX_TOKEN_TTL_MS,
  type TokenInfo,
  type TokenState,
  type VaultTokens,
} from "./tokens.ts";

export interface VaultOptions {
  /** Absolute; made (0700) when absent. */
  readonly directory: string;
  /** A key file is made (0600) when both it and the store are absent. */
  readonly keys: VaultKeySource;
  readonly clock: Clock;
}

export interface Vault extends Watchable {
  readonly secrets: VaultSecrets;
  readonly tokens: VaultTokens;
  /**
   * Grows with each write, of any process. Fast: about 1 µs.
   * Errors: VAULT_STORE_BUSY, also when another store was put in the place of this one.
   */
  generation(): number;
  /** How many keys open it. More than one: a rekey is under way or was cut short, or somebody put a new key first. */
  readonly keyCount: number;
  /**
   * Seals every row with a new key, or with the first of several, and leaves only that one in the key file. Other processes
   * may go on using the store. Cut short, the next call goes on. `progress` hears of rows done, of all there are to do.
   * Errors: CONFIG_USAGE (one key, and not in a file), VAULT_KEY_UNWRITABLE, VAULT_STORE_BUSY.
   */
  rekey(progress?: (done: number, total: number) => void): Promise<Rekeyed>;
  /** All secrets as one text of sealed rows, as they are at one moment. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
  backup(): Promise<string>;
  /** The secrets of a backup in the place of all that are there, in one transaction; tokens stay as they are. */
  restore(backup: Backup): Promise<void>;
  close(): Promise<void>;
}

/** Errors: VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const openVault = async ({ directory, keys: source, clock }: VaultOptions): Promise<Vault> => {
  const ring = await openKeyRing(source, !(await storeExists(directory)));
  const barrier = createBarrier(ring, clock);
  const file = await openLmdb(directory);
  try {
    const storage = await guardStorage(file, { ring, barrier }, clock);
    const checkPlace = createPlaceCheck(directory, clock);
    return {
      secrets: createVaultSecrets(storage, barrier, clock),
      tokens: createVaultTokens(storage, barrier, clock),
      generation() {
        checkPlace();
        return storage.generation();
      },
      get keyCount() {
        return ring.keys.length;
      },
      rekey: (progress) => rekey(storage, { ring, barrier }, progress),
      backup: () =>
        storage.read((tx) =>
          writeBackup([...tx.range(META), ...tx.range(VALUE)], barrier, {
            createdAt: clock.now(),
            generation: tx.generation,
          }),
        ),
      async restore({ rows }) {
        await storage.write((tx) => {
          const wanted = new Set(rows.map(({ key }) => key));
          for (const { key } of [...tx.range(META), ...tx.range(VALUE)]) if (!wanted.has(key)) tx.remove(key);
          // Sealed anew where another key did it: that one may leave the key file at any time.
          for (const { key, value } of rows) tx.put(key, barrier.isCurrent(value) ? value : barrier.reseal(key, value));
        });
      },
      watch: (onChange) => storage.watch(onChange),
      close: () => storage.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
};

/** Reads and checks a backup, down to its last row. Errors: VAULT_BAD_BACKUP, VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG. */
export const openBackup = async (
  text: string,
  { keys, clock }: Pick<VaultOptions, "keys" | "clock">,
): Promise<Backup> => {
  // Before the key: whoever took the wrong file should not look for a key.
  const lines = backupLines(text);
  return readBackup(lines, createBarrier(await openKeyRing(keys, false), clock));
};

/**
 * `backup` as `openBackup` gave it, with the same keys. Without `replace` only where there is no store.
 * Errors: VAULT_STORE_EXISTS, VAULT_STORE_BUSY, VAULT_KEY_WRONG (the store that is there has another key).
 */
export const restoreVault = (
  { directory, keys, clock }: VaultOptions,
  { backup, replace }: { readonly backup: Backup; readonly replace: boolean },
): Promise<Restored> =>
  restoreInto({
    directory,
    backup,
    replace,
    clock,
    openVault: (place) => openVault({ directory: place, keys, clock }),
  });
