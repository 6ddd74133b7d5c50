/**
 * The vault's keys: from a file that only its owner can read, or from a text (FERNET_SECRET_KEY). Must never make a second
 * key for a store that has one, or put any part of a key into an error.
 */
import { access } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Credential, Environment } from "../../config/credential.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { systemCode } from "../../core/whole-file.ts";
import { checkBackendVariable } from "../backends/index.ts";
import { type FernetKey, formatFernetKey, generateFernetKey, parseFernetKey } from "./fernet.ts";
import { createKeyFile, readKeyFile, replaceKeyFile } from "./key-file.ts";

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

/** The keys as this process knows them. */
export interface KeyRing {
  /** The first seals, every one opens. */
  readonly keys: readonly FernetKey[];
  /** Where they come from: a file, or a name to tell. */
  readonly source: { readonly file: string } | { readonly where: string };
  /** Looks where they come from; whether they have changed. Errors: VAULT_KEY_UNREADABLE. */
  reload(): boolean;
  /** Puts that key ahead of the others, in this process alone; undefined: as they stand where they come from. */
  lead(key: FernetKey | undefined): void;
  /** Puts others into the file, on disk when it returns. Only within a write transaction. Errors: VAULT_KEY_UNWRITABLE. */
  replace(keys: readonly FernetKey[]): void;
}

export const KEY_VARIABLE = "FERNET_SECRET_KEY";

/**
 * Where the keys are by the file, else `FERNET_SECRET_KEY` when set, else `<state>/vault.key`.
 * Errors: VAULT_KEY_UNREADABLE, VAULT_BACKEND_UNAVAILABLE (`SECRET_BACKEND` asks for a store without them), CONFIG_USAGE.
 */
export const vaultKeySource = ({ credential, baseDir, stateDir, environment }: VaultKeyContext): VaultKeySource => {
  checkBackendVariable(environment);
  if (credential !== undefined && "file" in credential) return { file: resolve(baseDir, credential.file) };
  const name = credential === undefined ? KEY_VARIABLE : credential.env;
  const text = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (text !== undefined && text !== "") return { text, where: `variable ${name}` };
  if (credential === undefined) return { file: join(stateDir, "vault.key") };
  throw new SidekeyError("VAULT_KEY_UNREADABLE", { detail: `Variable ${name} is not set.` });
};

/** An absent key file is made when `mayCreate`: the store is new. Errors: VAULT_KEY_UNREADABLE. */
export const openKeyRing = async (source: VaultKeySource, mayCreate: boolean): Promise<KeyRing> => {
  if ("text" in source) {
    const keys = createKeyOrder(parseKeys(source.text, source.where));
    const fixed = (): never => {
      throw new TypeError("keys of a text cannot be replaced");
    };
    return {
      get keys() {
        return keys.inOrder();
      },
      source: { where: source.where },
      reload: () => false,
      lead: keys.lead,
      replace: fixed,
    };
  }
  const { file } = source;
  let text = await readOrCreate(file, mayCreate);
  const keys = createKeyOrder(parseKeys(text, file));
  return {
    get keys() {
      return keys.inOrder();
    },
    source: { file },
    reload() {
      const found = readKeyFile(file);
      // Gone: what this process has is what there is.
      if (found === undefined || found === text) return false;
      keys.set(parseKeys(found, file));
      text = found;
      return true;
    },
    lead: keys.lead,
    replace(next) {
      const written = `${next.map(formatFernetKey).join("\n")}\n`;
      replaceKeyFile(file, written);
      keys.set(next);
      text = written;
    },
  };
};

/** Keys as they come, and which of them goes first all the same. */
const createKeyOrder = (initial: readonly FernetKey[]) => {
  let known = initial;
  let leader: FernetKey | undefined;
  let ordered = initial;
  const order = (): void => {
    const first = known.find((key) => leader !== undefined && isSameKey(key, leader));
    ordered = first === undefined ? known : [first, ...known.filter((key) => key !== first)];
  };
  return {
    inOrder: () => ordered,
    set(next: readonly FernetKey[]): void {
      known = next;
      order();
    },
    lead(key: FernetKey | undefined): void {
      leader = key;
      order();
    },
  };
};

const isSameKey = (a: FernetKey, b: FernetKey): boolean =>
  a.signing.equals(b.signing) && a.encryption.equals(b.encryption);

const readOrCreate = async (file: string, mayCreate: boolean): Promise<string> => {
  const found = readKeyFile(file);
  if (found !== undefined) return found;
  if (!mayCreate) {
    throw new SidekeyError("VAULT_KEY_UNREADABLE", {
      detail: `${file} is absent, and the store was made with a key already.`,
      hint:
        "Bring back the key the vault was made with; a new one would not open its records. Where no copy is left its " +
        "secrets are lost: move the store away and begin with 'sidekey vault init'.",
    });
  }
  await createKeyFile(file, `${generateFernetKey()}\n`);
  // Another process may have been first: what stands in the file now counts.
  return readKeyFile(file) ?? "";
};

/** How often the keys may change while one thing is done. */
const MAX_CHANGES = 5;

/**
 * Runs `use` with the keys at hand, and again while the file has newer ones than those that opened nothing.
 * Errors: those of `use`; VAULT_KEY_UNREADABLE.
 */
export const withNewestKeys = <T>(ring: KeyRing, use: () => T): T => {
  for (let change = 0; ; change += 1) {
    try {
      return use();
    } catch (error) {
      if (change === MAX_CHANGES || !isWrongKey(error) || !ring.reload()) throw error;
    }
  }
};

/** As `withNewestKeys`. */
export const withNewestKeysLater = async <T>(ring: KeyRing, use: () => Promise<T>): Promise<T> => {
  for (let change = 0; ; change += 1) {
    try {
      return await use();
    } catch (error) {
      if (change === MAX_CHANGES || !isWrongKey(error) || !ring.reload()) throw error;
    }
  }
};

export const isWrongKey = (error: unknown): boolean => isSidekeyError(error) && error.code === "VAULT_KEY_WRONG";

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

/** Whether `directory` holds a store already. */
export const storeExists = async (directory: string): Promise<boolean> => {
  try {
    await access(join(directory, "data.mdb"));
    return true;
  } catch (error) {
    // Out of sight is not absent: opening it will say why.
    return !["ENOENT", "ENOTDIR"].includes(systemCode(error));
  }
};

const unreadable = (detail: string): SidekeyError => new SidekeyError("VAULT_KEY_UNREADABLE", { detail });
