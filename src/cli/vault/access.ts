/** Opens the embedded vault that a command names. Must never make a store only to find nothing in it. */
import { existsSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { nearest } from "../../config/suggest.ts";
import { systemClock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { silentLog } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { AnyVault, VaultKeySource } from "../../vault/index.ts";
import type { Invocation, OptionSpec } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { findVaultFile } from "./file.ts";

export const SOURCE_OPTION: OptionSpec = { flags: "--source <name>", summary: "a local source of the file" };

type LocalFields = Extract<SidecarConfig["sources"][number]["fields"], { readonly kind: "local" }>;

/** What a command has to know of a file, be it the sidecar's or the vault's own. */
export type StoreConfig = Pick<SidecarConfig, "state" | "baseDir" | "agent" | "audit" | "sources">;

export interface VaultUse {
  readonly vault: AnyVault;
  readonly config: StoreConfig;
  /** Name of the source the store belongs to. */
  readonly source: string;
}

export interface VaultPlace {
  readonly config: StoreConfig;
  readonly source: string;
  /** Absolute directory of the store; of one in a database, words for it. */
  readonly directory: string;
  /** URL of the database; undefined = it is in `directory`. Holds a password. */
  readonly database: string | undefined;
  readonly keys: VaultKeySource;
}

/** Where the store that a command names is, and its keys. Errors: those of the file; VAULT_KEY_UNREADABLE. */
export const locateVault = async (invocation: Invocation): Promise<VaultPlace> => {
  const file = await findVaultFile(invocation);
  if (file !== undefined) return placeOfVaultFile(file, invocation);
  const config = await loadConfigOrDefaults(invocation);
  const { name, fields } = localSource(config, invocation.options.text("source"));
  const { key } = fields;
  const directory = storeOf(config, fields);
  const { vaultKeySource } = await import("../../vault/index.ts");
  const { environment } = invocation;
  const keys = vaultKeySource({ credential: key, baseDir: config.baseDir, stateDir: config.state, environment });
  return { config, source: name, directory, database: undefined, keys };
};

/** The store of a vault.yaml, as if it were a source named `vault`. Errors: CONFIG_USAGE (--source with it). */
const placeOfVaultFile = async (file: string, { options, environment }: Invocation): Promise<VaultPlace> => {
  if (options.text("source") !== undefined) {
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `${file} is a vault's file, which has no sources.`,
      hint: "Leave --source out.",
    });
  }
  const { readVaultConfig } = await import("../../vault/server/config/config.ts");
  const { vaultKeySource } = await import("../../vault/index.ts");
  const config = readVaultConfig(file);
  const { baseDir, state: stateDir, key: credential, storage } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir, environment });
  const owner = { ...config, agent: "vault", sources: [] };
  if (storage.kind === "lmdb") {
    return { config: owner, source: "vault", directory: storage.directory, database: undefined, keys };
  }
  const { readCredential } = await import("../../config/credential.ts");
  const database = readCredential(storage.url, { baseDir, environment });
  return { config: owner, source: "vault", directory: "the database of storage.url", database, keys };
};

/** Whether there is a store. Errors: VAULT_STORE_BUSY (it cannot be looked at). */
export const placeExists = async ({ directory, database }: VaultPlace): Promise<boolean> => {
  const { sharedStoreExists, storeExists } = await import("../../vault/index.ts");
  if (database === undefined) return storeExists(directory);
  return sharedStoreExists({ url: database, clock: systemClock, log: silentLog });
};

/** Makes it where there is none. The caller's to close. */
export const openPlace = async ({ directory, database, keys, config }: VaultPlace): Promise<AnyVault> => {
  const { openSharedVault, openVault } = await import("../../vault/index.ts");
  prepareStateDirectory(config.state);
  if (database === undefined) return openVault({ directory, keys, clock: systemClock });
  return openSharedVault({ url: database, keys, clock: systemClock, log: silentLog });
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
  const place = await locateVault(invocation);
  const { config, source, directory } = place;
  // One that is out of this user's reach is not absent: opening it says so.
  if (absent !== undefined && !(await placeExists(place))) return absent(directory);
  const vault = await openPlace(place);
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
  const { storeExists, vaultKeySource } = await import("../../vault/index.ts");
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

const storeOf = ({ state, baseDir }: StoreConfig, { path }: LocalFields): string =>
  path === undefined ? join(state, "vault") : resolve(baseDir, path);

/** The named source, or the first local one. Errors: CONFIG_USAGE. */
const localSource = (
  { sources }: Pick<SidecarConfig, "sources">,
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
