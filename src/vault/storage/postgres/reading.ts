/** Reads over a database: rounds of fetching and running, all of one generation. */
import {
  createKnown,
  type Found,
  isNothing,
  type Known,
  mergeWanted,
  NOTHING,
  type Range,
  rangeId,
  runRead,
  type Wanted,
} from "../restart.ts";
import type { ReadTx } from "../storage.ts";
import type { ResultRow, Statement } from "./connection.ts";
import { fetchStatement, foundIn } from "./schema.ts";

export type Fetch = (asked: Wanted) => Promise<Found>;

export const fetchWith =
  (ask: (statement: Statement) => Promise<readonly ResultRow[]>): Fetch =>
  async (asked) =>
    foundIn(asked, await ask(fetchStatement(asked)));

interface Asking {
  readonly asked: Wanted;
  resolve(found: Found): void;
  reject(error: unknown): void;
}

/** Statements at once; what comes meanwhile waits for one of them, and goes along with the next. */
const MAX_STATEMENTS = 4;
/** In one statement. */
const MAX_KEYS = 2000;

/**
 * Many reads as few statements: a server under load asks for all that its requests want at once, and never has more of them
 * waiting for a connection than there are. Each is begun after its read was, so it sees every commit of before.
 */
export const fetchTogether = (fetch: Fetch): Fetch => {
  const waiting: Asking[] = [];
  let running = 0;

  const take = (): readonly Asking[] => {
    let keys = 0;
    let count = 0;
    for (const { asked } of waiting) {
      keys += asked.keys.length + asked.ranges.length;
      if (count > 0 && keys > MAX_KEYS) break;
      count += 1;
    }
    return waiting.splice(0, count);
  };

  const askTogether = async (batch: readonly Asking[]): Promise<void> => {
    try {
      const all = mergeWanted(batch.map(({ asked }) => asked));
      const found = await fetch(all);
      for (const { asked, resolve } of batch) resolve(batch.length === 1 ? found : partOf(found, all, asked));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };

  const next = (): void => {
    while (running < MAX_STATEMENTS && waiting.length > 0) {
      running += 1;
      void askTogether(take()).finally(() => {
        running -= 1;
        next();
      });
    }
  };

  return (asked) => {
    // Nobody waits for what may be a whole store but who asked for it.
    if (asked.ranges.some(({ limit }) => limit === Number.POSITIVE_INFINITY)) return fetch(asked);
    return new Promise((resolve, reject) => {
      waiting.push({ asked, resolve, reject });
      // Those of the same turn go along.
      if (running < MAX_STATEMENTS) queueMicrotask(next);
    });
  };
};

const partOf = (found: Found, all: Wanted, asked: Wanted): Found => {
  const keys = new Set(asked.keys);
  const rangeOf = (range: Range) => found.ranges[all.ranges.findIndex((one) => rangeId(one) === rangeId(range))] ?? [];
  return {
    generation: found.generation,
    rows: found.rows.filter(({ key }) => keys.has(key)),
    ranges: asked.ranges.map(rangeOf),
  };
};

/** A callback that asks for something else in each of so many rounds has no end. */
const MAX_ROUNDS = 10_000;

/** `moved`: others wrote between its rounds, `mayMove` times. */
export type Read<T> = { readonly kind: "read"; readonly value: T } | { readonly kind: "moved" };

export interface ReadRounds {
  readonly expect: Wanted;
  readonly mayMove: number;
}

/** Errors: those of `use` and of `fetch`. */
export const readRounds = async <T>(
  fetch: Fetch,
  use: (tx: ReadTx) => T,
  { expect, mayMove }: ReadRounds,
): Promise<Read<T>> => {
  let known: Known | undefined;
  /** All that was asked for so far. */
  let asked = NOTHING;
  /** What is asked for next. */
  let next = expect;
  let moved = 0;
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    // Without a word of what to expect, the first run tells.
    if (known !== undefined || isNothing(expect)) {
      const outcome = runRead(known, use);
      if (outcome.kind === "done") return { kind: "read", value: outcome.value };
      if (outcome.kind === "threw") throw outcome.error;
      next = mergeWanted([next, outcome.wanted]);
    }
    asked = mergeWanted([asked, next]);
    const found = await fetch(next);
    if (known === undefined || known.generation === found.generation) {
      known ??= createKnown(found.generation);
      known.add(next, found);
      next = NOTHING;
      continue;
    }
    // Rows of two generations are no snapshot: all of them again, in one statement.
    moved += 1;
    if (moved > mayMove) return { kind: "moved" };
    known = undefined;
    const again = await fetch(asked);
    known = createKnown(again.generation);
    known.add(asked, again);
    next = NOTHING;
  }
  throw new TypeError("a read that has no end");
};
