/** A clock that only moves when told, a directory that is gone afterwards, and a vault in it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { Clock } from "../../../src/core/clock.ts";
import { type ErrorCode, isSidekeyError, type SidekeyError } from "../../../src/core/errors.ts";
import { createBarrier } from "../../../src/vault/barrier/barrier.ts";
import { type EmbeddedGuard, guardEmbedded, type Keys } from "../../../src/vault/barrier/guarded-storage.ts";
import { openKeyRing } from "../../../src/vault/barrier/key.ts";
import { type IdentityOptions, openVault, type Vault } from "../../../src/vault/index.ts";
import { openLmdb } from "../../../src/vault/storage/lmdb.ts";
import type { EmbeddedStorage, Watchable } from "../../../src/vault/storage/storage.ts";

export interface TestClock extends Clock {
  /** Both clocks, `ms`. */
  advance(ms: number): void;
  /** The wall clock alone, as a person or NTP sets it. */
  setWall(time: number): void;
}

export const START = Date.UTC(2030, 0, 1);

export const createTestClock = (): TestClock => {
  let wall = START;
  let monotonic = 1000;
  return {
    now: () => wall,
    monotonic: () => monotonic,
    advance(ms) {
      wall += ms;
      monotonic += ms;
    },
    setWall(time) {
      wall = time;
    },
  };
};

const cleanups: (() => Promise<void>)[] = [];

/** Runs after the test, last first. */
export const afterTest = (cleanup: () => Promise<void>): void => {
  cleanups.push(cleanup);
};

afterEach(async () => {
  for (let next = cleanups.pop(); next !== undefined; next = cleanups.pop()) await next();
});

export const temporaryDirectory = async (): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), "sidekey-vault-"));
  afterTest(() => rm(directory, { recursive: true, force: true }));
  return directory;
};

export interface TestVault {
  readonly vault: Vault;
  readonly clock: TestClock;
  /** State directory: `vault/` and `vault.key` in it. */
  readonly state: string;
}

export const openTestVault = async (
  at?: { state: string; clock: TestClock },
  identity: IdentityOptions = {},
): Promise<TestVault> => {
  const state = at?.state ?? (await temporaryDirectory());
  const clock = at?.clock ?? createTestClock();
  const keys = { file: join(state, "vault.key") };
  const vault = await openVault({ directory: join(state, "vault"), keys, clock, identity });
  afterTest(async () => vault.close());
  return { vault, clock, state };
};

type Place = { readonly state: string; readonly clock: Clock };

/** Keys of a closed vault, and its rows as anybody who may write the files can change them. */
export const withRows = async <T>(
  { state, clock }: Place,
  use: (storage: EmbeddedStorage & Watchable, keys: Keys) => Promise<T>,
): Promise<T> => {
  const ring = await openKeyRing({ file: join(state, "vault.key") }, false);
  const storage = await openLmdb(join(state, "vault"));
  try {
    return await use(storage, { ring, barrier: createBarrier(ring, clock) });
  } finally {
    await storage.close();
  }
};

/** As `withRows`, but with every change accounted for: what a faulty version of Sidekey could write. */
export const withGuardedRows = (at: Place, use: (storage: EmbeddedGuard, keys: Keys) => Promise<void>): Promise<void> =>
  withRows(at, async (storage, keys) => use(await guardEmbedded(storage, keys, at.clock), keys));

/** The SidekeyError that `run` throws or rejects with. */
export const failureOf = async (run: () => unknown): Promise<SidekeyError> => {
  try {
    await run();
  } catch (error) {
    if (isSidekeyError(error)) return error;
    throw error;
  }
  throw new Error("it did not fail");
};

export const codeOf = async (run: () => unknown): Promise<ErrorCode> => (await failureOf(run)).code;
