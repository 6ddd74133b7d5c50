/**
 * A new key for a store that is in use. First both keys are in the file, the new one ahead; then every row is sealed with
 * the new one, some at a time; then the old one leaves the file. Killed anywhere, the file holds every key that a row is
 * sealed with, and the next call goes on from there.
 *
 * The file changes only within write transactions: before the first row is sealed with a new key, and after the last one
 * that needed an old key was. What others do about it is in guarded-storage.ts.
 */
import { SidekeyError } from "../../core/errors.ts";
import type { ReadTx } from "../storage/storage.ts";
import type { Barrier } from "./barrier.ts";
import { generateFernetKey, parseFernetKey } from "./fernet.ts";
import { CHECK, type GuardedStorage, type Keys, sealCheck } from "./guarded-storage.ts";
import { SUM } from "./integrity.ts";
import type { KeyRing } from "./key.ts";

export interface Rekeyed {
  /** Rows that this call has sealed anew. */
  readonly rows: number;
  /** More than one key was there already: an earlier call was cut short, or somebody put a new key first. */
  readonly resumed: boolean;
  /** The file that holds the one key that is left; undefined when the keys are not in a file. */
  readonly file: string | undefined;
}

/** Rows of one transaction: a few milliseconds in which others cannot write. */
const BATCH = 100;

/**
 * `progress` hears of rows done and of all that this call found to do.
 * Errors: CONFIG_USAGE (one key, and not in a file), VAULT_KEY_UNWRITABLE, VAULT_KEY_WRONG, VAULT_STORE_*.
 */
export const rekey = async (
  storage: GuardedStorage,
  { ring, barrier, isShared = false }: Keys & { readonly isShared?: boolean },
  progress: (done: number, total: number) => void = () => {},
): Promise<Rekeyed> => {
  /** Then its keys are in one place, and this process may change them. */
  const file = !isShared && "file" in ring.source ? ring.source.file : undefined;
  let added = false;
  // Who knew the old key may have known the hash key too: that one is new as well.
  const resumed = await storage.writeAnew((tx) => {
    const check = tx.get(CHECK);
    ring.reload();
    // The first of them, whatever has sealed until now.
    ring.lead(undefined);
    if (ring.keys.length === 1) {
      addKey(ring, file);
      added = true;
    }
    // This tells every other writer that the keys have changed.
    if (check === undefined || !barrier.isCurrent(check)) tx.put(CHECK, sealCheck(barrier));
    return !added;
  });
  /** Under the lock that a writer holds where the old key is to leave the file. */
  const list = <T>(use: (tx: ReadTx) => T): Promise<T> => (file === undefined ? storage.read(use) : storage.write(use));
  let rows = 0;
  for (;;) {
    const left = await list((tx) => {
      ring.reload();
      const names = staleRows(tx, barrier);
      if (names.length === 0 && file !== undefined) dropOldKeys(ring);
      return names;
    });
    if (left.length === 0) break;
    for (let start = 0; start < left.length; start += BATCH) {
      const batch = left.slice(start, start + BATCH);
      rows += await storage.write(
        (tx) => {
          let done = 0;
          for (const name of batch) {
            const sealed = tx.get(name);
            // Removed or written anew meanwhile.
            if (sealed === undefined || barrier.isCurrent(sealed)) continue;
            tx.put(name, barrier.reseal(name, sealed));
            done += 1;
          }
          return done;
        },
        { expect: batch },
      );
      progress(Math.min(start + BATCH, left.length), left.length);
    }
  }
  return { rows, resumed, file };
};

const staleRows = (tx: ReadTx, barrier: Barrier): readonly string[] =>
  tx
    .range("")
    .filter(({ key, value }) => key !== SUM && !barrier.isCurrent(value))
    .map(({ key }) => key);

const addKey = (ring: KeyRing, file: string | undefined): void => {
  if (file === undefined) {
    const [place, words] =
      "file" in ring.source
        ? [ring.source.file, "on every machine that has a process of this vault"]
        : [ring.source.where.replace(/^variable /, ""), "which only you can change"];
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `The vault's key comes from ${"file" in ring.source ? place : ring.source.where}, ${words}; nothing was done.`,
      hint: [
        "Make a key: openssl rand -base64 32 | tr +/ -_",
        `Set ${place} to the new key, a comma, and the old key, for everything that`,
        "opens this vault, and restart it. Then run this again, and take the old key out.",
      ].join("\n"),
    });
  }
  const fresh = parseFernetKey(generateFernetKey());
  if (fresh === undefined) throw new TypeError("a made key is no key");
  ring.replace([fresh, ...ring.keys]);
};

const dropOldKeys = (ring: KeyRing): void => {
  const [first, ...old] = ring.keys;
  if (first !== undefined && old.length > 0) ring.replace([first]);
};
