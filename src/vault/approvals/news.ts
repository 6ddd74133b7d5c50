/**
 * What is still to be told of approvals: `approvalnews:TIME:ID.WHAT`, written in the transaction of what it tells, so that
 * no end of a process loses it, and found by the time of its next attempt. Whoever takes one has it to himself for a while;
 * it is there until it was told. Must never be told twice under two ids.
 */
import * as z from "zod";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import type { ReadTx, Tx, VaultStorage } from "../storage/storage.ts";
import { type ApprovalRow, approvalRowSchema } from "./rows.ts";

const NEWS = "approvalnews:";
/** Digits of a time in base 36, up to the year 5188 and in one order for texts and numbers. */
const TIME_DIGITS = 9;

const NEWS_TYPES = ["approval.requested", "approval.granted", "approval.denied", "approval.timed_out"] as const;
export type ApprovalNewsType = (typeof NEWS_TYPES)[number];

const newsSchema = z.strictObject({
  id: z.string(),
  type: z.enum(NEWS_TYPES),
  /** When it happened. */
  at: z.number(),
  /** Attempts that failed. */
  tries: z.number().int().nonnegative(),
  /** As it was then. */
  row: approvalRowSchema,
});

/** Something to be told. */
export interface ApprovalNotice {
  /** Of the approval. */
  readonly id: string;
  readonly type: ApprovalNewsType;
  readonly at: EpochMs;
  readonly tries: number;
  readonly row: ApprovalRow;
  /** Where it lies. */
  readonly key: string;
}

export interface ApprovalNews {
  /** Those whose time has come, the longest waiting first; nobody else gets them within `holdMs`. */
  take(most: number, holdMs: number): Promise<readonly ApprovalNotice[]>;
  /** Told, or given up: it goes. */
  end(notice: ApprovalNotice): Promise<void>;
  /** Somebody may take it after `ms`. `failed`: an attempt more. */
  putBack(notice: ApprovalNotice, ms: number, failed: boolean): Promise<void>;
}

const newsKey = (due: EpochMs, id: string, type: ApprovalNewsType): string =>
  `${NEWS}${Math.round(due).toString(36).padStart(TIME_DIGITS, "0")}:${id}.${type}`;

const dueOf = (key: string): EpochMs => Number.parseInt(key.slice(NEWS.length, NEWS.length + TIME_DIGITS), 36);

/** In the transaction that makes it so. */
export const addNews = (
  tx: Tx,
  barrier: Barrier,
  news: { readonly id: string; readonly type: ApprovalNewsType; readonly at: EpochMs; readonly row: ApprovalRow },
): void => {
  const key = newsKey(news.at, news.id, news.type);
  tx.put(key, sealJson(barrier, key, { ...news, tries: 0 }));
};

export const createApprovalNews = (storage: VaultStorage, barrier: Barrier, clock: Clock): ApprovalNews => {
  const dueKeys = (tx: ReadTx, most: number): readonly string[] =>
    tx
      .range(NEWS, { limit: most })
      .map(({ key }) => key)
      .filter((key) => dueOf(key) <= clock.now());

  const read = (tx: ReadTx, key: string): z.output<typeof newsSchema> | undefined => {
    const sealed = tx.get(key);
    return sealed === undefined ? undefined : openJson(barrier, key, sealed, newsSchema);
  };

  /** Nobody else has moved it meanwhile. */
  const move = (tx: Tx, key: string, due: EpochMs, failed: boolean): ApprovalNotice | undefined => {
    const news = read(tx, key);
    if (news === undefined) return undefined;
    const moved = { ...news, tries: news.tries + (failed ? 1 : 0) };
    const next = newsKey(due, news.id, news.type);
    tx.remove(key);
    tx.put(next, sealJson(barrier, next, moved));
    return { ...moved, key: next };
  };

  return {
    async take(most, holdMs) {
      if ((await storage.read((tx) => dueKeys(tx, most))).length === 0) return [];
      return storage.write((tx) =>
        dueKeys(tx, most).flatMap((key) => move(tx, key, clock.now() + holdMs, false) ?? []),
      );
    },
    end: ({ key }) =>
      storage.write((tx) => {
        tx.remove(key);
      }),
    putBack: ({ key }, ms, failed) =>
      storage.write((tx) => {
        move(tx, key, clock.now() + ms, failed);
      }),
  };
};
