/** What a vault is made of, on whatever storage: each part of the domain over the same guarded rows. */
import type { Clock } from "../core/clock.ts";
import { createVaultAgents, type VaultAgents } from "./agents/agents.ts";
import { createVaultSidecars, type SidecarLimits, type VaultSidecars } from "./agents/sidecars.ts";
import { type ApprovalOptions, createVaultApprovals, type VaultApprovals } from "./approvals/approvals.ts";
import { type ApprovalNews, createApprovalNews } from "./approvals/news.ts";
import { BACKED_UP, type Backup, writeBackup } from "./backup/backup.ts";
import { restoreRows } from "./backup/restore-rows.ts";
import type { GuardedStorage, Keys } from "./barrier/guarded-storage.ts";
import { type Rekeyed, rekey } from "./barrier/rekey.ts";
import { createSealedKey } from "./barrier/sealed-key.ts";
import { type BriefRows, createBriefRows } from "./brief-rows.ts";
import { createVaultChanges, type VaultChanges } from "./changes.ts";
import { createKeptAnswers, type KeptAnswers } from "./kept-answers.ts";
import { createVaultSecrets } from "./secrets/secrets.ts";
import type { VaultSecrets } from "./secrets/types.ts";
import type { Watchable } from "./storage/storage.ts";
import { createVaultPlaceholders, type VaultPlaceholders } from "./tokens/placeholders.ts";
import { createProofNonces, type ProofNonces } from "./tokens/proof-nonces.ts";
import { createSharedReplayGuard, type ReplayGuard } from "./tokens/replay-guard.ts";
import { DEFAULT_TOKEN_LIMITS, type TokenLimits } from "./tokens/request.ts";
import { createSigningKeys, type SigningKeys } from "./tokens/signing-keys.ts";
import { createVaultTokens, type VaultTokens } from "./tokens/tokens.ts";

/** Of hashes of proofs that were seen. */
const PROOF_KEY = "noncekey:proofs";

/** What a vault's configuration says of whom it deals with. */
export interface IdentityOptions {
  readonly tokens?: TokenLimits;
  readonly approvals?: ApprovalOptions;
  readonly sidecars?: SidecarLimits;
}

export interface VaultKeys extends Keys {
  /** Its processes have their keys from places of their own. */
  readonly isShared: boolean;
  readonly replays: ReplayGuard;
}

export interface AnyVault extends Watchable {
  readonly secrets: VaultSecrets;
  readonly tokens: VaultTokens;
  readonly agents: VaultAgents;
  readonly sidecars: VaultSidecars;
  readonly approvals: VaultApprovals;
  /** What is still to be told of them, where somebody is told. */
  readonly approvalNews: ApprovalNews;
  /** The public halves for whoever verifies tokens himself, and a new key for those to come. */
  readonly signingKeys: Pick<SigningKeys, "jwks" | "rotate">;
  /** For proofs of sidecars whose clock differs. */
  readonly proofNonces: ProofNonces;
  readonly changes: VaultChanges;
  readonly placeholders: VaultPlaceholders;
  /** To changes that came with an Idempotency-Key. */
  readonly answers: KeptAnswers;
  /** What is of use for a minute. */
  readonly briefRows: BriefRows;
  /** Proofs that were seen: by all processes of a shared store, by this one of an embedded one. */
  readonly replays: ReplayGuard;
  /** How many keys open it. More than one: a rekey is under way or was cut short, or somebody put a new key first. */
  readonly keyCount: number;
  /**
   * Seals every row with a new key, or with the first of several, and leaves only that one in the key file. Other processes
   * may go on using the store. The keys of a shared one are changed by whoever runs it: first all of its processes have
   * both. Cut short, the next call goes on. `progress` hears of rows done, of all there are to do.
   * Errors: CONFIG_USAGE (one key, and not in a file or not in one place), VAULT_KEY_UNWRITABLE, VAULT_STORE_BUSY.
   */
  rekey(progress?: (done: number, total: number) => void): Promise<Rekeyed>;
  /**
   * All secrets, agents, operators and sidecars as one text of sealed rows, as they are at one moment.
   * Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED.
   */
  backup(): Promise<string>;
  /**
   * In one transaction: the secrets of a backup in the place of all that are there; those of its agents, operators and
   * sidecars that are not known here. Tokens stay as they are.
   */
  restore(backup: Backup): Promise<void>;
  close(): Promise<void>;
}

export const assembleVault = (
  storage: GuardedStorage,
  keys: VaultKeys,
  clock: Clock,
  { tokens: limits = DEFAULT_TOKEN_LIMITS, approvals, sidecars }: IdentityOptions = {},
): AnyVault => {
  const { ring, barrier, isShared, replays } = keys;
  const signingKeys = createSigningKeys(storage, barrier, clock);
  return {
    secrets: createVaultSecrets(storage, barrier, clock),
    tokens: createVaultTokens({ storage, barrier, clock, keys: signingKeys, limits }),
    agents: createVaultAgents(storage, barrier, clock),
    sidecars: createVaultSidecars({ storage, barrier, clock }, sidecars),
    approvals: createVaultApprovals({ storage, barrier, clock }, approvals),
    approvalNews: createApprovalNews(storage, barrier, clock),
    signingKeys,
    proofNonces: createProofNonces(storage, barrier, clock),
    changes: createVaultChanges(storage, barrier),
    placeholders: createVaultPlaceholders(storage, barrier),
    answers: createKeptAnswers(storage, barrier, clock),
    briefRows: createBriefRows(storage, barrier, clock),
    replays: isShared
      ? createSharedReplayGuard({ clock, key: createSealedKey(storage, barrier, PROOF_KEY), common: replays })
      : replays,
    get keyCount() {
      return ring.keys.length;
    },
    rekey: (progress) => rekey(storage, { ring, barrier, isShared }, progress),
    backup: () =>
      storage.read((tx) =>
        writeBackup(
          BACKED_UP.flatMap((prefix) => tx.range(prefix)),
          barrier,
          { createdAt: clock.now(), generation: tx.generation },
        ),
      ),
    restore: ({ rows }) => storage.write((tx) => restoreRows(tx, barrier, { rows, now: clock.now() })),
    watch: (onChange) => storage.watch(onChange),
    close: () => storage.close(),
  };
};
