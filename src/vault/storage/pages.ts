/**
 * LMDB's pages as bytes: the two meta pages, and the trees they lead to, followed without LMDB. It checks what the
 * library takes on trust, so that no file it passes can lead the library outside the file or outside a page.
 *
 * Layout (LMDB, data version 2, little-endian, 64 bit; lmdb-js, dependencies/lmdb/libraries/liblmdb/mdb.c): a page header
 * `pgno u64, txnid u64, pad u16, flags u16, lower u16, upper u16` (overflow pages: a count u32 in place of the last two),
 * then an offset u16 for each node; a node is `lo u16, hi u16, flags u16, key size u16, key, data`, nodes are packed at the
 * page's end. Offsets count from the end of the header.
 */

export const HEADER = 24;
const NODE_HEADER = 8;
/** `magic u32, version u32, address u64, mapsize u64`, two trees of 48 bytes, `last page u64, txnid u64, boot id u64`. */
const META_BYTES = HEADER + 144;
const TREE_BYTES = 48;
const FIRST_TREE = HEADER + 24;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const BIG_DATA = 0x01;
const RUN_BYTES = 24;
const MAX_DEPTH = 32;
const WORD = 8;
/** Flags of the tree of free pages: keys are integers. Ours, of rows, has none. */
const INTEGER_KEYS = 0x08;
/** Pages that may be missing at the end of the file because nothing of them was ever used. */
const MAX_UNWRITTEN = 1n << 20n;

export interface Tree {
  readonly flags: number;
  readonly depth: number;
  readonly root: bigint;
}

export interface Meta {
  readonly txnid: bigint;
  readonly pageSize: number;
  readonly free: Tree;
  readonly rows: Tree;
  /** The last page in use; the file may end before it when nothing refers to what is missing. */
  readonly lastPage: bigint;
}

/** The bytes there, or undefined when the file ends before them. */
export type ReadAt = (position: number, length: number) => Buffer | undefined;

/** What is wrong, as a sentence without its end. */
export class Damage extends Error {}

/** The meta that LMDB would go by. Throws `Damage`. */
export const readMeta = (read: ReadAt): Meta => {
  const first = parseMeta(read(0, META_BYTES));
  if (first === undefined) throw new Damage("its first page is not a store's");
  const second = parseMeta(read(first.pageSize, META_BYTES));
  if (second?.pageSize !== first.pageSize) throw new Damage("its second page is not a store's");
  const [even, odd] = [first.txnid, second.txnid];
  // Transaction N writes page N % 2. Otherwise one of them would be taken for the newest that is not.
  const inTurn = even % 2n === 0n && odd % 2n === 1n && (odd === even + 1n || even === odd + 1n);
  if (!inTurn && !(even === 0n && odd === 0n)) throw new Damage("its first two pages do not follow each other");
  return odd > even ? second : first;
};

const parseMeta = (page: Buffer | undefined): Meta | undefined => {
  if (page === undefined || page.readUInt16LE(18) !== META) return undefined;
  if (page.readUInt32LE(HEADER) !== MAGIC || (page.readUInt32LE(HEADER + 4) & 0xffff) !== DATA_VERSION)
    return undefined;
  const pageSize = page.readUInt32LE(FIRST_TREE);
  if (pageSize < 256 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return undefined;
  return {
    pageSize,
    free: parseTree(page, FIRST_TREE),
    rows: parseTree(page, FIRST_TREE + TREE_BYTES),
    lastPage: page.readBigUInt64LE(FIRST_TREE + 2 * TREE_BYTES),
    txnid: page.readBigUInt64LE(FIRST_TREE + 2 * TREE_BYTES + WORD),
  };
};

const parseTree = (page: Buffer, at: number): Tree => ({
  flags: page.readUInt16LE(at + 4),
  depth: page.readUInt16LE(at + 6),
  root: page.readBigUInt64LE(at + 40),
});

/** Follows everything that `meta` leads to. Throws `Damage`. */
export const checkPages = (read: ReadAt, meta: Meta, fileBytes: number): void => {
  const { pageSize, lastPage, free, rows } = meta;
  if (lastPage > BigInt(Math.floor(fileBytes / pageSize)) + MAX_UNWRITTEN)
    throw new Damage("it names pages it never had");
  if (free.flags !== INTEGER_KEYS || rows.flags !== 0) throw new Damage("its trees are not of a kind that it has");
  const used = new Set<bigint>();
  const walk = createWalk(read, meta, used);
  walk(rows, Buffer.compare, () => {});
  const lists: Buffer[] = [];
  walk(free, compareNumbers, (key, data) => {
    if (key.length !== WORD || key.readBigUInt64LE() > meta.txnid) throw new Damage("its list of free pages is broken");
    lists.push(data);
  });
  let named = 0n;
  for (const list of lists) named += checkFreeList(list, lastPage, used, named);
};

type Compare = (a: Buffer, b: Buffer) => number;

const compareNumbers: Compare = (a, b) => {
  if (a.length !== WORD || b.length !== WORD) throw new Damage("its list of free pages is broken");
  const [left, right] = [a.readBigUInt64LE(), b.readBigUInt64LE()];
  return left < right ? -1 : Number(left > right);
};

interface Bounds {
  /** Keys are not below it. */
  readonly from: Buffer | undefined;
  /** Keys are below it. */
  readonly to: Buffer | undefined;
}

/** A walk over one tree after the other; pages that two places lead to are damage. */
const createWalk = (read: ReadAt, { pageSize, lastPage, txnid }: Meta, used: Set<bigint>) => {
  const take = (pgno: bigint, count: bigint): void => {
    if (pgno < 2n || count < 1n || pgno + count - 1n > lastPage) throw new Damage("it leads beyond its end");
    for (let page = pgno; page < pgno + count; page += 1n) {
      if (used.has(page)) throw new Damage("two of its places lead to one page");
      used.add(page);
    }
  };

  /** `kind` is the page's flags; a page that was written after the newest commit counts as LMDB's own memory. */
  const load = (pgno: bigint, bytes: number): Buffer => {
    const page = read(Number(pgno) * pageSize, bytes);
    if (page === undefined) throw new Damage("it is shorter than its content");
    if (page.readBigUInt64LE(0) !== pgno || page.readBigUInt64LE(8) > txnid)
      throw new Damage("it holds a foreign page");
    return page;
  };

  const bigData = (node: Buffer, size: number): Buffer => {
    const pgno = node.readBigUInt64LE(0);
    const count = node.readBigUInt64LE(16);
    // More than it needs, where a transaction wrote the row twice.
    if (count < BigInt(Math.ceil((HEADER + size) / pageSize))) throw new Damage("a large row has a wrong size");
    take(pgno, count);
    const run = load(pgno, HEADER + size);
    if (run.readUInt16LE(18) !== OVERFLOW || BigInt(run.readUInt32LE(20)) !== count) {
      throw new Damage("a large row leads to something else");
    }
    return run.subarray(HEADER);
  };

  return ({ root, depth }: Tree, compare: Compare, see: (key: Buffer, data: Buffer) => void): void => {
    const visit = (pgno: bigint, level: number, { from, to }: Bounds): void => {
      take(pgno, 1n);
      const page = load(pgno, pageSize);
      const leaf = level === depth;
      if (page.readUInt16LE(18) !== (leaf ? LEAF : BRANCH)) throw new Damage("its trees are not as deep as it says");
      const nodes = nodesOf(page, leaf);
      if (nodes.length === 0) throw new Damage("a page of its trees is empty");
      let before: Buffer | undefined;
      for (const [index, { key, data, size, big, child }] of nodes.entries()) {
        // LMDB takes the first key of a branch as lower than any other, whatever stands there.
        const lowest = !leaf && index === 0;
        if (!lowest) {
          const inOrder = before === undefined || compare(before, key) < 0;
          const inBounds =
            (from === undefined || compare(from, key) <= 0) && (to === undefined || compare(key, to) < 0);
          if (!inOrder || !inBounds) throw new Damage("its rows are out of order");
          before = key;
        }
        if (leaf) see(key, big ? bigData(data, size) : data);
        else visit(child, level + 1, { from: lowest ? from : key, to: nodes[index + 1]?.key ?? to });
      }
    };
    if ((root === NO_PAGE) !== (depth === 0) || depth > MAX_DEPTH)
      throw new Damage("its trees are not as deep as it says");
    if (root !== NO_PAGE) visit(root, 1, { from: undefined, to: undefined });
  };
};

interface Node {
  readonly key: Buffer;
  /** What stands in the page: the data, or where it is. Empty in a branch. */
  readonly data: Buffer;
  /** Of the data, bytes. */
  readonly size: number;
  readonly big: boolean;
  readonly child: bigint;
}

/** The nodes of a page, which fill its end without a gap. */
const nodesOf = (page: Buffer, leaf: boolean): readonly Node[] => {
  const room = page.length - HEADER;
  const lower = page.readUInt16LE(20);
  const upper = page.readUInt16LE(22);
  if (lower % 2 !== 0 || lower > upper || upper > room) throw new Damage("a page of its trees is broken");
  const nodes: Node[] = [];
  const extents: { readonly at: number; readonly end: number }[] = [];
  for (let index = 0; index < lower / 2; index += 1) {
    const at = page.readUInt16LE(HEADER + index * 2);
    const start = HEADER + at;
    if (at < upper || at % 2 !== 0 || start + NODE_HEADER > page.length)
      throw new Damage("a page of its trees is broken");
    const low = page.readUInt32LE(start);
    const flags = page.readUInt16LE(start + 4);
    const keyEnd = start + NODE_HEADER + page.readUInt16LE(start + 6);
    if (leaf && (flags & ~BIG_DATA) !== 0) throw new Damage("a row of it is of a kind that it has not");
    const big = leaf && flags === BIG_DATA;
    const inPage = !leaf ? 0 : big ? RUN_BYTES : low;
    if (keyEnd + inPage > page.length) throw new Damage("a page of its trees is broken");
    nodes.push({
      key: page.subarray(start + NODE_HEADER, keyEnd),
      data: page.subarray(keyEnd, keyEnd + inPage),
      size: low,
      big,
      child: BigInt(low) | (BigInt(flags) << 32n),
    });
    const end = keyEnd + inPage - HEADER;
    extents.push({ at, end: end + (end % 2) });
  }
  let next = upper;
  for (const { at, end } of extents.sort((a, b) => a.at - b.at)) {
    if (at !== next) throw new Damage("a page of its trees is broken");
    next = end;
  }
  if (next !== room) throw new Damage("a page of its trees is broken");
  return nodes;
};

/**
 * `count`, then as many words: 0 = nothing, a page, or minus a length and then the first page of so many. Returns how
 * many pages it names; with those `named` before they cannot be more than there are.
 */
const checkFreeList = (list: Buffer, lastPage: bigint, used: ReadonlySet<bigint>, named: bigint): bigint => {
  const broken = (): never => {
    throw new Damage("its list of free pages is broken");
  };
  if (list.length < WORD || list.length % WORD !== 0) broken();
  const count = list.readBigUInt64LE(0);
  if (count > BigInt(list.length / WORD - 1)) broken();
  let total = 0n;
  for (let index = 1; index <= Number(count); index += 1) {
    let length = 1n;
    let first = list.readBigInt64LE(index * WORD);
    if (first === 0n) continue;
    if (first < 0n) {
      length = -first;
      index += 1;
      if (index > Number(count)) broken();
      first = list.readBigInt64LE(index * WORD);
    }
    total += length;
    if (first < 2n || first + length - 1n > lastPage || named + total > lastPage) broken();
    for (let page = first; page < first + length; page += 1n) {
      if (used.has(page)) throw new Damage("it takes a page that it uses for a free one");
    }
  }
  return total;
};
