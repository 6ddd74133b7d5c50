/** Finds and reads the file of the vault's server. Must never look further than `-c` and ./vault.yaml. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { VaultServerConfig } from "../vault/server/config.ts";
import type { Invocation, OptionSpec } from "./command.ts";

export const VAULT_FILE_OPTION: OptionSpec = { flags: "-c, --config <file>", summary: "the file (else ./vault.yaml)" };

/** The checked file, or the defaults where there is none. Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
export const loadVaultFile = async ({ options, directory }: Invocation): Promise<VaultServerConfig> => {
  const { DEFAULT_VAULT_FILE, defaultVaultConfig, readVaultConfig } = await import("../vault/server/config.ts");
  const named = options.text("config");
  if (named !== undefined) return readVaultConfig(resolve(directory, named));
  const usual = join(directory, DEFAULT_VAULT_FILE);
  return existsSync(usual) ? readVaultConfig(usual) : defaultVaultConfig(directory);
};
