/** Opens the store that vault.yaml names. Must never make one: that is for `vault init`. */
import { type Environment, readCredential } from "../../config/credential.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import {
  type AnyVault,
  DEFAULT_APPROVALS,
  openSharedVault,
  openVault,
  sharedStoreExists,
  storeExists,
  vaultKeySource,
} from "../index.ts";
import type { VaultServerConfig } from "./config/model.ts";

export interface OpenStoreOptions {
  readonly config: VaultServerConfig;
  readonly environment: Environment;
  readonly clock: Clock;
  readonly log: Log;
}

/** Errors: VAULT_SERVER_NO_OPERATOR (there is none), VAULT_KEY_UNREADABLE, VAULT_KEY_WRONG, VAULT_STORE_*. */
export const openStore = async ({ config, environment, clock, log }: OpenStoreOptions): Promise<AnyVault> => {
  const { storage, baseDir, state: stateDir, key: credential, tokens, approvals, limits } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir, environment });
  const { expireMs, sensitive, critical, webhook } = approvals;
  const identity = {
    tokens,
    approvals: { ...DEFAULT_APPROVALS, expireMs, sensitive, critical, tells: webhook !== undefined },
    sidecars: { perAgent: limits.sidecarsPerAgent },
  };
  if (storage.kind === "postgres") {
    const url = readCredential(storage.url, { baseDir, environment });
    if (!(await sharedStoreExists({ url, clock, log }))) {
      throw new SidekeyError("VAULT_SERVER_NO_OPERATOR", { detail: "The database holds no vault." });
    }
    return openSharedVault({ url, keys, clock, log, identity });
  }
  if (!(await storeExists(storage.directory))) {
    throw new SidekeyError("VAULT_SERVER_NO_OPERATOR", { detail: storage.directory });
  }
  return openVault({ directory: storage.directory, keys, clock, identity });
};
