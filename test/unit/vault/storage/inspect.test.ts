import { readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inspectDataFile } from "../../../../src/vault/storage/inspect.ts";
import { openLmdb } from "../../../../src/vault/storage/lmdb.ts";
import { codeOf, temporaryDirectory } from "../support.ts";

const PAGE = 4096;

/** A closed store of some hundred rows, a few of them in pages of their own. */
const filledStore = async (): Promise<string> => {
  const directory = await temporaryDirectory();
  const storage = await openLmdb(directory);
  for (let n = 0; n < 20; n += 1) {
    await storage.write((tx) => {
      for (let row = 0; row < 10; row += 1) tx.put(`row${n}-${row}`, Buffer.alloc(row === 0 ? 9000 : 100, n));
    });
  }
  await storage.close();
  return join(directory, "data.mdb");
};

const spoil = async (file: string, at: number, bytes: Buffer): Promise<void> => {
  const whole = await readFile(file);
  bytes.copy(whole, at);
  await writeFile(file, whole);
};

describe("inspectDataFile", () => {
  it("passes a store, and the absence of one", async () => {
    const file = await filledStore();
    await inspectDataFile(file);
    await inspectDataFile(`${file}.absent`);
  });

  it.each([0, 1, 100, PAGE - 1, PAGE, PAGE + 100])("finds a file cut to %i bytes", async (size) => {
    const file = await filledStore();
    await truncate(file, size);
    expect(await codeOf(() => inspectDataFile(file))).toBe("VAULT_STORE_DAMAGED");
  });

  it("finds a file cut behind its meta pages", async () => {
    const file = await filledStore();
    const { size } = await stat(file);
    for (const left of [Math.floor(size / 2), 2 * PAGE]) {
      await truncate(file, left);
      expect(await codeOf(() => inspectDataFile(file))).toBe("VAULT_STORE_DAMAGED");
      expect(await codeOf(() => openLmdb(join(file, "..")))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it.each([
    ["magic", 24, Buffer.alloc(4)],
    ["magic of the second page", PAGE + 24, Buffer.alloc(4)],
    ["version", 28, Buffer.from([9, 0])],
    ["page flags", 18, Buffer.alloc(2)],
    ["page size", 48, Buffer.from([1, 2, 3, 4])],
    ["all of the first page", 0, Buffer.alloc(PAGE, 0x5a)],
    ["both roots", 88, Buffer.alloc(56, 0x11)],
  ])("finds a spoiled %s", async (_what, at, bytes) => {
    const file = await filledStore();
    await spoil(file, at, bytes);
    if (at === 88) await spoil(file, PAGE + at, bytes);
    expect(await codeOf(() => inspectDataFile(file))).toBe("VAULT_STORE_DAMAGED");
  });

  /** Where the newest meta record is. */
  const newestMeta = (whole: Buffer): number =>
    whole.readBigUInt64LE(PAGE + 152) > whole.readBigUInt64LE(152) ? PAGE : 0;
  /** The root of the tree of rows, a branch; or, of rows that stay where they are, a large one. */
  const placeOf = async (file: string, what: "root" | "large row"): Promise<number> => {
    const whole = await readFile(file);
    const root = Number(whole.readBigUInt64LE(newestMeta(whole) + 136)) * PAGE;
    expect(whole.readUInt16LE(root + 18)).toBe(1);
    if (what === "root") return root;
    for (let at = 2 * PAGE; at < whole.length; at += PAGE) {
      if (whole.readBigUInt64LE(at) === BigInt(at / PAGE) && whole.readUInt16LE(at + 18) === 4) return at;
    }
    throw new Error("no large row");
  };
  const u16 = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);
  const u64 = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  };

  it.each([
    ["a page number", "root", 0, u64(7n)],
    ["a page of a later time, which LMDB would take for its own memory", "root", 8, u64(1n << 60n)],
    ["a leaf in a branch's place", "root", 18, u16(2)],
    ["offsets beyond the page", "root", 24, u16(4080)],
    ["offsets into the header", "root", 24, u16(0)],
    ["an odd number of offset bytes", "root", 20, u16(5)],
    ["more offsets than the page has", "root", 20, u16(4072)],
    ["a free space that ends before it begins", "root", 22, u16(2)],
    ["a large row of another length", "large row", 20, u16(9)],
    ["a large row that is none", "large row", 18, u16(2)],
    ["no offsets", "root", 20, u16(0)],
  ] as const)("finds %s", async (_what, place, at, bytes) => {
    const file = await filledStore();
    await spoil(file, (await placeOf(file, place)) + at, bytes);
    expect(await codeOf(() => inspectDataFile(file))).toBe("VAULT_STORE_DAMAGED");
  });

  it.each([
    ["a tree of another kind", 24 + 24 + 48 + 4, u16(4)],
    ["a tree of another depth", 24 + 24 + 48 + 6, u16(1)],
    ["a tree deeper than any", 24 + 24 + 48 + 6, u16(40)],
    ["transactions that do not follow each other", 152, u64(4n)],
    ["transactions of no order", 152, u64(0xffff_ffff_ffff_fffen)],
    ["a last page that cannot be", 24 + 24 + 96, u64(1n << 40n)],
  ])("finds %s", async (_what, at, bytes) => {
    const file = await filledStore();
    for (const page of [0, PAGE]) await spoil(file, page + at, bytes);
    expect(await codeOf(() => inspectDataFile(file))).toBe("VAULT_STORE_DAMAGED");
  });

  it("finds a list of free pages that holds one in use, or none that there is", async () => {
    const file = await filledStore();
    const whole = await readFile(file);
    const root = Number(whole.readBigUInt64LE(newestMeta(whole) + 88));
    const leaf = root * PAGE;
    expect(whole.readUInt16LE(leaf + 18)).toBe(2);
    const node = leaf + 24 + whole.readUInt16LE(leaf + 24);
    // A node is 8 bytes, its key 8; then the list's length and its first page.
    const list = node + 16;
    expect(whole.readBigUInt64LE(list)).toBeGreaterThan(0n);
    for (const [at, value] of [
      [list + 8, BigInt(root)],
      [list + 8, 1n],
      [list + 8, 1n << 40n],
      [list, 1n << 40n],
      [node + 8, 1n << 40n],
    ] as const) {
      await writeFile(file, whole);
      await spoil(file, at, u64(value));
      expect(await codeOf(() => inspectDataFile(file)), `${at - node}: ${value}`).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("passes a store that ends before its last page when nothing of it is missing", async () => {
    const file = await filledStore();
    const { size } = await stat(file);
    // LMDB leaves such a state behind when a transaction frees the last pages it took.
    const lastPage = Buffer.alloc(8);
    lastPage.writeBigUInt64LE(BigInt(size / PAGE + 5));
    await spoil(file, 144, lastPage);
    await spoil(file, PAGE + 144, lastPage);
    await inspectDataFile(file);
    const storage = await openLmdb(join(file, ".."));
    expect(await storage.read((tx) => tx.range("row"))).toHaveLength(200);
    await storage.close();
  });

  it("passes a large row that one transaction wrote twice: it keeps the room of the first", async () => {
    const directory = await temporaryDirectory();
    const storage = await openLmdb(directory);
    await storage.write((tx) => {
      tx.put("row", Buffer.alloc(90_000));
      tx.put("row", Buffer.alloc(9000));
    });
    await inspectDataFile(join(directory, "data.mdb"));
    await storage.close();
  });

  it("passes every state of a store that grows and shrinks", async () => {
    const directory = await temporaryDirectory();
    const storage = await openLmdb(directory);
    for (let n = 0; n < 100; n += 1) {
      await storage.write((tx) => {
        for (let row = 0; row < 20; row += 1) {
          const key = `r${(n * 7 + row * 13) % 60}`;
          if ((n + row) % 3 === 0) tx.remove(key);
          else tx.put(key, Buffer.alloc(1 + ((n * row * 97) % 20_000)));
        }
      });
      await inspectDataFile(join(directory, "data.mdb"));
    }
    await storage.close();
  });

  it("passes a store that another writes to all the while", async () => {
    const directory = await temporaryDirectory();
    const storage = await openLmdb(directory);
    let writing = true;
    const writer = (async () => {
      for (let n = 0; writing; n += 1) await storage.write((tx) => tx.put(`r${n % 40}`, Buffer.alloc(5000)));
    })();
    for (let n = 0; n < 100; n += 1) await inspectDataFile(join(directory, "data.mdb"));
    writing = false;
    await writer;
    await storage.close();
  });
});
