/** What every storage of a vault must do, wherever its rows are. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSidekeyError, SidekeyError } from "../../src/core/errors.ts";
import type { ReadTx, Tx, VaultStorage, Watchable } from "../../src/vault/storage/storage.ts";

export interface StorageSubject {
  /** Opens the one store of this subject once more, as another process would. Closed by the test's end. */
  open(): Promise<VaultStorage & Watchable>;
}

const text = (value: Buffer | undefined): string | undefined => value?.toString();
const put = (storage: VaultStorage, key: string, value: string): Promise<void> =>
  storage.write((tx) => tx.put(key, Buffer.from(value)));
const get = async (storage: VaultStorage, key: string): Promise<string | undefined> =>
  text(await storage.read((tx) => tx.get(key)));
const generationOf = (storage: VaultStorage): Promise<number> => storage.read((tx) => tx.generation);
const keysOf = (tx: ReadTx, prefix: string, limit?: number): readonly string[] =>
  tx.range(prefix, limit === undefined ? {} : { limit }).map(({ key }) => key);

const codeOf = async (run: () => unknown): Promise<string> => {
  try {
    await run();
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
    throw error;
  }
  throw new Error("it did not fail");
};

type Step =
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "remove" | "get"; readonly key: string }
  | {
      readonly kind: "range";
      readonly key: string;
      readonly limit: number;
      readonly reverse: boolean;
      readonly offset: number;
    };

const key = fc.constantFrom("a", "a:", "a:1", "a:10", "a:2", "b", "ba", "é", "\u{1f511}", "\u{ffee}");
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key, value: fc.string() }),
  fc.record({ kind: fc.constantFrom("remove" as const, "get" as const), key }),
  fc.record({
    kind: fc.constant("range" as const),
    // "g": where a store has a row of its own.
    key: fc.oneof(key, fc.constantFrom("", "g")),
    limit: fc.nat(4),
    reverse: fc.boolean(),
    offset: fc.oneof(fc.constant(0), fc.nat(4)),
  }),
);
const transaction = fc.record({ steps: fc.array(step, { maxLength: 8 }), fails: fc.boolean() });

/** What a step answers in the store. */
const inStore = (tx: Tx, { kind, key: name, ...more }: Step): unknown => {
  if (kind === "put" && "value" in more) return void tx.put(name, Buffer.from(more.value));
  if (kind === "remove") return tx.remove(name);
  if (kind === "range" && "limit" in more) {
    const { limit, reverse, offset } = more;
    const limits = limit === 0 ? {} : { limit };
    return tx.range(name, { ...limits, reverse, offset }).map((row) => [row.key, text(row.value)]);
  }
  return text(tx.get(name));
};

/** The same in a map. */
const inModel = (rows: Map<string, string>, { kind, key: name, ...more }: Step): unknown => {
  if (kind === "put" && "value" in more) return void rows.set(name, more.value);
  if (kind === "remove") return rows.delete(name);
  if (kind === "range" && "limit" in more) {
    const all = [...rows]
      .filter(([one]) => one.startsWith(name))
      .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    if (more.reverse) all.reverse();
    return all.slice(more.offset, more.limit === 0 ? undefined : more.offset + more.limit);
  }
  return rows.get(name);
};

/** `create` is called once for each test. */
export const describeStorage = (kind: string, create: () => Promise<StorageSubject>): void => {
  describe(`storage ${kind}`, () => {
    it("begins empty, with generation 0", async () => {
      const storage = await (await create()).open();
      expect(await storage.read((tx) => [tx.generation, tx.get("a"), tx.range("")])).toEqual([0, undefined, []]);
    });

    it("gives back bytes as they were, also to another process and after it was closed", async () => {
      const subject = await create();
      const storage = await subject.open();
      const values = [
        Buffer.alloc(0),
        Buffer.from([0, 1, 0xff, 0x80, 0]),
        Buffer.from("\\x00"),
        Buffer.alloc(1_500_000, 7),
      ];
      await storage.write((tx) => {
        for (const [n, value] of values.entries()) tx.put(`k${n}`, value);
      });
      const other = await subject.open();
      await storage.close();
      for (const [n, value] of values.entries()) {
        expect((await other.read((tx) => tx.get(`k${n}`)))?.equals(value), `k${n}`).toBe(true);
      }
    });

    it("does what a map does, transaction by transaction", { timeout: 120_000 }, async () => {
      const subject = await create();
      const storages = [await subject.open(), await subject.open()];
      let turn = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(transaction, { maxLength: 6 }), async (transactions) => {
          let generation = await storages[0]?.write((tx) => {
            for (const row of tx.range("")) tx.remove(row.key);
            return tx.generation + 1;
          });
          let rows = new Map<string, string>();
          for (const { steps, fails } of transactions) {
            turn += 1;
            const storage = storages[turn % 2] ?? storages[0];
            if (storage === undefined) throw new Error("no storage");
            const after = new Map(rows);
            const expected = steps.map((one) => inModel(after, one));
            const write = storage.write((tx) => {
              const found = steps.map((one) => inStore(tx, one));
              expect(tx.generation).toBe(generation);
              if (fails) throw new TypeError("stop");
              return found;
            });
            if (fails) await expect(write).rejects.toThrow("stop");
            else {
              expect(await write).toEqual(expected);
              rows = after;
              generation = (generation ?? 0) + 1;
            }
          }
          const found = await storages[turn % 2]?.read((tx) => tx.range("").map((row) => [row.key, text(row.value)]));
          expect(found).toEqual(inModel(rows, { kind: "range", key: "", limit: 0, reverse: false, offset: 0 }));
        }),
        { numRuns: 60 },
      );
    });

    it("sees its own rows in a transaction, and undoes all of them when it throws", async () => {
      const storage = await (await create()).open();
      await put(storage, "kept", "1");
      const failing = storage.write((tx) => {
        tx.put("a", Buffer.from("1"));
        expect(tx.remove("kept")).toBe(true);
        expect([text(tx.get("a")), tx.get("kept"), keysOf(tx, "")]).toEqual(["1", undefined, ["a"]]);
        throw new RangeError("stop");
      });
      await expect(failing).rejects.toMatchObject({ code: "VAULT_STORE_BUSY", cause: { message: "stop" } });
      expect(await storage.read((tx) => [tx.generation, keysOf(tx, "")])).toEqual([1, ["kept"]]);
    });

    it("hands on our own errors and mistakes as they are, of reads too", async () => {
      const storage = await (await create()).open();
      const ours = new SidekeyError("VAULT_SECRET_MISSING", { detail: "a/b" });
      const mistake = new TypeError("a mistake of ours");
      for (const error of [ours, mistake]) {
        const fail = (tx: ReadTx): never => {
          tx.get("a");
          throw error;
        };
        await expect(storage.read(fail)).rejects.toBe(error);
        await expect(storage.write(fail)).rejects.toBe(error);
      }
    });

    it("undoes only the one that threw when many run at once, and gives each its own answer", async () => {
      const storage = await (await create()).open();
      const ends = await Promise.allSettled(
        Array.from({ length: 60 }, (_, n) =>
          storage.write((tx) => {
            const count = Number(text(tx.get("count")) ?? 0);
            tx.put("count", Buffer.from(String(count + 1)));
            tx.put(`row${n}`, Buffer.from("x"));
            if (n % 3 === 0) throw new TypeError("stop");
            return count;
          }),
        ),
      );
      const counts = ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
      expect(counts.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n));
      expect(await storage.read((tx) => [keysOf(tx, "row").length, tx.generation])).toEqual([40, 40]);
    });

    it("counts one generation for each write of any process, also for one that changes nothing", async () => {
      const subject = await create();
      const [one, other] = [await subject.open(), await subject.open()];
      expect(await one.write((tx) => tx.generation)).toBe(0);
      expect(await other.write((tx) => tx.generation)).toBe(1);
      await put(one, "a", "1");
      await get(other, "a");
      expect([await generationOf(one), await generationOf(other)]).toEqual([3, 3]);
    });

    it("gives a range in the order of bytes, from the prefix to its end, and the first of it", async () => {
      const storage = await (await create()).open();
      for (const name of ["b", "a:2", "a:10", "a:", "a;", "A:1", "a", "a:é", "a:\u{1f511}", "a:\u{ffee}"]) {
        await put(storage, name, "x");
      }
      const all = ["a:", "a:10", "a:2", "a:é", "a:\u{ffee}", "a:\u{1f511}"];
      expect(await storage.read((tx) => keysOf(tx, "a:"))).toEqual(all);
      for (const limit of [0, 1, 2, 5, 6, 100]) {
        expect(await storage.read((tx) => keysOf(tx, "a:", limit)), `${limit}`).toEqual(all.slice(0, limit));
      }
      expect(await storage.read((tx) => keysOf(tx, "c"))).toEqual([]);
      const changed = await storage.write((tx) => {
        tx.remove("a:");
        tx.remove("a:2");
        tx.put("a:11", Buffer.from("x"));
        return [keysOf(tx, "a:", 3), keysOf(tx, "a:", 1), keysOf(tx, "a:")];
      });
      const rest = ["a:10", "a:11", ...all.slice(3)];
      expect(changed).toEqual([rest.slice(0, 3), rest.slice(0, 1), rest]);
    });

    it("takes expectations for what they are", async () => {
      const storage = await (await create()).open();
      await put(storage, "a", "1");
      const found = await storage.read(
        (tx) => {
          tx.expect(["a", "b"]);
          return [text(tx.get("a")), tx.get("b"), tx.get("c")];
        },
        { expect: ["z", "a", "a"] },
      );
      expect(found).toEqual(["1", undefined, undefined]);
      await storage.write((tx) => tx.put("b", tx.get("a") ?? Buffer.alloc(0)), { expect: ["a"] });
      expect(await get(storage, "b")).toBe("1");
    });

    it("reads one moment while another process writes", { timeout: 60_000 }, async () => {
      const subject = await create();
      const [reader, writer] = [await subject.open(), await subject.open()];
      const names = Array.from({ length: 8 }, (_, n) => `r${n}`);
      const writeAll = (n: number): Promise<void> =>
        writer.write((tx) => {
          for (const name of names) tx.put(name, Buffer.from(String(n)));
        });
      await writeAll(0);
      let isOver = false;
      const writing = (async () => {
        for (let n = 1; !isOver; n += 1) await writeAll(n);
      })();
      for (let n = 0; n < 40; n += 1) {
        // One after the other: a store at the end of a wire has to go there each time.
        const found = await reader.read((tx) => [tx.generation, ...names.map((name) => Number(text(tx.get(name))))]);
        expect(new Set(found.slice(1)).size).toBe(1);
        expect(found[1]).toBe((found[0] ?? 0) - 1);
      }
      isOver = true;
      await writing;
    });

    it("lets two processes count without losing one", { timeout: 60_000 }, async () => {
      const subject = await create();
      const storages = [await subject.open(), await subject.open(), await subject.open()];
      const count = (storage: VaultStorage): Promise<number> =>
        storage.write((tx) => {
          const next = Number(text(tx.get("n")) ?? 0) + 1;
          tx.put("n", Buffer.from(String(next)));
          return next;
        });
      const numbers = await Promise.all(storages.flatMap((one) => Array.from({ length: 50 }, () => count(one))));
      expect(new Set(numbers).size).toBe(150);
      expect(await get(await subject.open(), "n")).toBe("150");
    });

    it("tells who watches of each change by any process, and nobody after that", async () => {
      const subject = await create();
      const [one, other] = [await subject.open(), await subject.open()];
      await put(one, "a", "1");
      const heard: number[] = [];
      const end = await one.watch((generation) => heard.push(generation));
      await put(other, "a", "2");
      await expect.poll(() => heard).toEqual([2]);
      await put(one, "a", "3");
      await expect.poll(() => heard).toEqual([2, 3]);
      await end();
      const later: number[] = [];
      await one.watch((generation) => later.push(generation));
      await put(other, "a", "4");
      await expect.poll(() => later).toEqual([4]);
      expect(heard).toEqual([2, 3]);
    });

    it("fails with a code once it is closed, which may be said twice", async () => {
      const storage = await (await create()).open();
      await put(storage, "a", "1");
      await storage.watch(() => {});
      await storage.close();
      await storage.close();
      expect(await codeOf(() => get(storage, "a"))).toBe("VAULT_STORE_BUSY");
      expect(await codeOf(() => put(storage, "a", "1"))).toBe("VAULT_STORE_BUSY");
      expect(await codeOf(() => storage.watch(() => {}))).toBe("VAULT_STORE_BUSY");
    });
  });
};
