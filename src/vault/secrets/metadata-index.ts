/**
 * The metadata of all secrets, opened once: to open a sealed row costs more than everything else about it, and who
 * issues tokens asks for all of them each time. What is remembered is what the ring of changes says is still so; holds no
 * value, and nothing at all of a store beyond a size.
 */
import type { Barrier } from "../barrier/barrier.ts";
import { META } from "../barrier/rows.ts";
import { type ChangesHead, expectChanges, REMEMBERED_CHANGES, readChange, readHead, sealedHead } from "../changes.ts";
import type { ReadTx } from "../storage/storage.ts";
import { infoOf, judgeTier, type Meta, parseMeta } from "./metadata.ts";
import { SECRET_TIERS, type SecretInfo } from "./types.ts";

/** Sealed, of all rows together: some 60,000 secrets. `bytes` */
const MAX_REMEMBERED_BYTES = 48 * 1024 * 1024;

export interface SecretIndex {
  /** By path, in path order. Only in a transaction that has written nothing. */
  all(tx: ReadTx): ReadonlyMap<string, Meta>;
  /** What is known of a secret in `all`, made once. */
  info(path: string, meta: Meta): SecretInfo;
  /** Those above `standard`, by path: the place of their tier in SECRET_TIERS. Likewise. */
  elevated(tx: ReadTx): ReadonlyMap<string, number>;
}

interface Known {
  readonly generation: number;
  readonly sealedHead: Buffer | undefined;
  readonly head: ChangesHead;
  readonly metas: ReadonlyMap<string, Meta>;
}

export const createSecretIndex = (barrier: Barrier): SecretIndex => {
  let known: Known | undefined;
  let ranks: { readonly of: ReadonlyMap<string, Meta>; readonly elevated: ReadonlyMap<string, number> } | undefined;

  const infos = new WeakMap<Meta, SecretInfo>();

  const isCurrent = (at: Known, tx: ReadTx): boolean => {
    if (at.generation === tx.generation) return true;
    const sealed = sealedHead(tx);
    return sealed !== undefined && at.sealedHead !== undefined && sealed.equals(at.sealedHead);
  };

  /** Paths that changed since; undefined when that is not known any more. */
  const changedSince = (at: Known, head: ChangesHead, tx: ReadTx): ReadonlySet<string> | undefined => {
    if (at.sealedHead === undefined || head.floor !== at.head.floor || head.count < at.head.count) return undefined;
    if (head.count - at.head.count > REMEMBERED_CHANGES) return undefined;
    const paths = new Set<string>();
    expectChanges(tx, at.head.count, head.count);
    for (let count = at.head.count; count < head.count; count += 1) {
      const found = readChange(tx, barrier, count);
      if (found === undefined || found.generation <= at.generation) return undefined;
      for (const change of found.changes) if ("path" in change) paths.add(change.path);
    }
    return paths;
  };

  const readAll = (tx: ReadTx): { readonly metas: ReadonlyMap<string, Meta>; readonly size: number } => {
    const metas = new Map<string, Meta>();
    let size = 0;
    for (const { key, value } of tx.range(META)) {
      const path = key.slice(META.length);
      metas.set(path, parseMeta(barrier, path, value));
      size += value.length;
    }
    return { metas, size };
  };

  /** `metas` with these paths as they are now, in order again. */
  const withChanged = (
    metas: ReadonlyMap<string, Meta>,
    paths: ReadonlySet<string>,
    tx: ReadTx,
  ): ReadonlyMap<string, Meta> => {
    const next = new Map(metas);
    let isLonger = false;
    tx.expect([...paths].map((path) => META + path));
    for (const path of paths) {
      const sealed = tx.get(META + path);
      isLonger ||= sealed !== undefined && !next.has(path);
      if (sealed === undefined) next.delete(path);
      else next.set(path, parseMeta(barrier, path, sealed));
    }
    return isLonger ? new Map([...next].sort(([a], [b]) => (a < b ? -1 : 1))) : next;
  };

  const all = (tx: ReadTx): ReadonlyMap<string, Meta> => {
    if (known !== undefined && isCurrent(known, tx)) return known.metas;
    const head = readHead(tx, barrier);
    const changed = known === undefined ? undefined : changedSince(known, head, tx);
    const at = { generation: tx.generation, sealedHead: sealedHead(tx), head };
    if (known !== undefined && changed !== undefined) {
      known = { ...at, metas: changed.size === 0 ? known.metas : withChanged(known.metas, changed, tx) };
      return known.metas;
    }
    const { metas, size } = readAll(tx);
    known = size > MAX_REMEMBERED_BYTES ? undefined : { ...at, metas };
    return metas;
  };

  return {
    all,
    info(path, meta) {
      const made = infos.get(meta) ?? infoOf(path, meta);
      infos.set(meta, made);
      return made;
    },
    elevated(tx) {
      const metas = all(tx);
      if (ranks?.of === metas) return ranks.elevated;
      const elevated = new Map<string, number>();
      for (const [path, { tier }] of metas) {
        const rank = SECRET_TIERS.indexOf(judgeTier(tier));
        if (rank > 0) elevated.set(path, rank);
      }
      ranks = known === undefined ? undefined : { of: metas, elevated };
      return elevated;
    },
  };
};
