/**
 * A look at an LMDB data file before LMDB maps it: a truncated file would end the process with SIGBUS, a foreign header
 * with worse. Reads only, and must never decide on a file that another process is just changing: it looks again.
 *
 * Layout (LMDB, data version 2, little-endian 64-bit): a 24-byte page header `pgno u64, txnid u64, pad u16, flags u16,
 * lower u16, upper u16`; on pages 0 and 1 a meta record with the roots of the two trees and the last page in use.
 */
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { SidekeyError } from "../../core/errors.ts";

const HEADER = 24;
const NODE_HEADER = 8;
const META_BYTES = HEADER + 136;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const BIG_DATA = 0x01;
const MAX_DEPTH = 32;
const ATTEMPTS = 4;
const PAUSE_MS = 25;

interface Meta {
  readonly txnid: bigint;
  readonly pageSize: number;
  readonly roots: readonly bigint[];
  readonly lastPage: bigint;
}

/** Returns when there is no file, or one that LMDB can map. Errors: VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const inspectDataFile = async (path: string): Promise<void> => {
  let finding: string | undefined;
  // A file that is just being made is empty for an instant, and one that is just being written moves under our feet.
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    if (attempt > 0) await pause(PAUSE_MS);
    finding = await examine(path);
    if (finding === undefined) return;
  }
  throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `${path}: ${finding}.` });
};

const examine = async (path: string): Promise<string | undefined> => {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT") return undefined;
    throw new SidekeyError("VAULT_STORE_BUSY", { detail: `${path} cannot be read (${String(code)}).`, cause: error });
  }
  try {
    return await findDamage(file);
  } finally {
    await file.close();
  }
};

const findDamage = async (file: FileHandle): Promise<string | undefined> => {
  const { size } = await file.stat();
  if (size === 0) return "it is empty";
  const first = await readMeta(file, 0);
  if (first === undefined) return "its first page is not a store's";
  const second = await readMeta(file, first.pageSize);
  if (second === undefined || second.pageSize !== first.pageSize) return "its second page is not a store's";
  const { pageSize, roots, lastPage } = second.txnid > first.txnid ? second : first;
  const pages = BigInt(Math.floor(size / pageSize));
  if (roots.some((root) => root !== NO_PAGE && root > lastPage)) return "its trees begin beyond its end";
  // Shorter than its last page can be right, when what is missing is unused: only then look at each page.
  if (lastPage < pages) return undefined;
  for (const root of roots) {
    if (root !== NO_PAGE && !(await treeFits(file, root, pageSize, pages, 0))) return "it is shorter than its content";
  }
  return undefined;
};

const readMeta = async (file: FileHandle, offset: number): Promise<Meta | undefined> => {
  const page = await readAt(file, offset, META_BYTES);
  if (page === undefined || (page.readUInt16LE(18) & META) === 0) return undefined;
  if (page.readUInt32LE(HEADER) !== MAGIC || (page.readUInt32LE(HEADER + 4) & 0xffff) !== DATA_VERSION)
    return undefined;
  const pageSize = page.readUInt32LE(48);
  if (pageSize < 256 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return undefined;
  return {
    pageSize,
    roots: [page.readBigUInt64LE(88), page.readBigUInt64LE(136)],
    lastPage: page.readBigUInt64LE(144),
    txnid: page.readBigUInt64LE(152),
  };
};

/** Whether every page of the tree lies within the file. */
const treeFits = async (
  file: FileHandle,
  pgno: bigint,
  pageSize: number,
  pages: bigint,
  depth: number,
): Promise<boolean> => {
  if (pgno >= pages || depth > MAX_DEPTH) return false;
  const page = await readAt(file, Number(pgno) * pageSize, pageSize);
  if (page === undefined || page.readBigUInt64LE(0) !== pgno) return false;
  const flags = page.readUInt16LE(18);
  const count = page.readUInt16LE(20) >> 1;
  if ((flags & (BRANCH | LEAF)) === 0 || HEADER + count * 2 > pageSize) return false;
  for (let index = 0; index < count; index += 1) {
    const node = HEADER + page.readUInt16LE(HEADER + index * 2);
    if (node + NODE_HEADER > pageSize) return false;
    if ((flags & BRANCH) !== 0) {
      const child = BigInt(page.readUInt32LE(node)) | (BigInt(page.readUInt16LE(node + 4)) << 32n);
      if (!(await treeFits(file, child, pageSize, pages, depth + 1))) return false;
    } else if ((page.readUInt16LE(node + 4) & BIG_DATA) !== 0) {
      const at = node + NODE_HEADER + page.readUInt16LE(node + 6);
      if (at + 8 > pageSize || !(await runFits(file, page.readBigUInt64LE(at), pageSize, pages))) return false;
    }
  }
  return true;
};

/** Whether a run of overflow pages, whose length its own header tells, lies within the file. */
const runFits = async (file: FileHandle, pgno: bigint, pageSize: number, pages: bigint): Promise<boolean> => {
  if (pgno >= pages) return false;
  const header = await readAt(file, Number(pgno) * pageSize, HEADER);
  if (header === undefined || (header.readUInt16LE(18) & OVERFLOW) === 0) return false;
  return pgno + BigInt(header.readUInt32LE(20)) <= pages;
};

const readAt = async (file: FileHandle, position: number, length: number): Promise<Buffer | undefined> => {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return bytesRead === length ? buffer : undefined;
};
