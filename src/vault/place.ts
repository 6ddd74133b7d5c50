/**
 * Whether a store's file still stands where it was opened. One that was removed, or in whose place another was put (a
 * restore, a copy), stays open for whoever had it, and hears of no change any more: what is revoked in the new one would
 * go on in the old one.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import type { EmbeddedStorage, Watchable } from "./storage/storage.ts";

/** A look costs some microseconds, and a request must not. `ms` */
const LOOK_EVERY_MS = 500;

/** Throws VAULT_STORE_BUSY once the store's file is another; quick to ask. `exactly`: as of now, not of a moment ago. */
export type PlaceCheck = (exactly?: "exactly") => void;

/** Of a store that was just opened. */
export const createPlaceCheck = (directory: string, clock: Clock): PlaceCheck => {
  const file = join(directory, "data.mdb");
  const opened = identityOf(file);
  let lookedAt = clock.monotonic();
  let isThere = true;
  return (exactly) => {
    const now = clock.monotonic();
    if (exactly !== undefined || now - lookedAt >= LOOK_EVERY_MS) {
      lookedAt = now;
      isThere = identityOf(file) === opened;
    }
    if (isThere) return;
    throw new SidekeyError("VAULT_STORE_BUSY", {
      detail: `${file} was removed, or another was put in its place.`,
      hint: "Restart what has it open.",
    });
  };
};

/** The same store, which fails once its file is another. A write that is acknowledged is in the one that is there. */
export const whileInPlace = (storage: EmbeddedStorage & Watchable, check: PlaceCheck): EmbeddedStorage & Watchable => ({
  ...storage,
  async read(use, options) {
    check();
    return storage.read(use, options);
  },
  async write(use, options) {
    check("exactly");
    const value = await storage.write(use, options);
    check("exactly");
    return value;
  },
  readNow(use) {
    check();
    return storage.readNow(use);
  },
  generation() {
    check();
    return storage.generation();
  },
});

const identityOf = (file: string): string | undefined => {
  try {
    const { dev, ino } = statSync(file);
    return `${dev}:${ino}`;
  } catch {
    // Out of reach is as good as gone: what happens there is not heard of here.
    return undefined;
  }
};
