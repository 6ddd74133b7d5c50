/**
 * The vault's keys: from a file that only its owner can read, or from a text (FERNET_SECRET_KEY). Must never overwrite a
 * key, make a second one for a store that has one, or put any part of a key into an error.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, link, mkdir, open, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Credential, Environment } from "../config/credential.ts";
import { SidekeyError } from "../core/errors.ts";
import { syncDirectory } from "../core/whole-file.ts";
import { type FernetKey, generateFernetKey, parseFernetKey } from "./fernet.ts";

/** Absolute path of a key file, or the keys themselves and the name of where they came from. */
export type VaultKeySource = { readonly file: string } | { readonly text: string; readonly where: string };

export interface VaultKeyContext {
  /** `sources.NAME.key` */
  readonly credential?: Credential | undefined;
  /** Absolute directory that a relative `file` starts from. */
  readonly baseDir: string;
  /** Absolute state directory. */
  readonly stateDir: string;
  readonly environment: Environment;
}

export const KEY_VARIABLE = "FERNET_SECRET_KEY";

const OTHERS = 0o077;
/** Room for some hundred keys. */
const MAX_KEY_FILE_BYTES = 8 * 1024;

/** Where the keys are by the file, else `FERNET_SECRET_KEY` when set, else `<state>/vault.key`. */
export const vaultKeySource = ({ credential, baseDir, stateDir, environment }: VaultKeyContext): VaultKeySource => {
  if (credential !== undefined && "file" in credential) return { file: resolve(baseDir, credential.file) };
  const name = credential === undefined ? KEY_VARIABLE : credential.env;
  const text = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (text !== undefined && text !== "") return { text, where: `variable ${name}` };
  if (credential === undefined) return { file: join(stateDir, "vault.key") };
  throw new SidekeyError("VAULT_KEY_UNREADABLE", { detail: `Variable ${name} is not set.` });
};

/**
 * The first key seals, every key opens. An absent key file is made when `mayCreate`: the store is new.
 * Errors: VAULT_KEY_UNREADABLE.
 */
export const loadVaultKeys = async (source: VaultKeySource, mayCreate: boolean): Promise<readonly FernetKey[]> => {
  if ("text" in source) return parseKeys(source.text, source.where);
  const found = await readKeyFile(source.file);
  if (found !== undefined) return parseKeys(found, source.file);
  if (!mayCreate) {
    throw new SidekeyError("VAULT_KEY_UNREADABLE", {
      detail: `${source.file} is absent, and the store was made with a key already.`,
      hint: "Bring back the key the vault was made with; a new one would not open its records.",
    });
  }
  await createKeyFile(source.file);
  // Another process may have been first: what stands in the file now counts.
  return parseKeys((await readKeyFile(source.file)) ?? "", source.file);
};

/** Keys are separated by commas or white space. */
const parseKeys = (text: string, where: string): readonly FernetKey[] => {
  const keys: FernetKey[] = [];
  for (const word of text.split(/[\s,]+/)) {
    if (word === "") continue;
    const key = parseFernetKey(word);
    if (key === undefined) throw unreadable(`${where} holds something that is no key (32 bytes in base64url).`);
    keys.push(key);
  }
  if (keys.length === 0) throw unreadable(`${where} holds no key.`);
  return keys;
};

/** Undefined when there is no such file. */
const readKeyFile = async (path: string): Promise<string | undefined> => {
  let file: FileHandle;
  try {
    // Non-blocking: a FIFO in its place must not hang the start.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return undefined;
    throw unreadable(`${path} cannot be opened (${code}).`);
  }
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > MAX_KEY_FILE_BYTES) throw unreadable(`${path} is not a key file.`);
    if ((found.mode & OTHERS) !== 0) {
      const mode = (found.mode & 0o777).toString(8).padStart(4, "0");
      throw new SidekeyError("VAULT_KEY_UNREADABLE", {
        detail: `${path} is open to other users (mode ${mode}).`,
        hint: `See who had access to it, then: chmod 600 ${path}`,
      });
    }
    return (await file.readFile()).toString("utf8");
  } finally {
    await file.close();
  }
};

/**
 * Whole or not at all, and never over an existing one: written beside, then linked to its name, which fails when the
 * name is taken. On disk before anything is sealed with it.
 */
const createKeyFile = async (path: string): Promise<void> => {
  const directory = dirname(path);
  const draft = `${path}.${randomUUID()}`;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(`${generateFernetKey()}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await link(draft, path);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
    } finally {
      await unlink(draft);
    }
    await syncDirectory(directory);
  } catch (error) {
    throw new SidekeyError("VAULT_KEY_UNREADABLE", {
      detail: `${path} cannot be made (${codeOf(error)}).`,
      cause: error,
    });
  }
};

/** Whether `directory` holds a store already. */
export const storeExists = async (directory: string): Promise<boolean> => {
  try {
    await access(join(directory, "data.mdb"));
    return true;
  } catch (error) {
    // Out of sight is not absent: opening it will say why.
    return codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR";
  }
};

const unreadable = (detail: string): SidekeyError => new SidekeyError("VAULT_KEY_UNREADABLE", { detail });

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
