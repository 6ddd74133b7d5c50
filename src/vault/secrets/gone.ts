/**
 * That a secret was at a path lately. Its versions begin from 1 again when it is made anew, so whoever knows a version 1 of
 * before must not be told that nothing has changed.
 */
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import { GONE } from "../barrier/rows.ts";
import type { Tx } from "../storage/storage.ts";

/** Nobody has a value that long without having asked. `ms` */
const REMEMBERED_FOR_MS = 24 * 60 * 60 * 1000;
/** Removed by one removal: more than one adds. */
const PURGE_BATCH = 20;

const rowSchema = z.strictObject({ removedAt: z.number() });

/** In the transaction that removes it. */
export const putGone = (tx: Tx, barrier: Barrier, path: string, now: EpochMs): void => {
  for (const { key, value } of tx.range(GONE, { limit: PURGE_BATCH })) {
    if (openJson(barrier, key, value, rowSchema).removedAt + REMEMBERED_FOR_MS <= now) tx.remove(key);
  }
  tx.put(GONE + path, sealJson(barrier, GONE + path, { removedAt: now }));
};

/** In the transaction that makes one: whether there was one before. */
export const takeGone = (tx: Tx, path: string): boolean => tx.get(GONE + path) !== undefined && tx.remove(GONE + path);
