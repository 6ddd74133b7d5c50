/**
 * The embedded vault: an encrypted store of secrets and tokens in a directory, which several processes may have open at
 * once. Opening it checks the key, so that a wrong one is told here and not by a secret later.
 */
import type { Clock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { type Barrier, createBarrier } from "./barrier.ts";
import { loadVaultKeys, storeExists, type VaultKeySource } from "./key.ts";
import { createVaultSecrets, type VaultSecrets } from "./secrets.ts";
import { openLmdb } from "./storage/lmdb.ts";
import type { EmbeddedStorage } from "./storage/storage.ts";
import { createVaultTokens, type VaultTokens } from "./tokens.ts";

export { KEY_VARIABLE, type VaultKeyContext, type VaultKeySource, vaultKeySource } from "./key.ts";
export { isSecretPath } from "./path.ts";
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
    close: () => storage.close(),
  };
};

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
