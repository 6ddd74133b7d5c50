/**
 * Rows that are of use for a minute: what was answered, what was counted. Each is found again by the time of its end
 * (`briefend:TIME:KEY`), so that whoever drops what is over looks at nothing else. Must never give out a row past its end.
 */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { type Barrier, openJson, sealJson } from "./barrier/barrier.ts";
import type { ReadTx, Tx, VaultStorage } from "./storage/storage.ts";

const END = "briefend:";
/** Of a time in base 36, up to the year 2059: in one order for texts and numbers. */
const TIME_DIGITS = 9;
const NOTHING = Buffer.alloc(0);
/** Of one transaction: others wait for it. */
const BATCH = 200;

const endSchema = z.looseObject({ until: z.number() });

const endKey = (until: EpochMs, key: string): string => `${END}${until.toString(36).padStart(TIME_DIGITS, "0")}:${key}`;

/** Undefined when there is none, or its time is over. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const readBrief = <Schema extends z.ZodType<{ readonly until: EpochMs }>>(
  tx: ReadTx,
  barrier: Barrier,
  key: string,
  { schema, now }: { readonly schema: Schema; readonly now: EpochMs },
): z.output<Schema> | undefined => {
  const sealed = tx.get(key);
  if (sealed === undefined) return undefined;
  const row = openJson(barrier, key, sealed, schema);
  return row.until > now ? row : undefined;
};

/** What `putBrief` looks at: for `expect`. */
export const briefKeys = (key: string, until: EpochMs): readonly string[] => [key, endKey(until, key)];

/**
 * In the place of what is there. The end is a part of a row's name: it has to be settled before the transaction, or a
 * callback that is run again asks for another row each time.
 */
export const putBrief = (tx: Tx, barrier: Barrier, key: string, row: { readonly until: EpochMs }): void => {
  changeBrief(tx, barrier, key, row);
  const end = endKey(row.until, key);
  tx.put(end, barrier.seal({ path: end, version: 0 }, NOTHING));
};

/** One that is there, with the end that it has. */
export const changeBrief = (tx: Tx, barrier: Barrier, key: string, row: { readonly until: EpochMs }): void =>
  tx.put(key, sealJson(barrier, key, row));

export const removeBrief = (tx: Tx, key: string, { until }: { readonly until: EpochMs }): void => {
  tx.remove(key);
  tx.remove(endKey(until, key));
};

export interface BriefRows {
  /** Removes what is over. Resolves to how many there were. Errors: VAULT_STORE_BUSY, VAULT_STORE_DAMAGED. */
  dropOver(): Promise<number>;
}

export const createBriefRows = (
  storage: VaultStorage,
  barrier: Barrier,
  clock: { readonly now: () => EpochMs },
): BriefRows => {
  /** The first that ended, by the keys of their ends. */
  const over = (tx: ReadTx): readonly string[] =>
    tx
      .range(END, { limit: BATCH })
      .map(({ key }) => key)
      .filter((key) => Number.parseInt(key.slice(END.length, END.length + TIME_DIGITS), 36) <= clock.now());
  const keyOf = (end: string): string => end.slice(END.length + TIME_DIGITS + 1);

  const dropSome = (ends: readonly string[]): Promise<void> =>
    storage.write(
      (tx) => {
        for (const end of ends) {
          const key = keyOf(end);
          const sealed = tx.get(key);
          // Another one may have been put in the place of the one that ended.
          if (sealed !== undefined && openJson(barrier, key, sealed, endSchema).until <= clock.now()) tx.remove(key);
          tx.remove(end);
        }
      },
      { expect: ends.flatMap((end) => [end, keyOf(end)]) },
    );

  return {
    async dropOver() {
      let count = 0;
      for (;;) {
        const ends = await storage.read(over);
        if (ends.length === 0) return count;
        await dropSome(ends);
        count += ends.length;
      }
    },
  };
};
