/**
 * Proofs that any process on a database has seen, by their hashes. A proof that cannot be remembered for sure is refused by
 * an error; must never answer yes twice.
 */
import type { Clock, EpochMs } from "../../../core/clock.ts";
import { proofHash, type ReplayGuard } from "../../tokens/replay-guard.ts";
import type { Database } from "./connection.ts";

const PURGE_EVERY_MS = 60_000;
/** Clocks of other machines are not quite this one. */
const SKEW_MS = 5 * 60_000;
const PURGE_ROWS = 5_000;
/** Of one statement. */
const MAX_BATCH = 500;

interface Waiting {
  readonly hash: Buffer;
  readonly expiresAt: EpochMs;
  resolve(isFirst: boolean): void;
  reject(error: unknown): void;
}

/** Of all processes on a database. Those that wait go in one statement. */
export const createDatabaseReplayGuard = (database: Database, clock: Clock): ReplayGuard => {
  const waiting: Waiting[] = [];
  let isWorking = false;
  let purgedAt = clock.monotonic();

  const insert = async (batch: readonly Waiting[]): Promise<void> => {
    // An answer that was lost is not asked for again: the id would be found, and its first use taken for a second one. In one
    // order by all: two that insert the same ids would wait for each other.
    const inserted = await database.change({
      name: "sidekey_proof",
      text: `INSERT INTO sidekey_proofs (id, expires_at) SELECT * FROM unnest($1::bytea[], $2::bigint[]) ORDER BY 1
        ON CONFLICT (id) DO NOTHING RETURNING id`,
      values: [batch.map(({ hash }) => hash), batch.map(({ expiresAt }) => Math.ceil(expiresAt))],
    });
    const first = new Set(inserted.map(({ id }) => (Buffer.isBuffer(id) ? id.toString("hex") : "")));
    // Of two in one batch the statement inserts one; the set gives it away once.
    for (const { hash, resolve } of batch) resolve(first.delete(hash.toString("hex")));
  };

  const workOff = async (): Promise<void> => {
    isWorking = true;
    await undefined;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, MAX_BATCH);
      try {
        await insert(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isWorking = false;
  };

  /** All that is over: more may have come within a minute than one statement should take. */
  const purge = async (): Promise<void> => {
    for (;;) {
      const gone = await database.change({
        text: `DELETE FROM sidekey_proofs WHERE id IN (
          SELECT id FROM sidekey_proofs WHERE expires_at < $1 LIMIT ${PURGE_ROWS} FOR UPDATE SKIP LOCKED) RETURNING 1 AS gone`,
        values: [Math.floor(clock.now() - SKEW_MS)],
      });
      if (gone.length < PURGE_ROWS) return;
    }
  };

  return {
    firstUse(id, expiresAt) {
      if (clock.monotonic() - purgedAt > PURGE_EVERY_MS) {
        purgedAt = clock.monotonic();
        // Whoever comes a minute later tries again.
        void purge().catch(() => {});
      }
      return new Promise((resolve, reject) => {
        waiting.push({ hash: proofHash(id), expiresAt, resolve, reject });
        if (!isWorking) void workOff();
      });
    },
  };
};
