/**
 * Secrets in the vault: values in versions, and what is known about each. `list` and `history` never touch a value.
 * A row `meta:PATH` holds the metadata, rows `value:PATH@VERSION` the values; the `:` and `@` are in no path.
 */
import * as z from "zod";
import { parseHost } from "../core/authority.ts";
import type { Clock, EpochMs } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { SecretValue } from "../core/secret-value.ts";
import { type Barrier, openJson, sealJson } from "./barrier.ts";
import { checkSecretPath } from "./path.ts";
import { META, valueKey } from "./rows.ts";
import type { ReadTx, Tx, VaultStorage } from "./storage/storage.ts";
import { checkSecretValue } from "./value.ts";

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
  /** Who wrote it, as the one who called said; absent where nobody said. */
  readonly by?: string | undefined;
  /** From here on it is closed: a rotation put an end to it. Absent: readable as long as the secret is there. */
  readonly readableUntil?: EpochMs | undefined;
}

export interface WriteOptions {
  /** Who writes, for `history`: 1 to 64 printable characters. */
  readonly by?: string;
}

/** What is left out stays as it was. */
export interface SetOptions extends WriteOptions {
  readonly type?: string;
  readonly tier?: string;
  /** Host names or addresses, without port; an empty list unbinds. */
  readonly hosts?: readonly string[];
}

export interface RotateOptions extends WriteOptions {
  /** How long the versions before stay readable by their number, `ms`; default 0: closed at once. */
  readonly graceMs?: number;
}

export interface ImportOptions extends WriteOptions {
  readonly dryRun?: boolean;
}

export interface ImportEntry {
  readonly path: string;
  readonly value: SecretValue;
  /** Binds a new secret to these; what is there already keeps what it is bound to. */
  readonly hosts?: readonly string[];
}

export interface Imported {
  readonly path: string;
  /** The newest one after the import. */
  readonly version: number;
  readonly change: "new" | "changed" | "same";
}

export interface VaultSecrets {
  /** Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA. */
  set(path: string, value: SecretValue, options?: SetOptions): Promise<SecretInfo>;
  /**
   * A new version, and an end to the ones before.
   * Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA (grace), VAULT_SECRET_MISSING.
   */
  rotate(path: string, value: SecretValue, options?: RotateOptions): Promise<SecretInfo>;
  /**
   * All or none. What is there with the same value is left alone; `dryRun` only tells.
   * Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA.
   */
  importAll(entries: readonly ImportEntry[], options?: ImportOptions): Promise<readonly Imported[]>;
  /** `version` as counted, default the newest. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING (also: it was closed). */
  get(path: string, version?: number): Promise<StoredSecret>;
  /** In path order; `prefix` is compared as text. */
  list(prefix?: string): Promise<readonly SecretInfo[]>;
  /** All versions. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  remove(path: string): Promise<void>;
  /** Newest first. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  history(path: string): Promise<readonly SecretVersion[]>;
}

const WORD = /^[A-Za-z0-9._-]{1,64}$/;
const BY = /^[ -~]{1,64}$/;
const MAX_HOSTS = 64;

const metaSchema = z.strictObject({
  versions: z
    .array(
      z.strictObject({
        version: z.number().int().positive(),
        createdAt: z.number(),
        by: z.string().optional(),
        readableUntil: z.number().optional(),
      }),
    )
    .min(1),
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

  /** Values whose time is over leave the store with the next write to their secret; `history` keeps their dates. */
  const dropClosed = (tx: Tx, path: string, versions: readonly SecretVersion[]): void => {
    for (const known of versions) if (isClosed(known, clock.now())) tx.remove(valueKey(path, known.version));
  };

  const addVersion = (tx: Tx, { path, value, before, changes, by }: Addition): SecretInfo => {
    const version = before === undefined ? 1 : newest(before).version + 1;
    const added = { version, createdAt: clock.now(), ...(by !== undefined && { by: checkBy(by) }) };
    const meta: Meta = { hosts: [], ...before, ...changes, versions: [...(before?.versions ?? []), added] };
    tx.put(
      valueKey(path, version),
      value.lend((bytes) => barrier.seal({ path, version }, bytes)),
    );
    dropClosed(tx, path, meta.versions);
    writeMeta(tx, path, meta);
    return infoOf(path, meta);
  };

  const holdsSame = (tx: Tx, path: string, meta: Meta, value: SecretValue): boolean => {
    const found = openValue(tx, path, newest(meta).version);
    return value.lend((bytes) => bytes.equals(found));
  };

  const openValue = (tx: ReadTx, path: string, version: number): Buffer => {
    const sealed = tx.get(valueKey(path, version));
    if (sealed !== undefined) return barrier.open({ path, version }, sealed);
    throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `The value of ${path} version ${version} is gone.` });
  };

  return {
    async set(path, value, { by, ...options } = {}) {
      checkSecretPath(path);
      checkSecretValue(value);
      const changes = checkOptions(options);
      return storage.write((tx) => addVersion(tx, { path, value, before: readMeta(tx, path), changes, by }));
    },

    async rotate(path, value, { graceMs = 0, by } = {}) {
      checkSecretPath(path);
      checkSecretValue(value);
      if (!Number.isSafeInteger(graceMs) || graceMs < 0) throw badMetadata("A grace is a time from 0 on.");
      return storage.write((tx) => {
        const meta = requireMeta(tx, path);
        const end = clock.now() + graceMs;
        const versions = meta.versions.map((known) => ({
          ...known,
          // An earlier rotation's word stands: a second one must not open again what was to be closed.
          readableUntil: Math.min(known.readableUntil ?? end, end),
        }));
        return addVersion(tx, { path, value, before: { ...meta, versions }, changes: {}, by });
      });
    },

    async importAll(entries, { dryRun = false, by } = {}) {
      for (const { path, value } of entries) {
        checkSecretPath(path);
        checkSecretValue(value);
      }
      const importOne = (tx: Tx, { path, value, hosts }: ImportEntry): Imported => {
        const before = readMeta(tx, path);
        if (before !== undefined && holdsSame(tx, path, before, value)) {
          return { path, version: newest(before).version, change: "same" };
        }
        const changes = before === undefined && hosts !== undefined ? checkOptions({ hosts }) : {};
        const { version } = addVersion(tx, { path, value, before, changes, by });
        return { path, version, change: before === undefined ? "new" : "changed" };
      };
      let report: readonly Imported[] = [];
      try {
        return await storage.write((tx) => {
          report = entries.map((entry) => importOne(tx, entry));
          // Thrown, so that the transaction leaves no trace: a dry run goes the whole way but for the last step.
          if (dryRun) throw new DryRun();
          return report;
        });
      } catch (error) {
        if (!isDryRun(error)) throw error;
        return report;
      }
    },

    async get(path, version) {
      checkSecretPath(path);
      return storage.read((tx) => {
        const meta = requireMeta(tx, path);
        const wanted = version ?? newest(meta).version;
        const known = meta.versions.find((one) => one.version === wanted);
        if (known === undefined) throw missing(path, wanted);
        if (isClosed(known, clock.now())) throw closed(path, known);
        return { ...infoOf(path, meta), version: wanted, value: new SecretValue(openValue(tx, path, wanted)) };
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

interface Addition {
  readonly path: string;
  readonly value: SecretValue;
  readonly before: Meta | undefined;
  readonly changes: Partial<Meta>;
  readonly by: string | undefined;
}

/** A TypeError, as storage lets those through unchanged. */
class DryRun extends TypeError {}

const isDryRun = (error: unknown): boolean => error instanceof DryRun;

const isClosed = ({ readableUntil }: SecretVersion, now: EpochMs): boolean =>
  readableUntil !== undefined && readableUntil <= now;

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

/** Another's name must not steer a terminal, nor fill the row. */
const checkBy = (by: string): string => {
  if (!BY.test(by)) throw badMetadata("Who wrote it is told in 1 to 64 printable characters.");
  return by;
};

const badMetadata = (detail: string): SidekeyError => new SidekeyError("VAULT_BAD_METADATA", { detail });

const missing = (path: string, version?: number): SidekeyError =>
  new SidekeyError("VAULT_SECRET_MISSING", { detail: version === undefined ? path : `${path} version ${version}` });

const closed = (path: string, { version, readableUntil = 0 }: SecretVersion): SidekeyError =>
  new SidekeyError("VAULT_SECRET_MISSING", {
    detail: `${path} version ${version} was closed by a rotation at ${new Date(readableUntil).toISOString()}.`,
    hint: `See what there is: sidekey secret history ${path}`,
  });
