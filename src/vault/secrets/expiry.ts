/**
 * Secrets whose end has come, each told of once: by whoever takes it and then says that it is on record. Taken and not
 * told within a minute, as by a process that was killed, it is there for the next one.
 */
import type { Clock, EpochMs } from "../../core/clock.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { recordChanges } from "../changes.ts";
import type { Tx, VaultStorage } from "../storage/storage.ts";
import { type Meta, type MetaVersion, newestOf } from "./metadata.ts";
import type { SecretIndex } from "./metadata-index.ts";
import { isExpired, type SecretRows } from "./rows.ts";
import type { ExpiredSecret, VaultSecrets } from "./types.ts";

const MS_TO_TELL = 60_000;

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
  /** Goes into the ring of changes: who holds the value learns that it is not read any more, and the index of the mark. */
  const mark = (tx: Tx, path: string, meta: Meta, expiry: MetaVersion["expiry"]): void => {
    const newest = newestOf(meta);
    rows.write(tx, path, { ...meta, versions: [...meta.versions.slice(0, -1), { ...newest, expiry }] });
    recordChanges(tx, barrier, [{ type: "secret.updated", path, version: newest.version }]);
  };

  return {
    async takeExpired() {
      const now = clock.now();
      const candidates = await storage.read((tx) =>
        [...index.all(tx)].filter(([, meta]) => isToTell(newestOf(meta), now)).map(([path]) => path),
      );
      if (candidates.length === 0) return [];
      return storage.write((tx) => {
        const taken: ExpiredSecret[] = [];
        for (const path of candidates) {
          const meta = rows.read(tx, path);
          if (meta === undefined) continue;
          const { version, expiresAt = 0, ...newest } = newestOf(meta);
          if (!isToTell({ version, expiresAt, ...newest }, now)) continue;
          mark(tx, path, meta, now);
          taken.push({ path, version, expiresAt });
        }
        return taken;
      });
    },

    async expiryTold(told) {
      if (told.length === 0) return;
      await storage.write((tx) => {
        for (const { path, version, expiresAt } of told) {
          const meta = rows.read(tx, path);
          if (meta === undefined) continue;
          const newest = newestOf(meta);
          // Another one by now: what was told was true of the one before.
          if (newest.version === version && newest.expiresAt === expiresAt) mark(tx, path, meta, "told");
        }
      });
    },
  };
};

const isToTell = (version: MetaVersion, now: EpochMs): boolean => {
  if (!isExpired(version, now) || version.expiry === "told") return false;
  return version.expiry === undefined || version.expiry + MS_TO_TELL <= now;
};
