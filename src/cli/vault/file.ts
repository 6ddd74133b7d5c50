/** Finds and reads the file of the vault's server. Must never look further than `-c` and ./vault.yaml. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { VaultServerConfig } from "../../vault/server/config/config.ts";
import type { Invocation, OptionSpec } from "../command.ts";
import { findConfigFile } from "../context.ts";

/** As the files' reader has it, which is not loaded for a look. `bytes` */
const MAX_FILE_SIZE = 1024 * 1024;

export const VAULT_FILE_OPTION: OptionSpec = { flags: "-c, --config <file>", summary: "the file (else ./vault.yaml)" };

/**
 * The file, where a command that knows both kinds is given the vault's: `-c` names it, or there is a vault.yaml here and no
 * sidekey.yaml. A file that cannot be read is told by whoever reads it.
 */
export const findVaultFile = async (invocation: Invocation): Promise<string | undefined> => {
  const { DEFAULT_VAULT_FILE, isVaultFile } = await import("../../vault/server/config/kind.ts");
  const { options, directory } = invocation;
  const file = findConfigFile(invocation);
  if (file !== undefined) return isVaultFile(file, textOf(file)) ? file : undefined;
  const usual = join(directory, DEFAULT_VAULT_FILE);
  return options.text("config") === undefined && existsSync(usual) ? usual : undefined;
};

const textOf = (file: string): string => {
  try {
    // Neither a pipe, whose content can be read once, nor what is no configuration for its size.
    const found = statSync(file);
    return found.isFile() && found.size <= MAX_FILE_SIZE ? readFileSync(file, "utf8") : "";
  } catch {
    return "";
  }
};

/** The checked file, or the defaults where there is none. Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
export const loadVaultFile = async ({ options, directory }: Invocation): Promise<VaultServerConfig> => {
  const { DEFAULT_VAULT_FILE, defaultVaultConfig, readVaultConfig } = await import(
    "../../vault/server/config/config.ts"
  );
  const named = options.text("config");
  if (named !== undefined) return readVaultConfig(resolve(directory, named));
  const usual = join(directory, DEFAULT_VAULT_FILE);
  return existsSync(usual) ? readVaultConfig(usual) : defaultVaultConfig(directory);
};
