/**
 * Whether the store's rows are those that its last writer left: none missing, none put back from an earlier time, none
 * moved. Each row is sealed, but a seal says nothing of the rows beside it. So one row more holds their count and the sum
 * of a keyed hash of each, with the store's generation; it changes in every transaction, with them.
 *
 * The sum is MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend, Suh: "Incremental Multiset Hash Functions", ASIACRYPT
 * 2003) over HMAC-SHA-256, modulo 2^256: what one row adds can be taken off again, so a write costs as much as the rows it
 * touches. The hash key is sealed like any row, and the sum with a key that follows from it, so that who has no key of the
 * vault can compute neither (sums in the clear would let him look for other rows with the same one), and a process that
 * seals with a newer vault key does not shut out one that knows the older.
 */
import { createHmac, randomBytes } from "node:crypto";
import * as z from "zod";
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import type { ReadTx, Row, Tx } from "../storage/storage.ts";
import { type Barrier, createBarrier, openJson, sealJson } from "./barrier.ts";
import { parseFernetKey } from "./fernet.ts";
import { ABSENT, type Tag, type Whole } from "./ledger.ts";
import { tagOf, withWrite } from "./recent-writes.ts";

export const SUM = "integrity:sum";
export const HASH_KEY = "integrity:key";
const HASH_KEY_BYTES = 32;
const MAX_SUMS = 4;
const MODULUS = 1n << 256n;

const sumSchema = z.strictObject({
  generation: z.number().int().positive(),
  rows: z.number().int().nonnegative(),
  /** 64 hexadecimal digits. */
  sum: z.string().regex(/^[0-9a-f]{64}$/),
  /** recent-writes.ts */
  recent: z.string().default(""),
});
type Sum = z.output<typeof sumSchema>;

/** What the last writer left, and what rows are judged by. */
export interface Account {
  readonly generation: number;
  /** The writes before, as far as they are told. */
  readonly recent: string;
  /** Tags of another one are of no use. */
  readonly maker: object;
  nameTag(name: string): Tag;
  rowTag(name: string, value: Uint8Array): Tag;
}

/** Stands between a transaction and who uses it, and judges the rows that are read. */
export type Through = (account: Account, tx: Tx) => Tx;

export interface Integrity {
  /** A new hash key, and the sum of the rows that are there, whatever they are. */
  create(tx: Tx): void;
  /** Goes through every row. Errors: VAULT_STORE_DAMAGED, VAULT_KEY_WRONG. */
  verify(tx: ReadTx): Whole;
  /** As `verify`, for rows that come some at a time, and are those of `tx`. Errors: VAULT_STORE_DAMAGED, VAULT_KEY_WRONG. */
  tally(tx: ReadTx): Tally;
  /** Without the rows: whether the last one that wrote kept the sum. Errors: VAULT_STORE_DAMAGED, VAULT_KEY_WRONG. */
  verifyGeneration(tx: ReadTx): Account;
  /**
   * Runs `use` with a transaction whose changes go into the sum.
   * Errors: those of `use` and `through`; VAULT_STORE_DAMAGED, VAULT_KEY_WRONG.
   */
  tracked<T>(tx: Tx, use: (tx: Tx) => T, through?: Through): T;
}

export interface Tally {
  readonly generation: number;
  add(rows: readonly Row[]): void;
  /** All were there. Errors: VAULT_STORE_DAMAGED. */
  end(): Whole;
}

interface HashKey {
  readonly bytes: Buffer;
  /** Seals the sum. */
  readonly barrier: Barrier;
}

export const createIntegrity = (barrier: Barrier, clock: Clock): Integrity => {
  /** Those that were sealed here: mostly what is opened next is one of them. */
  const sums: { readonly key: HashKey; readonly sealed: Buffer; readonly sum: Sum }[] = [];
  let last: HashKey | undefined;
  const hashKeyOf = (bytes: Buffer): HashKey => {
    if (last?.bytes.equals(bytes) === true) return last;
    const sealing = parseFernetKey(createHmac("sha256", bytes).update("seal of the sum").digest("base64url"));
    if (sealing === undefined) throw new TypeError("a derived key is no key");
    last = { bytes, barrier: createBarrier({ keys: [sealing] }, clock) };
    return last;
  };

  const openHashKey = (tx: ReadTx): HashKey => {
    const sealed = tx.get(HASH_KEY);
    if (sealed === undefined) throw damaged(`Row ${HASH_KEY} is gone.`);
    return hashKeyOf(barrier.open({ path: HASH_KEY, version: 0 }, sealed));
  };

  /** That of this transaction's generation. */
  const openSum = (tx: ReadTx, key: HashKey): Sum => {
    const sealed = tx.get(SUM);
    if (sealed === undefined) throw damaged(`Row ${SUM} is gone.`);
    const sum = sums.find((one) => one.key === key && one.sealed.equals(sealed))?.sum ?? openSealedSum(key, sealed);
    if (sum.generation === tx.generation) return sum;
    throw damaged("Something else than Sidekey has written to it, or an older row was put back.");
  };

  /** The vault's key is the right one here: it has opened the hash key. */
  const openSealedSum = (key: HashKey, sealed: Buffer): Sum => {
    try {
      return openJson(key.barrier, SUM, sealed, sumSchema);
    } catch (error) {
      throw isSidekeyError(error) ? damaged(`Row ${SUM} was changed.`) : error;
    }
  };

  const putSum = (tx: Tx, key: HashKey, { rows, sum, recent }: { rows: number; sum: bigint; recent: string }): void => {
    const generation = tx.generation + 1;
    const record: Sum = { generation, rows, sum: sum.toString(16).padStart(64, "0"), recent };
    const sealed = sealJson(key.barrier, SUM, record);
    sums.push({ key, sealed, sum: record });
    sums.splice(0, Math.max(0, sums.length - MAX_SUMS));
    tx.put(SUM, sealed);
  };

  const sumOf = (rows: readonly Row[], key: HashKey): bigint =>
    rows.reduce((sum, { key: name, value }) => sum + numberOf(hashRow(key, name, value)), 0n) % MODULUS;

  const tally = (tx: ReadTx): Tally => {
    const key = openHashKey(tx);
    const left = openSum(tx, key);
    let count = 0;
    let sum = 0n;
    const tags = new Map<Tag, Tag>();
    return {
      generation: left.generation,
      add(all) {
        for (const { key: name, value } of all.filter(isCounted)) {
          const digest = hashRow(key, name, value);
          count += 1;
          sum += numberOf(digest);
          tags.set(nameTag(key, name), tagOf(digest));
        }
        sum %= MODULUS;
      },
      end() {
        if (count !== left.rows) throw damaged(`It has ${count} rows; its last writer left ${left.rows}.`);
        if (sum === BigInt(`0x${left.sum}`)) return { generation: left.generation, tags };
        throw damaged("A row is not the one that its last writer left: it was changed, or an older one was put back.");
      },
    };
  };

  return {
    create(tx) {
      const key = hashKeyOf(randomBytes(HASH_KEY_BYTES));
      tx.put(HASH_KEY, barrier.seal({ path: HASH_KEY, version: 0 }, key.bytes));
      const rows = countedRows(tx);
      // Whoever knows the tags of before has to begin anew.
      putSum(tx, key, { rows: rows.length, sum: sumOf(rows, key), recent: "" });
    },
    verify(tx) {
      const counted = tally(tx);
      counted.add(tx.range(""));
      return counted.end();
    },
    tally,
    verifyGeneration(tx) {
      const key = openHashKey(tx);
      return accountOf(key, openSum(tx, key));
    },
    tracked(tx, use, through = (_, inner) => inner) {
      const key = openHashKey(tx);
      const before = openSum(tx, key);
      const seen = through(accountOf(key, before), tx);
      const changes = new Map<Tag, Tag>();
      let count = before.rows;
      let sum = BigInt(`0x${before.sum}`);
      const takeOff = (name: string): void => {
        const value = tx.peek(name);
        if (value === undefined) return;
        count -= 1;
        sum = (sum + MODULUS - numberOf(hashRow(key, name, value))) % MODULUS;
      };
      const result = use({
        generation: tx.generation,
        get: (name) => seen.get(name),
        range: (prefix, options) => seen.range(prefix, options),
        expect: (keys, ranges) => tx.expect(keys, ranges),
        peek: (name) => tx.peek(name),
        put(name, value) {
          takeOff(name);
          seen.put(name, value);
          const digest = hashRow(key, name, value);
          count += 1;
          sum = (sum + numberOf(digest)) % MODULUS;
          changes.set(nameTag(key, name), tagOf(digest));
        },
        remove(name) {
          takeOff(name);
          changes.set(nameTag(key, name), ABSENT);
          return seen.remove(name);
        },
      });
      putSum(tx, key, { rows: count, sum, recent: withWrite(before.recent, before.generation + 1, changes) });
      return result;
    },
  };
};

/** All but the sum itself. */
const isCounted = ({ key }: Row): boolean => key !== SUM;

const countedRows = (tx: ReadTx): readonly Row[] => tx.range("").filter(isCounted);

/** The name's length goes first, so that no byte can move from the name to the value. */
const hashRow = ({ bytes: key }: HashKey, name: string, value: Uint8Array): Buffer => {
  const place = Buffer.from(name);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(place.length);
  return createHmac("sha256", key).update(length).update(place).update(value).digest();
};

const numberOf = (digest: Buffer): bigint => BigInt(`0x${digest.toString("hex")}`);

/** No row's: names are shorter than what a letter would mean as the first byte of a length. */
const nameTag = ({ bytes: key }: HashKey, name: string): Tag => tagOf(createHmac("sha256", key).update(name).digest());

const accountOf = (key: HashKey, { generation, recent }: Sum): Account => ({
  generation,
  recent,
  maker: key,
  nameTag: (name) => nameTag(key, name),
  rowTag: (name, value) => tagOf(hashRow(key, name, value)),
});

const damaged = (detail: string): SidekeyError => new SidekeyError("VAULT_STORE_DAMAGED", { detail });
