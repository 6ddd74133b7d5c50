/**
 * Secrets in the vault: values in versions, and what is known about each. `list` and `history` never touch a value.
 * A row `meta:PATH` holds the metadata, rows `value:PATH@VERSION` the values; the `:` and `@` are in no path.
 */
import { z } from "zod";
import { parseHost } from "../core/authority.ts";
import type { Clock, EpochMs } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { holdsControl, MAX_SECRET_BYTES } from "../core/secret-bytes.ts";
import { SecretValue } from "../core/secret-value.ts";
import { type Barrier, openJson, sealJson } from "./barrier.ts";
import { checkSecretPath } from "./path.ts";
import type { ReadTx, Tx, VaultStorage } from "./storage/storage.ts";

export interface SecretInfo {
  readonly path: string;
  /** The newest version, counted from 1. */
  readonly version: number;
  readonly type: string | undefined;
  readonly tier: string | undefined;
  /** Canonical names of the only hosts it may go to; empty = any. */
  readonly hosts: readonly string[];
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
}

export interface StoredSecret extends SecretInfo {
  /** Of `version`, which is then the version asked for. */
  readonly value: SecretValue;
}

export interface SecretVersion {
  readonly version: number;
  readonly createdAt: EpochMs;
}

/** What is left out stays as it was. */
export interface SetOptions {
  readonly type?: string;
  readonly tier?: string;
  /** Host names or addresses, without port; an empty list unbinds. */
  readonly hosts?: readonly string[];
}

export interface VaultSecrets {
  /** Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA. */
  set(path: string, value: SecretValue, options?: SetOptions): Promise<SecretInfo>;
  /** `version` as counted, default the newest. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  get(path: string, version?: number): Promise<StoredSecret>;
  /** In path order; `prefix` is compared as text. */
  list(prefix?: string): Promise<readonly SecretInfo[]>;
  /** All versions. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  remove(path: string): Promise<void>;
  /** Newest first. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  history(path: string): Promise<readonly SecretVersion[]>;
}

const META = "meta:";
const WORD = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_HOSTS = 64;

const metaSchema = z.strictObject({
  versions: z.array(z.strictObject({ version: z.number().int().positive(), createdAt: z.number() })).min(1),
  type: z.string().optional(),
  tier: z.string().optional(),
  hosts: z.array(z.string()),
});
type Meta = z.output<typeof metaSchema>;

export const createVaultSecrets = (storage: VaultStorage, barrier: Barrier, clock: Clock): VaultSecrets => {
  const readMeta = (tx: ReadTx, path: string): Meta | undefined => {
    const sealed = tx.get(META + path);
    return sealed === undefined ? undefined : parseMeta(barrier, path, sealed);
  };

  const requireMeta = (tx: ReadTx, path: string): Meta => {
    const meta = readMeta(tx, path);
    if (meta === undefined) throw missing(path);
    return meta;
  };

  const writeMeta = (tx: Tx, path: string, meta: Meta): void =>
    tx.put(META + path, sealJson(barrier, META + path, meta));

  return {
    async set(path, value, options = {}) {
      checkSecretPath(path);
      checkValue(value);
      const changes = checkOptions(options);
      return storage.write((tx) => {
        const before = readMeta(tx, path);
        const version = before === undefined ? 1 : newest(before).version + 1;
        const meta: Meta = {
          hosts: [],
          ...before,
          ...changes,
          versions: [...(before?.versions ?? []), { version, createdAt: clock.now() }],
        };
        tx.put(
          valueKey(path, version),
          value.lend((bytes) => barrier.seal({ path, version }, bytes)),
        );
        writeMeta(tx, path, meta);
        return infoOf(path, meta);
      });
    },

    async get(path, version) {
      checkSecretPath(path);
      return storage.read((tx) => {
        const meta = requireMeta(tx, path);
        const wanted = version ?? newest(meta).version;
        if (!meta.versions.some((known) => known.version === wanted)) throw missing(path, wanted);
        const sealed = tx.get(valueKey(path, wanted));
        if (sealed === undefined) {
          throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `The value of ${path} version ${wanted} is gone.` });
        }
        const value = new SecretValue(barrier.open({ path, version: wanted }, sealed));
        return { ...infoOf(path, meta), version: wanted, value };
      });
    },

    list: (prefix = "") =>
      storage.read((tx) =>
        tx.range(META + prefix).map(({ key, value }) => {
          const path = key.slice(META.length);
          return infoOf(path, parseMeta(barrier, path, value));
        }),
      ),

    async remove(path) {
      checkSecretPath(path);
      await storage.write((tx) => {
        const meta = requireMeta(tx, path);
        for (const { version } of meta.versions) tx.remove(valueKey(path, version));
        tx.remove(META + path);
      });
    },

    async history(path) {
      checkSecretPath(path);
      return storage.read((tx) => requireMeta(tx, path).versions.toReversed());
    },
  };
};

const valueKey = (path: string, version: number): string => `value:${path}@${version}`;

const newest = (meta: Meta): SecretVersion => {
  const last = meta.versions.at(-1);
  if (last === undefined) throw new TypeError("metadata without a version");
  return last;
};

const infoOf = (path: string, meta: Meta): SecretInfo => {
  const { version, createdAt: updatedAt } = newest(meta);
  const createdAt = meta.versions[0]?.createdAt ?? updatedAt;
  return { path, version, type: meta.type, tier: meta.tier, hosts: meta.hosts, createdAt, updatedAt };
};

const parseMeta = (barrier: Barrier, path: string, sealed: Buffer): Meta =>
  openJson(barrier, META + path, sealed, metaSchema);

const checkValue = (value: SecretValue): void => {
  const refuse = (why: string): never => {
    throw new SidekeyError("VAULT_BAD_VALUE", { detail: `The value ${why}.` });
  };
  if (value.length === 0) refuse("is empty");
  if (value.length > MAX_SECRET_BYTES) refuse("is larger than 64 KiB");
  if (value.lend(holdsControl)) {
    refuse("holds a control character, such as a line break, NUL or tab, so it can never stand in a header");
  }
};

const checkOptions = ({ type, tier, hosts }: SetOptions): Partial<Meta> => ({
  ...(type !== undefined && { type: checkWord(type) }),
  ...(tier !== undefined && { tier: checkWord(tier) }),
  ...(hosts !== undefined && { hosts: checkHosts(hosts) }),
});

const checkWord = (word: string): string => {
  if (!WORD.test(word)) throw badMetadata(`${JSON.stringify(word.slice(0, 80))} is not a word for a type or tier.`);
  return word;
};

const checkHosts = (hosts: readonly string[]): string[] => {
  const names = new Set<string>();
  for (const text of hosts) {
    const host = parseHost(text);
    if (host === undefined) throw badMetadata(`${JSON.stringify(text.slice(0, 255))} is not a host without a port.`);
    names.add(host.name);
  }
  if (names.size > MAX_HOSTS) throw badMetadata(`More than ${MAX_HOSTS} hosts.`);
  return [...names];
};

const badMetadata = (detail: string): SidekeyError => new SidekeyError("VAULT_BAD_METADATA", { detail });

const missing = (path: string, version?: number): SidekeyError =>
  new SidekeyError("VAULT_SECRET_MISSING", { detail: version === undefined ? path : `${path} version ${version}` });
