/**
 * Secrets whose end has come, each told of once: by whoever takes it and then says that it is on record. Taken and not
 * told within a minute, as by a process that was killed, it is there for the next one.
 */
import type { Clock, EpochMs } from "../../core/clock.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { META } from "../barrier/rows.ts";
import { recordChanges, type VaultChange } from "../changes.ts";
import type { Tx, VaultStorage } from "../storage/storage.ts";
import { type Meta, type MetaVersion, newestOf } from "./metadata.ts";
import type { SecretIndex } from "./metadata-index.ts";
import type { SecretRows } from "./rows.ts";
import type { ExpiredSecret, VaultSecrets } from "./types.ts";
import { isExpired } from "./versions.ts";

const MS_TO_TELL = 60_000;
/** Of one transaction: thousands may end at once, and others wait for it. */
const MAX_TAKEN = 500;

interface Parts {
  readonly rows: SecretRows;
  readonly index: SecretIndex;
  readonly barrier: Barrier;
  readonly clock: Clock;
}

export const createExpiryTelling = (
  storage: VaultStorage,
  { rows, index, barrier, clock }: Parts,
): Pick<VaultSecrets, "takeExpired" | "expiryTold"> => {
  /** For the ring of changes: who holds the value learns that it is not read any more, and the index of the mark. */
  const mark = (tx: Tx, path: string, meta: Meta, expiry: MetaVersion["expiry"]): VaultChange => {
    const newest = newestOf(meta);
    rows.write(tx, path, { ...meta, versions: [...meta.versions.slice(0, -1), { ...newest, expiry }] });
    return { type: "secret.updated", path, version: newest.version };
  };

  const expectMetas = (tx: Tx, paths: readonly string[]): void => tx.expect(paths.map((path) => META + path));

  return {
    async takeExpired() {
      const now = clock.now();
      const candidates = await storage.read((tx) =>
        [...index.all(tx)]
          .filter(([, meta]) => isToTell(newestOf(meta), now))
          .slice(0, MAX_TAKEN)
          .map(([path]) => path),
      );
      if (candidates.length === 0) return [];
      return storage.write((tx) => {
        const taken: ExpiredSecret[] = [];
        const changes: VaultChange[] = [];
        expectMetas(tx, candidates);
        for (const path of candidates) {
          const meta = rows.read(tx, path);
          if (meta === undefined) continue;
          const { version, expiresAt = 0, ...newest } = newestOf(meta);
          if (!isToTell({ version, expiresAt, ...newest }, now)) continue;
          changes.push(mark(tx, path, meta, now));
          taken.push({ path, version, expiresAt });
        }
        recordChanges(tx, barrier, changes);
        return taken;
      });
    },

    async expiryTold(told) {
      if (told.length === 0) return;
      await storage.write((tx) => {
        const changes: VaultChange[] = [];
        expectMetas(
          tx,
          told.map(({ path }) => path),
        );
        for (const { path, version, expiresAt } of told) {
          const meta = rows.read(tx, path);
          if (meta === undefined) continue;
          const newest = newestOf(meta);
          // Another one by now: what was told was true of the one before.
          if (newest.version === version && newest.expiresAt === expiresAt) changes.push(mark(tx, path, meta, "told"));
        }
        recordChanges(tx, barrier, changes);
      });
    },
  };
};

const isToTell = (version: MetaVersion, now: EpochMs): boolean => {
  if (!isExpired(version, now) || version.expiry === "told") return false;
  return version.expiry === undefined || version.expiry + MS_TO_TELL <= now;
};
