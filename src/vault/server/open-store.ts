/** Opens the store that vault.yaml names. Must never make one: that is for `vault init`. */
import type { Environment } from "../../config/credential.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { type AnyVault, DEFAULT_APPROVALS, openVault, storeExists, vaultKeySource } from "../index.ts";
import type { VaultServerConfig } from "./config-model.ts";
import { createMemoryReplayGuard, type ReplayGuard } from "./replay-guard.ts";

export interface OpenStoreOptions {
  readonly config: VaultServerConfig;
  readonly environment: Environment;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Store {
  readonly vault: AnyVault;
  readonly replays: ReplayGuard;
  close(): Promise<void>;
}

/** Errors: VAULT_SERVER_NO_OPERATOR (there is none), VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_*. */
export const openStore = async ({ config, environment, clock }: OpenStoreOptions): Promise<Store> => {
  const { storage, baseDir, state: stateDir, key: credential, tokens, approvals } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir, environment });
  const { expireMs, sensitive, critical } = approvals;
  const identity = { tokens, approvals: { ...DEFAULT_APPROVALS, expireMs, sensitive, critical } };
  if (storage.kind === "postgres") throw new SidekeyError("CONFIG_INVALID", { detail: "storage.kind: postgres" });
  if (!(await storeExists(storage.directory))) {
    throw new SidekeyError("VAULT_SERVER_NO_OPERATOR", { detail: storage.directory });
  }
  const vault = await openVault({ directory: storage.directory, keys, clock, identity });
  return { vault, replays: createMemoryReplayGuard(clock), close: () => vault.close() };
};
