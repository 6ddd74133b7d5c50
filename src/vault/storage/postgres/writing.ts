/**
 * Writes over a database: those that wait in this process go into one transaction of the database, each in a layer of its
 * own, so that one that throws leaves nothing and undoes no other. Each counts one generation. Must never resolve one
 * before the commit.
 */
import {
  createKnown,
  createLayer,
  isNothing,
  type Layer,
  mergeWanted,
  run,
  type Wanted,
  wantedOf,
} from "../restart.ts";
import type { ReadOptions, Tx } from "../storage.ts";
import type { Database, Query } from "./connection.ts";
import { fetchWith } from "./reading.ts";
import { applyChanges, lockState } from "./schema.ts";

export interface Writer {
  /** Errors: those of `use`, VAULT_STORE_BUSY, VAULT_STORE_DAMAGED. */
  write<T>(use: (tx: Tx) => T, options?: ReadOptions): Promise<T>;
  /** Resolves when nothing waits any more. */
  idle(): Promise<void>;
}

interface Waiting {
  readonly use: (tx: Tx) => unknown;
  readonly expect: Wanted;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** In one transaction: others wait for its end. */
const MAX_BATCH = 64;
const MAX_ROUNDS = 10_000;

/** `errorOf` makes of what a callback threw what its caller sees. */
export const createWriter = (
  database: Database,
  { channel, errorOf }: { readonly channel: string; errorOf(error: unknown): unknown },
): Writer => {
  const waiting: Waiting[] = [];
  let work: Promise<void> | undefined;

  const commit = async (batch: readonly Waiting[]): Promise<void> => {
    const outcomes = await database.transact("BEGIN", async (query) => {
      const { layer, generation, results } = await runBatch(query, batch);
      const hasWritten = layer.count > 0;
      if (hasWritten) {
        await applyChanges(query, layer.changes, { generation: generation + layer.count, channel });
      }
      return { commit: hasWritten, value: results };
    });
    for (const [index, { resolve, reject }] of batch.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) reject(new TypeError("a write without an outcome"));
      else if ("error" in outcome) reject(errorOf(outcome.error));
      else resolve(outcome.value);
    }
  };

  const workOff = async (): Promise<void> => {
    // What came in this turn of the loop goes along.
    await undefined;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, MAX_BATCH);
      try {
        await commit(batch);
      } catch (error) {
        // Those behind them would find the same, each after its own wait.
        for (const { reject } of [...batch, ...waiting.splice(0)]) reject(error);
      }
    }
    work = undefined;
  };

  return {
    write: <T>(use: (tx: Tx) => T, options?: ReadOptions) =>
      new Promise<T>((resolve, reject) => {
        waiting.push({ use, expect: wantedOf(options), resolve: (value) => resolve(value as T), reject });
        work ??= workOff();
      }),
    idle: async () => work,
  };
};

interface Batch {
  /** Of the store before it. */
  readonly generation: number;
  readonly layer: Layer;
  readonly results: readonly Outcome[];
}

const runBatch = async (query: Query, batch: readonly Waiting[]): Promise<Batch> => {
  const generation = await lockState(query);
  const fetch = fetchWith(query);
  const known = createKnown(generation);
  const layer = createLayer();
  const results: Outcome[] = [];
  let next: Wanted = mergeWanted(batch.map(({ expect }) => expect));
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    if (!isNothing(next)) known.add(next, await fetch(next));
    const wanted: Wanted[] = [];
    let below = layer;
    for (const { use } of batch.slice(results.length)) {
      const above = createLayer(below);
      const outcome = run(known, above, use);
      if (outcome.kind === "missing") {
        // From here on this round only finds out what they will ask for: nothing of it stays.
        if (wanted.length === 0) below = createLayer(layer);
        wanted.push(outcome.wanted);
      } else if (wanted.length === 0) {
        results.push(outcome.kind === "done" ? { value: outcome.value } : { error: outcome.error });
      }
      if (outcome.kind === "done" || (outcome.kind === "missing" && outcome.ended)) below.merge(above);
    }
    if (results.length === batch.length) return { generation, layer, results };
    next = mergeWanted(wanted);
  }
  throw new TypeError("a write that has no end");
};
