/**
 * Decisions made where the servers' logs cannot be written: at the machine, by somebody with the store's key. Each lies in
 * the store from the transaction that made it until a server has put it on record: taken by one of them, and by another
 * one where that did not say within a minute that it is.
 */
import * as z from "zod";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import type { Tx, VaultStorage } from "../storage/storage.ts";
import { approvalRowSchema } from "./rows.ts";

const UNRECORDED = "approvaltell:";
const MS_TO_TELL = 60_000;
/** Of one transaction. */
const MAX_TAKEN = 100;

const rowSchema = z.strictObject({
  approvalId: z.string(),
  verdict: z.enum(["granted", "denied"]),
  by: z.string(),
  at: z.number(),
  reason: z.string().optional(),
  /** As the decision left it. */
  row: approvalRowSchema,
  takenAt: z.number().optional(),
});
type Row = z.output<typeof rowSchema>;

export interface UnrecordedDecision extends Readonly<Omit<Row, "takenAt">> {
  /** Of its row. */
  readonly key: string;
}

export interface Unrecorded {
  /** Each to one caller, until it is told or a minute is over. */
  take(): Promise<readonly UnrecordedDecision[]>;
  told(decisions: readonly UnrecordedDecision[]): Promise<void>;
}

/** In the transaction of the decision. `id`: one of its own, by time. */
export const leaveUnrecorded = (tx: Tx, barrier: Barrier, id: string, row: Omit<Row, "takenAt">): void => {
  tx.put(UNRECORDED + id, sealJson(barrier, UNRECORDED + id, row));
};

export const createUnrecorded = ({
  storage,
  barrier,
  clock,
  recorded,
}: {
  readonly storage: VaultStorage;
  readonly barrier: Barrier;
  readonly clock: Clock;
  /** In the transaction in which it stops to be one of these. */
  readonly recorded: (tx: Tx, decision: UnrecordedDecision) => void;
}): Unrecorded => {
  const isFree = ({ takenAt }: Row, now: EpochMs): boolean => takenAt === undefined || takenAt + MS_TO_TELL <= now;
  return {
    async take() {
      const now = clock.now();
      const keys = await storage.read((tx) =>
        tx
          .range(UNRECORDED, { limit: MAX_TAKEN })
          .filter(({ key, value }) => isFree(openJson(barrier, key, value, rowSchema), now))
          .map(({ key }) => key),
      );
      if (keys.length === 0) return [];
      return storage.write((tx) =>
        keys.flatMap((key): readonly UnrecordedDecision[] => {
          const sealed = tx.get(key);
          if (sealed === undefined) return [];
          const row = openJson(barrier, key, sealed, rowSchema);
          if (!isFree(row, now)) return [];
          tx.put(key, sealJson(barrier, key, { ...row, takenAt: now }));
          const { takenAt: _taken, ...decision } = row;
          return [{ ...decision, key }];
        }),
      );
    },

    async told(decisions) {
      if (decisions.length === 0) return;
      await storage.write((tx) => {
        for (const decision of decisions) {
          // Another one has told it meanwhile.
          if (tx.get(decision.key) === undefined) continue;
          tx.remove(decision.key);
          recorded(tx, decision);
        }
      });
    },
  };
};
