/** A random key that all processes of a store have in common: made by the first that asks, and sealed like any row. */
import { randomBytes } from "node:crypto";
import type { ReadTx, VaultStorage } from "../storage/storage.ts";
import type { Barrier } from "./barrier.ts";

const KEY_BYTES = 32;

/** `row`: its name. Errors of what it returns: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const createSealedKey = (storage: VaultStorage, barrier: Barrier, row: string): (() => Promise<Buffer>) => {
  let key: Buffer | undefined;

  const read = (tx: ReadTx): Buffer | undefined => {
    const sealed = tx.get(row);
    return sealed === undefined ? undefined : barrier.open({ path: row, version: 0 }, sealed);
  };

  return async () => {
    key ??= await storage.read(read);
    key ??= await storage.write((tx) => {
      // Another process may have made one since.
      const known = read(tx);
      if (known !== undefined) return known;
      const made = randomBytes(KEY_BYTES);
      tx.put(row, barrier.seal({ path: row, version: 0 }, made));
      return made;
    });
    return key;
  };
};
