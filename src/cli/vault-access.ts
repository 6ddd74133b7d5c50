/** Opens the embedded vault that a command names. Must never make a store only to find nothing in it. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { prepareStateDirectory } from "../core/state-directory.ts";
import type { SidecarConfig } from "../sidecar/app/config.ts";
import type { Vault } from "../vault/index.ts";
import type { Invocation, OptionSpec } from "./command.ts";
import { loadConfigOrDefaults } from "./context.ts";

export const SOURCE_OPTION: OptionSpec = { flags: "--source <name>", summary: "a local source of the file" };
export const VAULT_OPTION: OptionSpec = { flags: "--vault <url>", summary: "a vault server", later: true };

type LocalFields = Extract<SidecarConfig["sources"][number]["fields"], { readonly kind: "local" }>;

export interface VaultUse {
  readonly vault: Vault;
  readonly config: SidecarConfig;
}

/**
 * Opens the store, hands it to `use`, closes it. `absent` answers where there is no store yet; without it, one is made.
 * Errors: those of the file, of openVault and of `use`.
 */
export const withVault = async <T>(
  invocation: Invocation,
  use: (opened: VaultUse) => Promise<T>,
  absent?: (directory: string) => T,
): Promise<T> => {
  const config = await loadConfigOrDefaults(invocation);
  const { path, key } = localSource(config, invocation.options.text("source"));
  const directory = path === undefined ? join(config.state, "vault") : resolve(config.baseDir, path);
  if (absent !== undefined && !existsSync(directory)) return absent(directory);
  prepareStateDirectory(config.state);
  const { openVault, vaultKeySource } = await import("../vault/index.ts");
  const { environment } = invocation;
  const keys = vaultKeySource({ credential: key, baseDir: config.baseDir, stateDir: config.state, environment });
  const vault = await openVault({ directory, keys, clock: systemClock });
  try {
    return await use({ vault, config });
  } finally {
    await vault.close();
  }
};

/** The named source, or the first local one. Errors: CONFIG_USAGE. */
const localSource = ({ sources }: SidecarConfig, name: string | undefined): LocalFields => {
  for (const source of sources) {
    if (name !== undefined && source.name !== name) continue;
    if (source.fields.kind === "local") return source.fields;
    if (name === undefined) continue;
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `The source '${name}' is of kind '${source.fields.kind}'; only a local source is a vault of this machine.`,
      hint: "Change its secrets where they are kept.",
    });
  }
  const names = sources.filter(({ fields }) => fields.kind === "local").map((source) => source.name);
  throw new SidekeyError("CONFIG_USAGE", {
    detail: name === undefined ? "The file declares no local source." : `The file declares no source '${name}'.`,
    hint:
      names.length === 0 ? "Add one: sources: { local: { kind: local } }" : `Its local sources: ${names.join(", ")}`,
  });
};
