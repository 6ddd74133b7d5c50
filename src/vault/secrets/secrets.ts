/**
 * Secrets in the vault: values in versions, and what is known about each. Each write tells of itself in the ring of
 * changes, in its own transaction. `list`, `find`, `history` and `tierOf` never touch a value.
 */
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { type Scope, scopesCover } from "../../identity/scope.ts";
import { readReference, SECRET_BACKENDS, type SecretBackends } from "../backends/index.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { META, valueKey } from "../barrier/rows.ts";
import { CHANGES_HEAD, readHead, recordChanges, type VaultChange } from "../changes.ts";
import type { Tx, VaultStorage } from "../storage/storage.ts";
import { createExpiryTelling } from "./expiry.ts";
import {
  badMetadata,
  checkBy,
  checkDescription,
  checkExpiry,
  infoOf,
  judgeTier,
  type Meta,
  newestOf,
} from "./metadata.ts";
import { createSecretIndex } from "./metadata-index.ts";
import { checkSecretPath } from "./path.ts";
import { candidatePaths } from "./resolution.ts";
import { createSecretRows, stillToCome, taken, type ValueOrReference } from "./rows.ts";
import {
  type ImportEntry,
  type Imported,
  type ImportOptions,
  type ReplacedSecret,
  SECRET_TIERS,
  type SecretVersion,
  type VaultSecrets,
} from "./types.ts";
import { checkSecretValue } from "./value.ts";
import { isClosed, isExpired, isSought } from "./versions.ts";

/** Who got a version before a change has asked again, or forgotten it, after that. `ms` */
const CHANGED_FOR_MS = 10 * 60 * 1000;

/** A name and a number each. */
const MAX_GUESSED = 4096;

export const createVaultSecrets = (
  storage: VaultStorage,
  barrier: Barrier,
  clock: Clock,
  backends: SecretBackends = SECRET_BACKENDS,
): VaultSecrets => {
  const rows = createSecretRows(barrier, clock);
  const index = createSecretIndex(barrier);
  /** The version that was newest when it was read last. */
  const lastRead = new Map<string, number>();

  const tell = (tx: Tx, type: "secret.updated" | "secret.deleted", path: string, version: number): void =>
    recordChanges(tx, barrier, [{ type, path, version }]);

  const holdsSame = (tx: Tx, path: string, meta: Meta, value: SecretValue): boolean => {
    const found = rows.value(tx, path, newestOf(meta));
    if (!(found instanceof SecretValue)) return false;
    return value.lend((bytes) => found.lend((others) => bytes.equals(others)));
  };

  const importOne = (
    tx: Tx,
    entry: ImportEntry,
    { overwrite = true, compare = true, describe = {}, by, allow }: ImportOptions,
  ): Imported => {
    const { path, value, hosts } = entry;
    const before = rows.read(tx, path);
    if (before !== undefined) {
      allow?.(judgeTier(before.tier));
      const { version } = newestOf(before);
      if (compare && holdsSame(tx, path, before, value)) return { path, version, change: "same" };
      if (!overwrite) return { path, version, change: "kept" };
    }
    const changes =
      before === undefined ? checkDescription({ ...describe, ...(hosts !== undefined && { hosts }) }) : {};
    const { version } = rows.add(tx, { path, value, before, changes, by, expiresAt: undefined });
    return { path, version, change: before === undefined ? "new" : "changed" };
  };

  return {
    async set(path, value, { by, allow, create = false, update = false, ...options } = {}) {
      checkSecretPath(path);
      checkExpiry(options.expiresAt, clock.now());
      const changes = checkDescription(options);
      return storage.write((tx) => {
        rows.expect(tx, [path]);
        const before = update ? rows.require(tx, path) : rows.read(tx, path);
        if (before !== undefined) allow?.(judgeTier(before.tier));
        if (create && before !== undefined) throw taken(`${path} is there already.`);
        const info = rows.add(tx, { path, value, before, changes, by, expiresAt: options.expiresAt });
        tell(tx, "secret.updated", path, info.version);
        return info;
      });
    },

    async describe(path, { by, allow, ...options }) {
      checkSecretPath(path);
      if (by !== undefined) checkBy(by);
      const { expiresAt } = options;
      checkExpiry(expiresAt, clock.now());
      const changes = checkDescription(options);
      return storage.write((tx) => {
        rows.expect(tx, [path]);
        const before = rows.require(tx, path);
        allow?.(judgeTier(before.tier));
        const versions = versionsUntil(before, expiresAt);
        const meta = { ...before, ...changes, changedAt: clock.now(), versions };
        if (changes.type !== undefined) {
          const value = rows.value(tx, path, newestOf(before));
          if (value instanceof SecretValue) checkSecretValue(value, changes.type);
        }
        rows.write(tx, path, meta);
        const info = infoOf(path, meta);
        tell(tx, "secret.updated", path, info.version);
        return info;
      });
    },

    async rotate(path, value, { graceMs = 0, by, allow, ...options } = {}) {
      checkSecretPath(path);
      if (!Number.isSafeInteger(graceMs) || graceMs < 0) throw badMetadata("A grace is a time from 0 on.");
      checkExpiry(options.expiresAt, clock.now());
      const changes = checkDescription(options);
      return storage.write((tx) => {
        rows.expect(tx, [path]);
        const meta = rows.require(tx, path);
        allow?.(judgeTier(meta.tier));
        const end = clock.now() + graceMs;
        const versions = meta.versions.map((known) => ({
          ...known,
          // An earlier rotation's word stands: a second one must not open again what was to be closed.
          readableUntil: Math.min(known.readableUntil ?? end, end),
        }));
        const before = { ...meta, versions };
        const info = rows.add(tx, { path, value, before, changes, by, expiresAt: options.expiresAt });
        tell(tx, "secret.updated", path, info.version);
        return info;
      });
    },

    async rollback(path, version, { by, allow } = {}) {
      checkSecretPath(path);
      return storage.write((tx) => {
        rows.expect(tx, [path]);
        const before = rows.require(tx, path);
        allow?.(judgeTier(before.tier));
        const known = rows.readable(path, before, version);
        const value: ValueOrReference = rows.value(tx, path, known);
        // The value does not outlive its own end with another number.
        const expiresAt =
          known.expiresAt === undefined ? undefined : earlier(known.expiresAt, stillToCome(before, clock.now()));
        const added = { path, value, before, changes: {}, by, expiresAt, restored: version };
        const info = rows.add(tx, added);
        tell(tx, "secret.updated", path, info.version);
        return info;
      });
    },

    async importAll(entries, options = {}) {
      for (const { path } of entries) checkSecretPath(path);
      let report: readonly Imported[] = [];
      try {
        return await storage.write((tx) => {
          rows.expect(
            tx,
            entries.map(({ path }) => path),
          );
          // What is there already is compared.
          tx.expect(
            entries.flatMap(({ path }) => {
              const meta = rows.read(tx, path);
              return meta === undefined ? [] : [valueKey(path, newestOf(meta).version)];
            }),
          );
          report = entries.map((entry) => importOne(tx, entry, options));
          recordChanges(tx, barrier, report.flatMap(changeOf));
          // Thrown, so that the transaction leaves no trace: a dry run goes the whole way but for the last step.
          if (options.dryRun === true) throw new DryRun();
          return report;
        });
      } catch (error) {
        if (!isDryRun(error)) throw error;
        return report;
      }
    },

    async get(path, wanted) {
      checkSecretPath(path);
      const guess = wanted ?? lastRead.get(path);
      const found = await storage.read((tx) => {
        // Metadata tell which value it is, and mostly the same one as before: both at once.
        tx.expect([META + path, ...(guess === undefined ? [] : [valueKey(path, guess)])]);
        const meta = rows.require(tx, path);
        const known = rows.readable(path, meta, wanted ?? newestOf(meta).version);
        return { info: infoOf(path, meta), known, value: rows.value(tx, path, known) };
      });
      const value = found.value instanceof SecretValue ? found.value : await readReference(backends, found.value);
      const { version, expiresAt, reference } = found.known;
      if (wanted === undefined) {
        if (lastRead.size >= MAX_GUESSED) lastRead.clear();
        lastRead.set(path, version);
      }
      return { ...found.info, version, expiresAt, reference, readableUntil: endOf(found.known), value };
    },

    async find(path) {
      checkSecretPath(path);
      return storage.read((tx) => {
        const meta = rows.read(tx, path);
        return meta === undefined ? undefined : infoOf(path, meta);
      });
    },

    async isUnchanged(path, version) {
      checkSecretPath(path);
      const isLate = (at: EpochMs | undefined): boolean => at !== undefined && at > clock.now() - CHANGED_FOR_MS;
      return storage.read((tx) => {
        tx.expect([META + path, CHANGES_HEAD]);
        const meta = rows.read(tx, path);
        if (meta === undefined || isLate(meta.changedAt) || isLate(readHead(tx, barrier).floorAt)) return false;
        const newest = newestOf(meta);
        return newest.version === version && newest.reference === undefined && !isExpired(newest, clock.now());
      });
    },

    list: (prefix = "") =>
      storage.read((tx) =>
        [...index.all(tx)].filter(([path]) => path.startsWith(prefix)).map(([path, meta]) => index.info(path, meta)),
      ),

    async resolveName(name, place) {
      const paths = candidatePaths(name, place);
      return storage.read((tx) => {
        tx.expect(paths.map((path) => META + path));
        return paths.find((path) => tx.get(META + path) !== undefined);
      });
    },

    tierOf: (scopes) =>
      storage.read((tx) => {
        let highest = 0;
        for (const [path, rank] of index.elevated(tx)) {
          if (rank > highest && scopes.some((scope) => coversSomehow(scope, path))) highest = rank;
        }
        return SECRET_TIERS[highest] ?? "critical";
      }),

    async remove(path, { allow } = {}) {
      checkSecretPath(path);
      await storage.write((tx) => {
        rows.expect(tx, [path]);
        const meta = rows.require(tx, path);
        allow?.(judgeTier(meta.tier));
        rows.remove(tx, path, meta);
        tell(tx, "secret.deleted", path, newestOf(meta).version);
      });
    },

    async history(path) {
      checkSecretPath(path);
      return storage.read((tx) =>
        rows
          .require(tx, path)
          .versions.map(({ expiry, ...version }) => version)
          .reverse(),
      );
    },

    async replacedSince(path, before, since) {
      checkSecretPath(path);
      return storage.read((tx) => {
        const { versions } = rows.require(tx, path);
        const now = clock.now();
        const replaced: ReplacedSecret[] = [];
        for (let at = versions.length - 2; at >= 0; at -= 1) {
          const known = versions[at];
          const replacedAt = versions[at + 1]?.createdAt;
          if (known === undefined || replacedAt === undefined || replacedAt <= since) break;
          if (known.version >= before || isExpired(known, now)) continue;
          const value = isClosed(known, versions, now)
            ? isSought(known, now) && rows.oldValue(tx, path, known)
            : rows.value(tx, path, known);
          if (value instanceof SecretValue) replaced.push({ version: known.version, value, replacedAt });
        }
        return replaced;
      });
    },

    ...createExpiryTelling(storage, { rows, index, barrier, clock }),
  };
};

/** A TypeError, as storage lets those through unchanged. */
class DryRun extends TypeError {}

const isDryRun = (error: unknown): boolean => error instanceof DryRun;

const changeOf = ({ path, version, change }: Imported): readonly VaultChange[] =>
  change === "new" || change === "changed" ? [{ type: "secret.updated", path, version }] : [];

/** The first of what puts an end to a version. */
const endOf = ({ expiresAt, readableUntil }: SecretVersion): EpochMs | undefined => earlier(expiresAt, readableUntil);

const earlier = (a: EpochMs | undefined, b: EpochMs | undefined): EpochMs | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);

/** What its own action allows: that of `*` includes reading. */
const coversSomehow = (scope: Scope, path: string): boolean =>
  scopesCover([scope], scope.action === "*" ? "read" : scope.action, path);

/**
 * The versions with another end of the newest. An earlier one never outlives it; one that was to end before still does,
 * and none begins again.
 */
const versionsUntil = ({ versions }: Meta, expiresAt: EpochMs | null | undefined): Meta["versions"] => {
  if (expiresAt === undefined) return versions;
  return versions.map((known, at) => {
    const { expiry, expiresAt: own, ...rest } = known;
    if (at === versions.length - 1) return expiresAt === null ? rest : { ...rest, expiresAt };
    return expiresAt === null ? known : { ...known, expiresAt: Math.min(own ?? expiresAt, expiresAt) };
  });
};
