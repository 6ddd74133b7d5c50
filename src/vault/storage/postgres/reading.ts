/** Reads over a database: rounds of fetching and running, all of one generation. */
import { createKnown, type Found, type Known, mergeWanted, NOTHING, runRead, type Wanted } from "../restart.ts";
import type { ReadTx } from "../storage.ts";
import type { ResultRow, Statement } from "./connection.ts";
import { fetchStatement, foundIn } from "./schema.ts";

export type Fetch = (asked: Wanted) => Promise<Found>;

export const fetchWith =
  (ask: (statement: Statement) => Promise<readonly ResultRow[]>): Fetch =>
  async (asked) =>
    foundIn(asked, await ask(fetchStatement(asked)));

/** A callback that asks for something else in each of so many rounds has no end. */
const MAX_ROUNDS = 10_000;

/** `moved`: others wrote between its rounds, `mayMove` times. */
export type Read<T> = { readonly kind: "read"; readonly value: T } | { readonly kind: "moved" };

export interface ReadRounds {
  readonly expect: readonly string[];
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
  let next: Wanted = { keys: expect, ranges: [] };
  let moved = 0;
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    // Without a word of what to expect, the first run tells.
    if (known !== undefined || expect.length === 0) {
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
