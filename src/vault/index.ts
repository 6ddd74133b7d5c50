/**
 * The embedded vault: an encrypted store of secrets and tokens in a directory, which several processes may have open at
 * once. Opening it checks the key, so that a wrong one is told here and not by a secret later.
 */
import type { Clock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { type Backup, readBackup, writeBackup } from "./backup.ts";
import { type Barrier, createBarrier } from "./barrier.ts";
import { loadVaultKeys, storeExists, type VaultKeySource } from "./key.ts";
import { type Restored, restoreInto } from "./restore.ts";
import { META, VALUE } from "./rows.ts";
import { createVaultSecrets, type VaultSecrets } from "./secrets.ts";
import { openLmdb } from "./storage/lmdb.ts";
import type { EmbeddedStorage } from "./storage/storage.ts";
import { createVaultTokens, type VaultTokens } from "./tokens.ts";

export { type Backup, isBackup } from "./backup.ts";
export { KEY_VARIABLE, storeExists, type VaultKeyContext, type VaultKeySource, vaultKeySource } from "./key.ts";
export { isSecretPath } from "./path.ts";
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

export interface Vault {
  readonly secrets: VaultSecrets;
  readonly tokens: VaultTokens;
  /** Grows with each write, of any process. Fast: about 1 µs. */
  generation(): number;
  /** All secrets as one text of sealed rows, as they are at one moment. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
  backup(): Promise<string>;
  /** The secrets of a backup in the place of all that are there, in one transaction; tokens stay as they are. */
  restore(backup: Backup): Promise<void>;
  close(): Promise<void>;
}

const CHECK = "check:key";
const CHECK_TEXT = Buffer.from("sidekey");

/** Errors: VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const openVault = async ({ directory, keys, clock }: VaultOptions): Promise<Vault> => {
  const barrier = createBarrier(await loadVaultKeys(keys, !(await storeExists(directory))), clock);
  const storage = await openLmdb(directory);
  try {
    await checkKey(storage, barrier);
  } catch (error) {
    await storage.close();
    throw error;
  }
  return {
    secrets: createVaultSecrets(storage, barrier, clock),
    tokens: createVaultTokens(storage, barrier, clock),
    generation: () => storage.generation(),
    async backup() {
      const { generation, rows } = await storage.read((tx) => ({
        generation: storage.generation(),
        rows: [...tx.range(META), ...tx.range(VALUE)],
      }));
      return writeBackup(rows, barrier, { createdAt: clock.now(), generation });
    },
    async restore({ rows }) {
      await storage.write((tx) => {
        const wanted = new Set(rows.map(({ key }) => key));
        for (const { key } of [...tx.range(META), ...tx.range(VALUE)]) if (!wanted.has(key)) tx.remove(key);
        for (const { key, value } of rows) tx.put(key, value);
      });
    },
    close: () => storage.close(),
  };
};

/** Reads and checks a backup, down to its last row. Errors: VAULT_BAD_BACKUP, VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG. */
export const openBackup = async (text: string, { keys, clock }: Pick<VaultOptions, "keys" | "clock">) =>
  readBackup(text, createBarrier(await loadVaultKeys(keys, false), clock));

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

/** A row that every key of this store opens: the first process writes it, before anything else is in the store. */
const checkKey = async (storage: EmbeddedStorage, barrier: Barrier): Promise<void> => {
  const row = { path: CHECK, version: 0 };
  const used = storage.generation() > 0;
  const known = await storage.read((tx) => tx.get(CHECK));
  if (known === undefined && used) {
    throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: "The row that its key is checked with is gone." });
  }
  const sealed =
    known ??
    (await storage.write((tx) => {
      const other = tx.get(CHECK);
      if (other !== undefined) return other;
      const fresh = barrier.seal(row, CHECK_TEXT);
      tx.put(CHECK, fresh);
      return fresh;
    }));
  barrier.open(row, sealed);
};
