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
