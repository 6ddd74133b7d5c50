/**
 * Which logs the audit commands read, and the key of each: those of a sidecar's state directory, or, where the file is
 * that of a vault's server, the vault's own with what else lies beside it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { AuditLog } from "../../audit/index.ts";
import type { Invocation, OptionSpec } from "../command.ts";
import { findConfigFile, loadConfigOrDefaults } from "../context.ts";

export const AUDIT_FILE_OPTION: OptionSpec = {
  flags: "-c, --config <file>",
  summary: "a sidecar's file or a vault's (else $SIDEKEY_CONFIG, else ./sidekey.yaml, else ./vault.yaml)",
};

export interface AuditPlaces {
  /** Those that are there now; the main one first. */
  logs(): AuditLog[];
  keyPath(log: AuditLog): string;
  /** The key of what a vault's server exported. */
  readonly exportKeyPath: string;
}

/** Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
export const findAudit = async (invocation: Invocation): Promise<AuditPlaces> => {
  const { findAuditLogs, vaultLogPath } = await import("../../audit/index.ts");
  const file = await vaultFileOf(invocation);
  if (file !== undefined) {
    const { readVaultConfig } = await import("../../vault/server/config/config.ts");
    const { state, audit } = readVaultConfig(file);
    const main = resolve(audit.path);
    return {
      logs: () => findAuditLogs(state, main),
      keyPath: ({ path }) => (path === main ? audit.key : keyIn(state, audit.key)),
      exportKeyPath: audit.key,
    };
  }
  const { state, audit } = await loadConfigOrDefaults(invocation);
  const ofVault = resolve(vaultLogPath(state));
  return {
    logs: () => findAuditLogs(state, audit.path),
    keyPath: ({ path }) => (path === ofVault ? keyIn(state, audit.key) : audit.key),
    exportKeyPath: keyIn(state, audit.key),
  };
};

/** Where a server and a sidecar share a directory, whoever names no key of its own has this one. */
const keyIn = (state: string, other: string): string => {
  const usual = join(state, "audit.key");
  return existsSync(usual) ? usual : other;
};

/** The file, where it is that of a vault's server. */
const vaultFileOf = async (invocation: Invocation): Promise<string | undefined> => {
  const { DEFAULT_VAULT_FILE, isVaultFile } = await import("../../vault/server/config/config.ts");
  const file = findConfigFile(invocation);
  if (file === undefined) {
    const usual = join(invocation.directory, DEFAULT_VAULT_FILE);
    return existsSync(usual) ? usual : undefined;
  }
  return isVaultFile(file, textOf(file)) ? file : undefined;
};

const textOf = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // Whoever reads it next says what is wrong with it.
    return "";
  }
};
