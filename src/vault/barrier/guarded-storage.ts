/**
 * The store as secrets and tokens see it: rows that are accounted for (integrity.ts), sealed with keys that may change
 * while it is open (rekey.ts). Every way to the rows leads through here.
 */
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { firstWanted, NOTHING } from "../storage/restart.ts";
import {
  type EmbeddedStorage,
  isScannable,
  type ReadOptions,
  type ReadTx,
  type Scannable,
  type Tx,
  type VaultStorage,
  type Watchable,
} from "../storage/storage.ts";
import type { Barrier } from "./barrier.ts";
import { createIntegrity, HASH_KEY, type Integrity, SUM } from "./integrity.ts";
import { isWrongKey, type KeyRing, withNewestKeys, withNewestKeysLater } from "./key.ts";

/** The row that tells which key seals, and what the store is. */
export const CHECK = "check:key";
/** Without a sum of its rows: 0.1.0. */
const WITHOUT_SUM = "sidekey";
const TEXT = "sidekey/2";

export interface Keys {
  readonly ring: KeyRing;
  readonly barrier: Barrier;
}

export interface GuardedStorage extends VaultStorage, Watchable {
  /** As `write`, after a look at every row, and with a new hash key for them that is sealed with what seals then. */
  writeAnew<T>(use: (tx: Tx) => T): Promise<T>;
  /**
   * Goes through every row, some at a time. Once they are not those that the last writer left, nothing is read or written
   * any more. Errors: VAULT_STORE_DAMAGED, VAULT_KEY_WRONG, VAULT_STORE_BUSY.
   */
  verify(): Promise<void>;
}

export interface EmbeddedGuard extends GuardedStorage, EmbeddedStorage {}

/** What every transaction here asks for. */
const OWN_ROWS: readonly string[] = [CHECK, HASH_KEY, SUM];

/**
 * Checks key and rows, and makes a new store or one of 0.1.0 what it should be.
 * Errors: VAULT_KEY_WRONG, VAULT_KEY_UNREADABLE, VAULT_STORE_DAMAGED, VAULT_STORE_BUSY.
 */
export const guardEmbedded = async (
  storage: EmbeddedStorage & Watchable,
  keys: Keys,
  clock: Clock,
): Promise<EmbeddedGuard> => {
  const { guarded, checkGeneration } = await createGuard(storage, keys, clock, { isShared: false });
  return {
    ...guarded,
    readNow: (use) =>
      withNewestKeys(keys.ring, () =>
        storage.readNow((tx) => {
          checkGeneration(tx);
          return use(tx);
        }),
      ),
    generation: () => storage.generation(),
  };
};

/**
 * As `guardEmbedded`, for a store whose processes have their keys from places of their own: which key seals is then told by
 * the check row and not by the order they were given in, so that all of them seal with one. Those that lack it fail.
 */
export const guardShared = async (
  storage: VaultStorage & Watchable & Scannable,
  keys: Keys,
  clock: Clock,
): Promise<GuardedStorage> => (await createGuard(storage, keys, clock, { isShared: true })).guarded;

interface Guard {
  readonly guarded: GuardedStorage;
  checkGeneration(tx: ReadTx): void;
}

const createGuard = async (
  storage: VaultStorage & Watchable,
  { ring, barrier }: Keys,
  clock: Clock,
  { isShared }: { readonly isShared: boolean },
): Promise<Guard> => {
  const integrity = createIntegrity(barrier, clock);
  const admitted = await withNewestKeysLater(ring, () => admit(storage, barrier, integrity)).catch(
    async (error: unknown) => {
      throw isWrongKey(error) && "file" in ring.source && (await storage.read((tx) => opensAny(tx, barrier)))
        ? damaged(
            `Row ${CHECK} does not open, and others do: it was changed, or the key file is of before an unfinished rekey.`,
          )
        : error;
    },
  );
  let { check, generation: verified } = admitted;
  /** What was found wrong while it was open. */
  let fault: SidekeyError | undefined;

  const followCheck = (): void => {
    if (isShared) ring.lead(barrier.keyOf(check));
  };
  followCheck();

  /**
   * Another key seals since this process looked: a row that is sealed with the old one now would be lost with it. The file
   * was changed before this row was, and both are under the lock that a writer holds.
   */
  const followKeys = (tx: ReadTx): void => {
    const found = tx.get(CHECK);
    if (found === undefined) throw gone();
    if (found.equals(check)) return;
    ring.reload();
    openCheck(barrier, found);
    check = found;
    followCheck();
  };

  /** Something that counts generations but no rows has written meanwhile. */
  const checkGeneration = (tx: ReadTx): void => {
    if (fault !== undefined) throw fault;
    if (tx.generation === verified) return;
    integrity.verifyGeneration(tx);
    verified = tx.generation;
  };

  /** What is asked for first goes along with the rows that are asked for here: one round trip less, where there are any. */
  const expectationsOf = (use: (tx: Tx) => unknown, { expect = [], ranges = [] }: ReadOptions = {}): ReadOptions => {
    const first = isShared ? firstWanted(use) : NOTHING;
    return { expect: [...OWN_ROWS, ...expect, ...first.keys], ranges: [...ranges, ...first.ranges] };
  };

  const guarded: GuardedStorage = {
    read: (use, options) =>
      withNewestKeysLater(ring, () =>
        storage.read(
          (tx) => {
            checkGeneration(tx);
            return use(tx);
          },
          expectationsOf(use, options),
        ),
      ),
    write: (use, options) =>
      withNewestKeysLater(ring, () =>
        storage.write(
          (tx) => {
            if (fault !== undefined) throw fault;
            followKeys(tx);
            return integrity.tracked(tx, use);
          },
          expectationsOf(use, options),
        ),
      ),
    async writeAnew(use) {
      try {
        const written = await withNewestKeysLater(ring, () =>
          storage.write((tx) => {
            if (fault !== undefined) throw fault;
            followKeys(tx);
            integrity.verify(tx);
            const result = use(tx);
            integrity.create(tx);
            return { result, check: tx.get(CHECK) };
          }),
        );
        check = written.check ?? check;
        return written.result;
      } finally {
        // Also what did not come to its end may have had another key lead.
        followCheck();
      }
    },
    verify: () =>
      withNewestKeysLater(ring, () => verifyAll(storage, integrity)).catch((error: unknown) => {
        if (isSidekeyError(error) && error.code === "VAULT_STORE_DAMAGED") fault = error;
        throw error;
      }),
    watch: (onChange) => storage.watch(onChange),
    close: () => storage.close(),
  };
  return { guarded, checkGeneration };
};

const verifyAll = async (storage: VaultStorage, integrity: Integrity): Promise<void> => {
  if (!isScannable(storage)) return storage.read((tx) => integrity.verify(tx));
  const tally = await storage.scan({
    expect: OWN_ROWS,
    begin: (tx) => integrity.tally(tx),
    page: (counted, rows) => counted.add(rows),
  });
  tally.end();
};

interface Admitted {
  readonly check: Buffer;
  readonly generation: number;
}

/** A store whose rows were found whole. */
const admit = async (storage: VaultStorage, barrier: Barrier, integrity: Integrity): Promise<Admitted> => {
  const found = await storage.read((tx): Admitted | undefined => {
    const check = tx.get(CHECK);
    if (check === undefined && tx.generation > 0) throw gone();
    if (check === undefined || openCheck(barrier, check) === WITHOUT_SUM) return undefined;
    try {
      integrity.verify(tx);
    } catch (error) {
      // The check row and the hash key are always sealed with one key, and that has just opened the one.
      throw isWrongKey(error) ? damaged("The key of its sum was changed.") : error;
    }
    return { check, generation: tx.generation };
  });
  if (found !== undefined) return found;
  await storage.write((tx) => prepare(tx, barrier, integrity));
  return admit(storage, barrier, integrity);
};

/** Once per store, by the first that opens it: another process may have been quicker. */
const prepare = (tx: Tx, barrier: Barrier, integrity: Integrity): void => {
  const sealed = tx.get(CHECK);
  if (sealed === undefined && tx.generation > 0) throw gone();
  if (sealed !== undefined && openCheck(barrier, sealed) !== WITHOUT_SUM) {
    // Nothing to do but to keep the generation and the sum in step.
    integrity.tracked(tx, () => undefined);
    return;
  }
  if (tx.range("integrity:").length > 0) {
    throw damaged("An older check row was put back.");
  }
  tx.put(CHECK, sealCheck(barrier));
  integrity.create(tx);
};

export const sealCheck = (barrier: Barrier): Buffer => barrier.seal({ path: CHECK, version: 0 }, Buffer.from(TEXT));

const openCheck = (barrier: Barrier, sealed: Buffer): typeof WITHOUT_SUM | typeof TEXT => {
  const text = barrier.open({ path: CHECK, version: 0 }, sealed).toString();
  if (text === WITHOUT_SUM || text === TEXT) return text;
  throw new SidekeyError("VAULT_STORE_DAMAGED", {
    detail: "It is of a kind that this version does not know.",
    hint: "Use the version of Sidekey that wrote it, or a newer one.",
  });
};

/** Then the keys at hand are not simply another store's. */
const opensAny = (tx: ReadTx, barrier: Barrier): boolean =>
  tx.range("").some(({ value }) => barrier.keyOf(value) !== undefined);

const damaged = (detail: string): SidekeyError => new SidekeyError("VAULT_STORE_DAMAGED", { detail });

const gone = (): SidekeyError => damaged("The row that its key is checked with is gone.");
