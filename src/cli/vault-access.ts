/** Opens the embedded vault that a command names. Must never make a store only to find nothing in it. */
import { existsSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { nearest } from "../config/suggest.ts";
import { systemClock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { prepareStateDirectory } from "../core/state-directory.ts";
import type { SidecarConfig } from "../sidecar/app/config.ts";
import type { Vault, VaultKeySource } from "../vault/index.ts";
import type { Invocation, OptionSpec } from "./command.ts";
import { loadConfigOrDefaults } from "./context.ts";

export const SOURCE_OPTION: OptionSpec = { flags: "--source <name>", summary: "a local source of the file" };
export const VAULT_OPTION: OptionSpec = { flags: "--vault <url>", summary: "a vault server", later: true };

type LocalFields = Extract<SidecarConfig["sources"][number]["fields"], { readonly kind: "local" }>;

export interface VaultUse {
  readonly vault: Vault;
  readonly config: SidecarConfig;
  /** Name of the source the store belongs to. */
  readonly source: string;
}

export interface VaultPlace {
  readonly config: SidecarConfig;
  readonly source: string;
  /** Absolute directory of the store. */
  readonly directory: string;
  readonly keys: VaultKeySource;
}

/** Where the store that a command names is, and its keys. Errors: those of the file; VAULT_KEY_UNREADABLE. */
export const locateVault = async (invocation: Invocation): Promise<VaultPlace> => {
  const config = await loadConfigOrDefaults(invocation);
  const { name, fields } = localSource(config, invocation.options.text("source"));
  const { key } = fields;
  const directory = storeOf(config, fields);
  const { vaultKeySource } = await import("../vault/index.ts");
  const { environment } = invocation;
  const keys = vaultKeySource({ credential: key, baseDir: config.baseDir, stateDir: config.state, environment });
  return { config, source: name, directory, keys };
};

/**
 * Opens the store, hands it to `use`, closes it. `absent` answers where there is no store yet; without it, one is made.
 * Errors: those of the file, of openVault and of `use`.
 */
export const withVault = async <T>(
  invocation: Invocation,
  use: (opened: VaultUse) => Promise<T>,
  absent?: (directory: string) => T,
): Promise<T> => {
  const { config, source, directory, keys } = await locateVault(invocation);
  const { openVault, storeExists } = await import("../vault/index.ts");
  // One that is out of this user's reach is not absent: opening it says so.
  if (absent !== undefined && !(await storeExists(directory))) return absent(directory);
  prepareStateDirectory(config.state);
  const vault = await openVault({ directory, keys, clock: systemClock });
  try {
    return await use({ vault, config, source });
  } finally {
    await vault.close();
  }
};

/** Names of the other sources whose stores are there and have their key in the same file. */
export const sourcesWithKey = async (invocation: Invocation, keys: VaultKeySource): Promise<readonly string[]> => {
  if (!("file" in keys)) return [];
  const { config, source } = await locateVault(invocation);
  const { storeExists, vaultKeySource } = await import("../vault/index.ts");
  const { baseDir, state: stateDir } = config;
  const names: string[] = [];
  for (const { name, fields } of config.sources) {
    if (name === source || fields.kind !== "local") continue;
    // What comes from a variable is no file, set or not.
    if (fields.key !== undefined && "env" in fields.key) continue;
    const { environment } = invocation;
    const other = vaultKeySource({ credential: fields.key, baseDir, stateDir, environment });
    if (!("file" in other) || realPath(other.file) !== realPath(keys.file)) continue;
    if (await storeExists(storeOf(config, fields))) names.push(name);
  }
  return names;
};

const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : path);

/** Where the key of a store is, for JSON. */
export const keyPlace = (keys: VaultKeySource): { readonly file: string } | { readonly from: string } =>
  "file" in keys ? { file: keys.file } : { from: keys.where };

/** The same in words: the file's path, or `variable NAME`. */
export const keyWords = (keys: VaultKeySource): string => ("file" in keys ? keys.file : keys.where);

const storeOf = ({ state, baseDir }: SidecarConfig, { path }: LocalFields): string =>
  path === undefined ? join(state, "vault") : resolve(baseDir, path);

/** The named source, or the first local one. Errors: CONFIG_USAGE. */
const localSource = (
  { sources }: SidecarConfig,
  name: string | undefined,
): { readonly name: string; readonly fields: LocalFields } => {
  for (const source of sources) {
    if (name !== undefined && source.name !== name) continue;
    if (source.fields.kind === "local") return { name: source.name, fields: source.fields };
    if (name === undefined) continue;
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `The source '${name}' is of kind '${source.fields.kind}'; only a local source is a vault of this machine.`,
      hint: "Change its secrets where they are kept.",
    });
  }
  const names = sources.filter(({ fields }) => fields.kind === "local").map((source) => source.name);
  const meant = name === undefined ? undefined : nearest(name, names);
  throw new SidekeyError("CONFIG_USAGE", {
    detail: name === undefined ? "The file declares no local source." : `The file declares no source '${name}'.`,
    hint:
      names.length === 0
        ? "Add one: sources: { local: { kind: local } }"
        : `${meant === undefined ? "" : `Did you mean '${meant}'? `}Its local sources: ${names.join(", ")}.`,
  });
};
