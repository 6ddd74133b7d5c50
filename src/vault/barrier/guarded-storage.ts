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
import { createFreshness, Doubt, type Freshness } from "./freshness.ts";
import { type Account, createIntegrity, HASH_KEY, type Integrity, SUM } from "./integrity.ts";
import { isWrongKey, type KeyRing, withNewestKeys, withNewestKeysLater } from "./key.ts";
import type { Tag } from "./ledger.ts";

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
  const { guarded, checked, verifyWith } = await createGuard(storage, keys, clock, { isShared: false });
  return {
    ...guarded,
    readNow(use) {
      const readOnce = <T>(callback: (tx: ReadTx) => T): T =>
        withNewestKeys(keys.ring, () => storage.readNow(checked(callback)));
      try {
        return readOnce(use);
      } catch (error) {
        if (!(error instanceof Doubt)) throw error;
        storage.readNow(verifyWith);
        return readOnce(use);
      }
    },
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
  /** A callback over rows that are judged. Errors of it: VAULT_STORE_DAMAGED, VAULT_KEY_WRONG, `Doubt`. */
  checked<T>(use: (tx: ReadTx) => T): (tx: ReadTx) => T;
  /** Goes through all rows in one go. Errors: VAULT_STORE_DAMAGED, from then on of everything. */
  verifyWith(tx: ReadTx): void;
}

/** Of one read or write that is in doubt: each time all rows are gone through first. */
const MAX_DOUBTS = 5;
/** Going through all rows in the background takes at most one of so many parts of the time. */
const SHARE = 20;

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
  let { check, account: verified } = admitted;
  /** No generation before it is the store's any more. */
  let newest = verified.generation;
  /** What was found wrong while it was open. */
  let fault: SidekeyError | undefined;
  const freshness = createFreshness();
  freshness.startFilling(verified.generation)(admitted.tags);

  const noteFault = (error: unknown): never => {
    if (isSidekeyError(error) && error.code === "VAULT_STORE_DAMAGED") fault = error;
    throw error;
  };

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

  /** `floor`: the newest generation when this was begun. */
  const checkFloor = (tx: ReadTx, floor: number): void => {
    if (fault !== undefined) throw fault;
    if (tx.generation < floor) noteFault(older());
  };

  /** Something that counts generations but no rows has written meanwhile. */
  const accountOf = (tx: ReadTx): Account => {
    if (tx.generation === verified.generation) return verified;
    verified = integrity.verifyGeneration(tx);
    newest = Math.max(newest, verified.generation);
    if (!freshness.follow(verified)) verifySoon();
    return verified;
  };

  const checked = <T>(use: (tx: ReadTx) => T): ((tx: ReadTx) => T) => {
    const floor = newest;
    return (tx) => {
      checkFloor(tx, floor);
      return use(freshness.reading(accountOf(tx), tx));
    };
  };

  let isSoon = false;
  let tookMs = 0;
  /** Rows cannot be judged until then. */
  const verifySoon = (): void => {
    if (isSoon) return;
    isSoon = true;
    setTimeout(async () => {
      const begun = clock.monotonic();
      // Who reads is told of what is found.
      await verify().catch(() => {});
      tookMs = clock.monotonic() - begun;
      isSoon = false;
    }, tookMs * SHARE).unref();
  };

  const verify = (): Promise<void> =>
    withNewestKeysLater(ring, () => verifyAll(storage, integrity, freshness))
      // Of what was read between the moment it shows and its beginning it has not heard.
      .then(() => void freshness.follow(verified))
      .catch(noteFault);

  let verifying: Promise<void> | undefined;
  /** Runs it again once all rows were found right that were in doubt. */
  const withoutDoubt = async <T>(run: () => Promise<T>): Promise<T> => {
    for (let doubts = 0; ; doubts += 1) {
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof Doubt)) throw error;
        if (doubts === MAX_DOUBTS) throw damaged("A row is another each time that it is read.");
        if (error.isLate) continue;
        verifying ??= verify().finally(() => {
          verifying = undefined;
        });
        await verifying;
      }
    }
  };

  /** What is asked for first goes along with the rows that are asked for here: one round trip less, where there are any. */
  const expectationsOf = (use: (tx: Tx) => unknown, { expect = [], ranges = [] }: ReadOptions = {}): ReadOptions => {
    const first = isShared ? firstWanted(use) : NOTHING;
    return { expect: [...OWN_ROWS, ...expect, ...first.keys], ranges: [...ranges, ...first.ranges] };
  };

  const guarded: GuardedStorage = {
    read: (use, options) =>
      withoutDoubt(() => withNewestKeysLater(ring, () => storage.read(checked(use), expectationsOf(use, options)))),
    write: (use, options) =>
      withoutDoubt(() =>
        withNewestKeysLater(ring, async () => {
          const floor = newest;
          let written = 0;
          const value = await storage.write(
            (tx) => {
              checkFloor(tx, floor);
              followKeys(tx);
              written = tx.generation + 1;
              return integrity.tracked(tx, use, freshness.through);
            },
            expectationsOf(use, options),
          );
          newest = Math.max(newest, written);
          return value;
        }),
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
    verify,
    watch: (onChange) => storage.watch(onChange),
    close: () => storage.close(),
  };
  return {
    guarded,
    checked,
    verifyWith(tx) {
      try {
        verifyNow(tx, integrity, freshness);
      } catch (error) {
        noteFault(error);
      }
    },
  };
};

const verifyNow = (tx: ReadTx, integrity: Integrity, { startFilling }: Freshness): void => {
  const { generation, tags } = integrity.verify(tx);
  startFilling(generation)(tags);
};

const verifyAll = async (storage: VaultStorage, integrity: Integrity, freshness: Freshness): Promise<void> => {
  if (!isScannable(storage)) return storage.read((tx) => verifyNow(tx, integrity, freshness));
  const { tally, fill } = await storage.scan({
    expect: OWN_ROWS,
    begin(tx) {
      const counted = integrity.tally(tx);
      return { tally: counted, fill: freshness.startFilling(counted.generation) };
    },
    page: (begun, rows) => begun.tally.add(rows),
  });
  fill(tally.end().tags);
};

interface Admitted {
  readonly check: Buffer;
  readonly account: Account;
  readonly tags: Map<Tag, Tag>;
}

/** A store whose rows were found whole. */
const admit = async (storage: VaultStorage, barrier: Barrier, integrity: Integrity): Promise<Admitted> => {
  const found = await storage.read((tx): Admitted | undefined => {
    const check = tx.get(CHECK);
    if (check === undefined && tx.generation > 0) throw gone();
    if (check === undefined || openCheck(barrier, check) === WITHOUT_SUM) return undefined;
    try {
      const { tags } = integrity.verify(tx);
      return { check, account: integrity.verifyGeneration(tx), tags };
    } catch (error) {
      // The check row and the hash key are always sealed with one key, and that has just opened the one.
      throw isWrongKey(error) ? damaged("The key of its sum was changed.") : error;
    }
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

/** A failover to what lagged behind, or an older copy that was put in its place: what was revoked since is not any more. */
const older = (): SidekeyError =>
  new SidekeyError("VAULT_STORE_DAMAGED", {
    detail: "It is older than it was a moment ago: what was written since is lost, revocations among it.",
    hint: "Where that has to be so, restart what has it open, and revoke and rotate again what was lost.",
  });

const gone = (): SidekeyError => damaged("The row that its key is checked with is gone.");
