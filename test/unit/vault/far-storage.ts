import { createKnown, createLayer, inKeyOrder, run, type Wanted } from "../../../src/vault/storage/restart.ts";
import type { Tx, VaultStorage } from "../../../src/vault/storage/storage.ts";

/** More than any callback needs that comes to an end. */
const MAX_ROUNDS = 50;

/** A store at the other end of a wire, in memory: counts how often rows had to be fetched, and how many of them. */
export const createFarStorage = () => {
  const rows = new Map<string, Buffer>();
  let generation = 0;
  let rounds = 0;
  let fetchedRows = 0;
  const fetched = ({ keys, ranges }: Wanted) => {
    rounds += 1;
    const found = {
      generation,
      rows: keys.flatMap((key) => {
        const value = rows.get(key);
        return value === undefined ? [] : [{ key, value }];
      }),
      ranges: ranges.map(({ prefix, limit, reverse, offset = 0 }) => {
        const all = inKeyOrder(
          [...rows].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => ({ key, value })),
        );
        const part = (reverse === true ? all.toReversed() : all).slice(offset, offset + limit);
        return reverse === true ? part.toReversed() : part;
      }),
    };
    fetchedRows += found.rows.length + found.ranges.flat().length;
    return found;
  };
  const go = <T>(use: (tx: Tx) => T, keys: readonly string[] = []) => {
    const known = createKnown(generation);
    let wanted: Wanted = { keys, ranges: [] };
    for (let turn = 0; turn < MAX_ROUNDS; turn += 1) {
      if (wanted.keys.length + wanted.ranges.length > 0) known.add(wanted, fetched(wanted));
      const layer = createLayer();
      const ran = run(known, layer, use);
      if (ran.kind === "threw") throw ran.error;
      if (ran.kind === "done") return { value: ran.value, layer };
      wanted = ran.wanted;
    }
    throw new Error("it has no end");
  };
  const storage: VaultStorage = {
    read: async (use, options) => go(use, options?.expect).value,
    write: async (use, options) => {
      const { value, layer } = go(use, options?.expect);
      for (const [key, row] of layer.changes) row === null ? rows.delete(key) : rows.set(key, row);
      generation += 1;
      return value;
    },
    close: async () => {},
  };
  return {
    storage,
    async roundsOf(use: () => Promise<unknown>): Promise<number> {
      rounds = 0;
      await use();
      return rounds;
    },
    async rowsOf(use: () => Promise<unknown>): Promise<number> {
      rounds = 0;
      fetchedRows = 0;
      await use();
      return fetchedRows;
    },
  };
};
