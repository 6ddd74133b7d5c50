/**
 * The rows of one secret: `meta:PATH` with its metadata, `value:PATH@VERSION` with the values; the `:` and `@` are in no
 * path. What happens to them in a transaction that the caller has begun, and who tells of it is the caller too.
 */
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { type Barrier, sealJson } from "../barrier/barrier.ts";
import { GONE, META, valueKey } from "../barrier/rows.ts";
import { CHANGES_HEAD, expectChange } from "../changes.ts";
import type { ReadTx, Tx } from "../storage/storage.ts";
import { putGone, takeGone } from "./gone.ts";
import {
  checkBy,
  checkReference,
  infoOf,
  type Meta,
  type MetaVersion,
  madeAtOf,
  newestOf,
  parseMeta,
} from "./metadata.ts";
import { pathsAbove } from "./path.ts";
import type { SecretInfo, SecretReference, SecretVersion } from "./types.ts";
import { checkSecretValue } from "./value.ts";
import { beyondLimits, isClosed, isExpired, isSought, soughtUntil } from "./versions.ts";

export type ValueOrReference = SecretValue | SecretReference;

export interface Addition {
  readonly path: string;
  readonly value: ValueOrReference;
  readonly before: Meta | undefined;
  /** What it says beside its versions; checked. */
  readonly changes: Partial<Meta>;
  readonly by: string | undefined;
  /** As in `DescribeOptions`; checked. */
  readonly expiresAt: EpochMs | null | undefined;
  readonly restored?: number;
}

export interface SecretRows {
  /** Tells the transaction what a write to these will ask for. */
  expect(tx: Tx, paths: readonly string[]): void;
  read(tx: ReadTx, path: string): Meta | undefined;
  /** Errors: VAULT_SECRET_MISSING. */
  require(tx: ReadTx, path: string): Meta;
  write(tx: Tx, path: string, meta: Meta): void;
  /** Errors: VAULT_BAD_VALUE, VAULT_BAD_METADATA, VAULT_PATH_TAKEN (of a new secret). */
  add(tx: Tx, addition: Addition): SecretInfo;
  /** One that may be read now. Errors: VAULT_SECRET_MISSING, VAULT_SECRET_EXPIRED. */
  readable(path: string, meta: Meta, version: number): MetaVersion;
  /** Errors: VAULT_STORE_DAMAGED. */
  value(tx: ReadTx, path: string, version: MetaVersion): ValueOrReference;
  /** Of one that is not to be used any more, when it is there still. */
  oldValue(tx: ReadTx, path: string, version: MetaVersion): SecretValue | undefined;
  /** Values that are there, and those to come: what an import compares and writes. */
  expectValues(tx: Tx, paths: readonly string[]): void;
  /** With all versions. */
  remove(tx: Tx, path: string, meta: Meta): void;
}

export const createSecretRows = (barrier: Barrier, clock: Clock): SecretRows => {
  const read = (tx: ReadTx, path: string): Meta | undefined => {
    const sealed = tx.get(META + path);
    return sealed === undefined ? undefined : parseMeta(barrier, path, sealed);
  };

  const write = (tx: Tx, path: string, meta: Meta): void => tx.put(META + path, sealJson(barrier, META + path, meta));

  /**
   * Values whose time is over, and nobody looks for any more, leave the store with the next write to their secret;
   * `history` keeps their dates. Those whose turn came before the version before was written have left with that.
   */
  const overSince = (versions: readonly MetaVersion[], before: Meta | undefined): readonly MetaVersion[] => {
    const now = clock.now();
    // A clock that was set back must not keep anything.
    const last = before === undefined ? 0 : Math.min(newestOf(before).createdAt, now);
    return versions.filter(
      (known) =>
        isClosed(known, versions, now) && !isSought(known, now) && soughtUntil(known.readableUntil ?? 0) >= last,
    );
  };

  return {
    expect(tx, paths) {
      const wanted = new Set(paths.flatMap((path) => [path, ...pathsAbove(path)]));
      tx.expect(
        [CHANGES_HEAD, ...[...wanted].map((path) => META + path), ...paths.map((path) => GONE + path)],
        paths.map((path) => ({ prefix: below(path), limit: 1 })),
      );
      expectChange(tx, barrier);
    },

    read,

    require(tx, path) {
      const meta = read(tx, path);
      if (meta === undefined) throw missing(path);
      return meta;
    },

    write,

    add(tx, { path, value, before, changes, by, expiresAt, restored }) {
      const now = clock.now();
      const version = before === undefined ? 1 : newestOf(before).version + 1;
      const versionsBefore = before?.versions ?? [];
      const forgotten = beyondLimits(versionsBefore, now);
      const over = [...new Set([...overSince(versionsBefore, before), ...forgotten])];
      const closed = over.map((known) => valueKey(path, known.version));
      tx.expect([valueKey(path, version), ...closed]);
      if (before === undefined) checkPathIsFree(tx, path);
      const isRemade = before === undefined && takeGone(tx, path);
      const until = expiresAt === undefined ? stillToCome(before, now) : (expiresAt ?? undefined);
      const reference = value instanceof SecretValue ? undefined : checkReference(value);
      const added: MetaVersion = {
        version,
        createdAt: now,
        ...(by !== undefined && { by: checkBy(by) }),
        ...(until !== undefined && { expiresAt: until }),
        ...(reference !== undefined && { reference }),
        ...(restored !== undefined && { restored }),
      };
      const meta: Meta = {
        hosts: [],
        ...before,
        ...changes,
        ...(isRemade && { changedAt: now }),
        ...(before !== undefined && forgotten.length > 0 && { madeAt: madeAtOf(before) }),
        versions: [...versionsBefore.filter((known) => !forgotten.includes(known)), added],
      };
      if (value instanceof SecretValue) {
        checkSecretValue(value, meta.type);
        tx.put(
          valueKey(path, version),
          value.lend((bytes) => barrier.seal({ path, version }, bytes)),
        );
      }
      for (const key of closed) tx.remove(key);
      write(tx, path, meta);
      return infoOf(path, meta);
    },

    readable(path, meta, version) {
      const known = meta.versions.find((one) => one.version === version);
      if (known === undefined) throw missing(path, version);
      if (isClosed(known, meta.versions, clock.now())) throw closed(path, known);
      if (isExpired(known, clock.now())) throw expired(path, known);
      return known;
    },

    value(tx, path, { version, reference }) {
      if (reference !== undefined) return reference;
      const sealed = tx.get(valueKey(path, version));
      if (sealed !== undefined) return new SecretValue(barrier.open({ path, version }, sealed));
      throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `The value of ${path} version ${version} is gone.` });
    },

    oldValue(tx, path, { version }) {
      const sealed = tx.get(valueKey(path, version));
      return sealed === undefined ? undefined : new SecretValue(barrier.open({ path, version }, sealed));
    },

    expectValues(tx, paths) {
      const keys = paths.flatMap((path) => {
        const meta = read(tx, path);
        const version = meta === undefined ? 0 : newestOf(meta).version;
        return [valueKey(path, version + 1), ...(version === 0 ? [] : [valueKey(path, version)])];
      });
      tx.expect(keys);
    },

    remove(tx, path, meta) {
      tx.expect(meta.versions.map(({ version }) => valueKey(path, version)));
      for (const { version } of meta.versions) tx.remove(valueKey(path, version));
      tx.remove(META + path);
      putGone(tx, barrier, path, clock.now());
    },
  };
};

/** Looks at few rows, however many there are. Errors: VAULT_PATH_TAKEN. */
const checkPathIsFree = (tx: ReadTx, path: string): void => {
  const above = pathsAbove(path).find((one) => tx.get(META + one) !== undefined);
  if (above !== undefined) throw taken(`${above} is a secret, so nothing can be below it.`);
  const [inside] = tx.range(below(path), { limit: 1 });
  if (inside !== undefined) throw taken(`${path} is a namespace: ${inside.key.slice(META.length)} is in it.`);
};

const below = (path: string): string => `${META}${path}/`;

export const taken = (detail: string): SidekeyError => new SidekeyError("VAULT_PATH_TAKEN", { detail });

/** The end that a new version keeps. */
export const stillToCome = (before: Meta | undefined, now: EpochMs): EpochMs | undefined => {
  const until = before === undefined ? undefined : newestOf(before).expiresAt;
  return until !== undefined && until > now ? until : undefined;
};

export const missing = (path: string, version?: number): SidekeyError =>
  new SidekeyError("VAULT_SECRET_MISSING", { detail: version === undefined ? path : `${path} version ${version}` });

const closed = (path: string, { version, readableUntil = 0 }: SecretVersion): SidekeyError =>
  new SidekeyError("VAULT_SECRET_MISSING", {
    detail: `${path} version ${version} was closed by a rotation at ${new Date(readableUntil).toISOString()}.`,
    hint: `See what there is: sidekey secret history ${path}`,
  });

const expired = (path: string, { version, expiresAt = 0 }: SecretVersion): SidekeyError =>
  new SidekeyError("VAULT_SECRET_EXPIRED", {
    detail: `${path} version ${version} expired at ${new Date(expiresAt).toISOString()}.`,
  });
