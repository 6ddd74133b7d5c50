/**
 * The embedded vault: an encrypted store of secrets and tokens in a directory, which several processes may have open at
 * once. Opening it checks the key and every row, so that a wrong or changed one is told here and not by a secret later.
 */
import type { Clock } from "../core/clock.ts";
import { type AnyVault, assembleVault, type IdentityOptions } from "./assemble.ts";
import { type Backup, backupLines, readBackup } from "./backup/backup.ts";
import { type Restored, restoreInto } from "./backup/restore.ts";
import { createBarrier } from "./barrier/barrier.ts";
import { guardEmbedded } from "./barrier/guarded-storage.ts";
import { openKeyRing, storeExists, type VaultKeySource } from "./barrier/key.ts";
import { createPlaceCheck, whileInPlace } from "./place.ts";
import { openLmdb } from "./storage/lmdb.ts";
import { createMemoryReplayGuard } from "./tokens/replay-guard.ts";
import { createTokenState, type EmbeddedTokens } from "./tokens/tokens.ts";

export type { AgentRequest, AgentUpdate, CreatedAgent, UpdatedAgent, VaultAgents } from "./agents/agents.ts";
export type { AgentInfo, AgentKind } from "./agents/rows.ts";
export { checkAgentScopes } from "./agents/rows.ts";
export type { SidecarInfo } from "./agents/sidecar-rows.ts";
export type { EnrolRequest, VaultSidecars } from "./agents/sidecars.ts";
export {
  type ApprovalInfo,
  type ApprovalOptions,
  type ApprovalRequest,
  type ApprovalStatus,
  DEFAULT_APPROVALS,
  type VaultApprovals,
} from "./approvals/approvals.ts";
export type { ApprovalNews, ApprovalNotice } from "./approvals/news.ts";
export type { AnyVault, IdentityOptions } from "./assemble.ts";
export { BACKEND_VARIABLE, checkBackendVariable } from "./backends/index.ts";
export { type Backup, isBackup, MAX_BACKUP_BYTES } from "./backup/backup.ts";
export { type Restored, storeExistsError } from "./backup/restore.ts";
export { KEY_VARIABLE, storeExists, type VaultKeyContext, type VaultKeySource, vaultKeySource } from "./barrier/key.ts";
export type { Rekeyed } from "./barrier/rekey.ts";
export type { ChangesOf, VaultChange, VaultChanges } from "./changes.ts";
export { isSecretTier } from "./secrets/metadata.ts";
export { isSecretPath } from "./secrets/path.ts";
export { candidatePaths, isPlace } from "./secrets/resolution.ts";
export * from "./secrets/types.ts";
export {
  openSharedVault,
  restoreSharedVault,
  type SharedVaultOptions,
  sharedStoreExists,
} from "./shared-vault.ts";
export type { PlaceholderRequest, ResolvedPlaceholder, VaultPlaceholders } from "./tokens/placeholders.ts";
export type { ProofNonces } from "./tokens/proof-nonces.ts";
export type { ReplayGuard } from "./tokens/replay-guard.ts";
export {
  DEFAULT_TOKEN_TTL_MS,
  type IssueRequest,
  MAX_TOKEN_TTL_MS,
  type TokenLimits,
} from "./tokens/request.ts";
export type { PublicSigningKey, SigningKeys } from "./tokens/signing-keys.ts";
export type {
  EmbeddedTokens,
  IssuedToken,
  TokenInfo,
  TokenListing,
  TokenPage,
  TokenState,
  VaultTokens,
  VerifiedToken,
} from "./tokens/tokens.ts";

export interface VaultOptions {
  /** Absolute; made (0700) when absent. */
  readonly directory: string;
  /** A key file is made (0600) when both it and the store are absent. */
  readonly keys: VaultKeySource;
  readonly clock: Clock;
  readonly identity?: IdentityOptions;
}

/** An embedded vault: a store in a directory of this machine, asked without waiting. */
export interface Vault extends AnyVault {
  readonly tokens: EmbeddedTokens;
  /**
   * Grows with each write, of any process. Fast: about 1 µs.
   * Errors: VAULT_STORE_BUSY, also when another store was put in the place of this one.
   */
  generation(): number;
}

/** Errors: VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const openVault = async ({ directory, keys: source, clock, identity }: VaultOptions): Promise<Vault> => {
  const ring = await openKeyRing(source, !(await storeExists(directory)));
  const barrier = createBarrier(ring, clock);
  const file = await openLmdb(directory);
  try {
    const placed = whileInPlace(file, createPlaceCheck(directory, clock));
    const storage = await guardEmbedded(placed, { ring, barrier }, clock);
    const vault = assembleVault(
      storage,
      { ring, barrier, isShared: false, replays: createMemoryReplayGuard(clock) },
      clock,
      identity,
    );
    return {
      ...vault,
      tokens: { ...vault.tokens, state: createTokenState(storage, barrier) },
      generation: () => storage.generation(),
      // Not by spreading, which would read it once.
      get keyCount() {
        return ring.keys.length;
      },
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
