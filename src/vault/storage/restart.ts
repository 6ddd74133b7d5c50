/**
 * Runs callbacks that are written as if every row were at hand over rows that have to be fetched first. A run that asks
 * for a row that is not known ends there, says what it asked for, and is begun again when that is known (ADR 12). Knows no
 * database; must never take a row that was not fetched for one that is not there.
 */
import type { RangeOptions, ReadOptions, ReadTx, Row, Tx } from "./storage.ts";

export interface Range {
  readonly prefix: string;
  /** `Infinity`: all. */
  readonly limit: number;
  /** Such a range is found as it is asked for, and tells nothing of any other. */
  readonly reverse?: boolean;
  readonly offset?: number;
}

/** What has to be fetched. */
export interface Wanted {
  readonly keys: readonly string[];
  readonly ranges: readonly Range[];
}

/** What a database gave, of one generation. */
export interface Found {
  readonly generation: number;
  /** Those of the keys that there are. */
  readonly rows: readonly Row[];
  /** Of each range that was asked for, in key order, also of one that goes backwards. */
  readonly ranges: readonly (readonly Row[])[];
}

/** Rows of one generation. */
export interface Known {
  readonly generation: number;
  add(asked: Wanted, found: Found): void;
  /** `null`: there is none. Undefined: not known. */
  get(key: string): Buffer | null | undefined;
  /** Undefined: not known. */
  range(range: Range): readonly Row[] | undefined;
}

/** Changes that are not written yet, over those of the callbacks before; `null`: removed. */
export interface Layer {
  /** Transactions that are in it. */
  readonly count: number;
  readonly changes: ReadonlyMap<string, Buffer | null>;
  put(key: string, value: Buffer | null): void;
  /** Takes a layer over this one in, as one transaction. */
  merge(above: Layer): void;
}

export type Run<T> =
  /** `ended`: it came to its end all the same, so that what it changed tells what a run after it will ask for. */
  | { readonly kind: "missing"; readonly wanted: Wanted; readonly ended: boolean }
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "threw"; readonly error: unknown };

export const NOTHING: Wanted = { keys: [], ranges: [] };

export const isNothing = ({ keys, ranges }: Wanted): boolean => keys.length === 0 && ranges.length === 0;

export const mergeWanted = (all: readonly Wanted[]): Wanted => {
  const ranges = new Map<string, Range>();
  for (const range of all.flatMap((one) => one.ranges)) ranges.set(rangeId(range), range);
  return { keys: [...new Set(all.flatMap((one) => one.keys))], ranges: [...ranges.values()] };
};

/** The same for the same range, and for no other. */
export const rangeId = ({ prefix, limit, reverse = false, offset = 0 }: Range): string =>
  `${limit} ${offset} ${reverse} ${prefix}`;

export const rangeOf = (
  prefix: string,
  { limit = Number.POSITIVE_INFINITY, reverse = false, offset = 0 }: RangeOptions = {},
): Range => ({ prefix, limit, ...(reverse && { reverse }), ...(offset > 0 && { offset }) });

const isPlain = ({ reverse, offset }: Range): boolean => reverse === undefined && offset === undefined;

/** `rows` in key order, all that there are. */
const cutOut = (rows: readonly Row[], { limit, reverse, offset = 0 }: Range): readonly Row[] =>
  (reverse === true ? rows.toReversed() : rows).slice(offset, offset + limit);

export const createKnown = (generation: number): Known => {
  const rows = new Map<string, Buffer | null>();
  const ranges: { readonly range: Range; readonly rows: readonly Row[]; readonly isWhole: boolean }[] = [];
  return {
    generation,
    add(asked, found) {
      for (const key of asked.keys) if (!rows.has(key)) rows.set(key, null);
      for (const { key, value } of found.rows) rows.set(key, value);
      for (const [index, range] of asked.ranges.entries()) {
        const inside = found.ranges[index] ?? [];
        for (const { key, value } of inside) rows.set(key, value);
        ranges.push({ range, rows: inside, isWhole: isPlain(range) && inside.length < range.limit });
      }
    },
    get(key) {
      const known = rows.get(key);
      if (known !== undefined) return known;
      return ranges.some(({ range, isWhole }) => isWhole && key.startsWith(range.prefix)) ? null : undefined;
    },
    range(range) {
      const { prefix, limit } = range;
      for (const known of ranges) {
        if (known.isWhole && prefix.startsWith(known.range.prefix)) {
          return cutOut(
            known.rows.filter(({ key }) => key.startsWith(prefix)),
            range,
          );
        }
        if (prefix !== known.range.prefix) continue;
        if (rangeId(known.range) === rangeId(range)) return range.reverse ? known.rows.toReversed() : known.rows;
        if (isPlain(range) && isPlain(known.range) && limit <= known.range.limit) return known.rows.slice(0, limit);
      }
      return undefined;
    },
  };
};

export const createLayer = (below?: Layer): Layer => {
  const changes = new Map<string, Buffer | null>(below?.changes);
  let count = below?.count ?? 0;
  return {
    get count() {
      return count;
    },
    changes,
    put: (key, value) => void changes.set(key, value),
    merge(above) {
      for (const [key, value] of above.changes) changes.set(key, value);
      count += 1;
    },
  };
};

/** Ends a run; whoever catches it in a callback changes nothing about that. */
class Missing extends Error {}

/** `known` is undefined before anything was fetched. What the run changes is in `layer`, and counts when it is done. */
export const run = <T>(known: Known | undefined, layer: Layer, use: (tx: Tx) => T): Run<T> => {
  const keys = new Set<string>();
  const ranges: Range[] = [];
  let isMissing = false;
  const missing = (): Missing => {
    isMissing = true;
    return new Missing("a row that is not known yet");
  };

  /** `null`: there is none. Undefined: not known. */
  const look = (key: string): Buffer | null | undefined => {
    const found = layer.changes.get(key) ?? (layer.changes.has(key) ? null : known?.get(key));
    if (found === undefined) keys.add(key);
    return found;
  };

  const get = (key: string): Buffer | undefined => {
    const found = look(key);
    if (found === undefined) throw missing();
    return found ?? undefined;
  };

  const range = (prefix: string, options: RangeOptions = {}): readonly Row[] => {
    const asked = rangeOf(prefix, options);
    const { limit } = asked;
    if (limit <= 0) return [];
    const changed = [...layer.changes].filter(([key]) => key.startsWith(prefix));
    const wanted = changed.length === 0 ? asked : underChanges(asked, changed);
    const found = known?.range(wanted);
    if (found === undefined) {
      ranges.push(wanted);
      throw missing();
    }
    return changed.length === 0 ? found : cutOut(withChanges(found, changed), asked);
  };

  const tx: Tx = {
    get generation() {
      if (known === undefined) throw missing();
      return known.generation + layer.count;
    },
    get,
    range,
    expect(next, prefixes = []) {
      for (const key of next) if (known?.get(key) === undefined && !layer.changes.has(key)) keys.add(key);
      for (const { prefix, ...options } of prefixes) {
        const asked = rangeOf(prefix, options);
        if (asked.limit > 0 && known?.range(asked) === undefined) ranges.push(asked);
      }
    },
    peek(key) {
      const found = look(key);
      if (found === undefined) missing();
      return found ?? undefined;
    },
    put: (key, value) => layer.put(key, Buffer.from(value)),
    remove(key) {
      const isThere = get(key) !== undefined;
      layer.put(key, null);
      return isThere;
    },
  };

  let outcome: Run<T>;
  try {
    outcome = { kind: "done", value: use(tx) };
  } catch (error) {
    outcome = { kind: "threw", error };
  }
  if (!isMissing) return outcome;
  return { kind: "missing", wanted: { keys: [...keys], ranges }, ended: outcome.kind === "done" };
};

/** What a callback asks for first, with all that it expects by then; it is run for that, over nothing. */
export const firstWanted = (use: (tx: Tx) => unknown): Wanted => {
  const outcome = run(undefined, createLayer(), use);
  return outcome.kind === "missing" ? outcome.wanted : NOTHING;
};

export const wantedOf = ({ expect = [], ranges = [] }: ReadOptions = {}): Wanted => ({
  keys: expect,
  ranges: ranges.map(({ prefix, ...options }) => rangeOf(prefix, options)),
});

/** As `run`, for what only reads. */
export const runRead = <T>(known: Known | undefined, use: (tx: ReadTx) => T): Run<T> => run(known, createLayer(), use);

/** What has to be known of the store for a range over which there are changes. */
const underChanges = (asked: Range, changed: readonly (readonly [string, Buffer | null])[]): Range => {
  const { prefix, limit } = asked;
  if (!isPlain(asked)) return rangeOf(prefix);
  // As many more as may be gone: enough are left then, and all of them before what was not fetched.
  return { prefix, limit: limit + changed.filter(([, value]) => value === null).length };
};

const withChanges = (rows: readonly Row[], changed: readonly (readonly [string, Buffer | null])[]): readonly Row[] => {
  const all = new Map(rows.map(({ key, value }) => [key, value]));
  for (const [key, value] of changed) {
    if (value === null) all.delete(key);
    else all.set(key, value);
  }
  return inKeyOrder([...all].map(([key, value]) => ({ key, value })));
};

/** By bytes, as every store has them. */
export const inKeyOrder = (rows: readonly Row[]): readonly Row[] =>
  rows
    .map((row) => ({ row, bytes: Buffer.from(row.key) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ row }) => row);
