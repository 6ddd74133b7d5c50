/**
 * What changed lately, for those who hold values or permits and must hear of it: a ring of rows, each written in the
 * transaction of its change, so that a change is told of if and only if it is there. Holds no value.
 *
 * Slots are counted by changes, not by generations: a vault writes at every use of a token, and a listener that was away
 * for some seconds must not have lost the one change in between.
 */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { type Barrier, openJson, sealJson } from "./barrier/barrier.ts";
import { CHANGE } from "./barrier/rows.ts";
import type { ReadTx, Tx, VaultStorage, Watchable } from "./storage/storage.ts";

export type VaultChange =
  | { readonly type: "secret.updated" | "secret.deleted"; readonly path: string; readonly version: number }
  | { readonly type: "token.revoked"; readonly id: string }
  | { readonly type: "sidecar.revoked"; readonly jkt: string };

export interface ChangesOf {
  /** Of the store, when they were in. */
  readonly generation: number;
  readonly changes: readonly VaultChange[];
}

export interface VaultChanges {
  /**
   * Those after `generation`, oldest first. Undefined when not all of them are there any more, or the generation is none
   * of this store's: whoever asks has to look at everything again.
   */
  since(generation: number): Promise<readonly ChangesOf[] | undefined>;
  /** The store's generation now. */
  current(): Promise<number>;
  /** Calls `onChange` when the generation is another, some time after; returns what ends it. */
  watch(onChange: (generation: number) => void): Promise<() => Promise<void>>;
}

/** Transactions that are remembered. */
export const REMEMBERED_CHANGES = 1024;

/** One more: it is what tells that nothing lies between it and what is asked for. */
const SLOTS = REMEMBERED_CHANGES + 1;

/** So many are fetched at once by who asks since a generation. */
const USUAL = 8;

/** The row that every change reads and writes. */
export const CHANGES_HEAD = `${CHANGE}head`;

const headSchema = z.strictObject({
  /** How many there were in all: the next one goes to slot `count % SLOTS`. */
  count: z.number().int().nonnegative(),
  /** What was before this generation is not told of. */
  floor: z.number().int().nonnegative(),
  /** When that was. */
  floorAt: z.number().optional(),
});
export type ChangesHead = z.output<typeof headSchema>;

const changeSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.enum(["secret.updated", "secret.deleted"]), path: z.string(), version: z.number() }),
  z.strictObject({ type: z.literal("token.revoked"), id: z.string() }),
  z.strictObject({ type: z.literal("sidecar.revoked"), jkt: z.string() }),
]);
const slotSchema = z.strictObject({ generation: z.number().int().positive(), changes: z.array(changeSchema) });

const slotKey = (count: number): string => `${CHANGE}${String(count % SLOTS).padStart(4, "0")}`;

/** The sealed head: other bytes after every change. */
export const sealedHead = (tx: ReadTx): Buffer | undefined => tx.get(CHANGES_HEAD);

export const readHead = (tx: ReadTx, barrier: Barrier): ChangesHead => {
  const sealed = sealedHead(tx);
  return sealed === undefined ? { count: 0, floor: 0 } : openJson(barrier, CHANGES_HEAD, sealed, headSchema);
};

/** Tells the transaction of changes from the `from`th on, to before the `to`th, that will be read. */
export const expectChanges = (tx: ReadTx, from: number, to: number): void =>
  tx.expect(Array.from({ length: Math.max(0, to - from) }, (_, at) => slotKey(from + at)));

/** Undefined when it was overwritten, or there never was one. `count` from 0. */
export const readChange = (tx: ReadTx, barrier: Barrier, count: number): ChangesOf | undefined => {
  const key = slotKey(count);
  const sealed = tx.get(key);
  return sealed === undefined ? undefined : openJson(barrier, key, sealed, slotSchema);
};

/** Tells the transaction which rows `recordChanges` will ask for. */
export const expectChange = (tx: Tx, barrier: Barrier): void => {
  const { count } = readHead(tx, barrier);
  tx.expect([slotKey(count), ...(count === 0 ? [] : [slotKey(count - 1)])]);
};

/** In the transaction that makes these changes; more than once in one is well. */
export const recordChanges = (tx: Tx, barrier: Barrier, changes: readonly VaultChange[]): void => {
  if (changes.length === 0) return;
  const head = readHead(tx, barrier);
  const generation = tx.generation + 1;
  const last = head.count === 0 ? undefined : readChange(tx, barrier, head.count - 1);
  const isSame = last?.generation === generation;
  const key = slotKey(isSame ? head.count - 1 : head.count);
  const all = isSame ? [...last.changes, ...changes] : changes;
  tx.put(key, sealJson(barrier, key, { generation, changes: all }));
  tx.put(CHANGES_HEAD, sealJson(barrier, CHANGES_HEAD, { ...head, count: isSame ? head.count : head.count + 1 }));
};

/** More changed than can be told: who asks since a time before has to look at everything again. */
export const forgetChanges = (tx: Tx, barrier: Barrier, now: EpochMs): void => {
  for (const { key } of tx.range(CHANGE)) tx.remove(key);
  tx.put(CHANGES_HEAD, sealJson(barrier, CHANGES_HEAD, { count: 0, floor: tx.generation + 1, floorAt: now }));
};

export const createVaultChanges = (storage: VaultStorage & Watchable, barrier: Barrier): VaultChanges => ({
  since: (generation) =>
    storage.read((tx) => {
      const { count, floor } = readHead(tx, barrier);
      if (generation > tx.generation || generation < floor) return undefined;
      const newer: ChangesOf[] = [];
      // Whoever follows the vault asks for the last few.
      expectChanges(tx, Math.max(0, count - USUAL), count);
      for (let at = count - 1; at >= 0; at -= 1) {
        if (at < count - SLOTS) return undefined;
        const found = readChange(tx, barrier, at);
        if (found === undefined || found.generation <= generation) break;
        newer.push(found);
      }
      return newer.reverse();
    }),

  current: () => storage.read((tx) => tx.generation),

  watch: (onChange) => storage.watch(onChange),
});
