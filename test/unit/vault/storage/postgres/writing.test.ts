import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../../src/core/errors.ts";
import type { Database, Query, Statement } from "../../../../../src/vault/storage/postgres/connection.ts";
import { FORMAT } from "../../../../../src/vault/storage/postgres/schema.ts";
import { createWriter } from "../../../../../src/vault/storage/postgres/writing.ts";
import type { Tx } from "../../../../../src/vault/storage/storage.ts";

const strings = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);

/** A database of one table without ranges, which counts what it is asked. */
const createFake = () => {
  const rows = new Map<string, Buffer>();
  const statements: string[] = [];
  let generation = 0;
  let failing: Error | undefined;
  const query: Query = async ({ name = "", values = [] }: Statement) => {
    statements.push(name);
    if (failing !== undefined) throw failing;
    if (name === "sidekey_lock") return [{ generation, format: FORMAT }];
    if (name === "sidekey_fetch") {
      const found = strings(values[0]).flatMap((key) => {
        const value = rows.get(key);
        return value === undefined ? [] : [{ generation, part: 0, key, value }];
      });
      return found.length > 0 ? found : [{ generation, part: null, key: null, value: null }];
    }
    const [keys, puts, gone, next] = values;
    for (const [at, key] of strings(keys).entries()) {
      const value: unknown = Array.isArray(puts) ? puts[at] : undefined;
      if (Buffer.isBuffer(value)) rows.set(key, value);
    }
    for (const key of strings(gone)) rows.delete(key);
    generation = Number(next);
    return [];
  };
  const unused = (): never => {
    throw new Error("not for this");
  };
  const database: Database = {
    async transact(_, use) {
      return (await use(query)).value;
    },
    read: unused,
    change: unused,
    listen: unused,
    async close() {},
  };
  return {
    rows,
    statements,
    generation: () => generation,
    fail(error: Error) {
      failing = error;
    },
    writer: createWriter(database, { channel: "c", errorOf: (error) => error }),
  };
};

const numberAt = (tx: Tx, key: string): number => Number(tx.get(key)?.toString() ?? 0);

describe("writes that wait for a database", () => {
  it("go into one transaction, each after the other, also where one decides what the next asks for", async () => {
    const { writer, statements, rows, generation } = createFake();
    // As a secret's versions and the ring of changes are written: the key of a row is known by the one before.
    const append = (tx: Tx): number => {
      const next = numberAt(tx, "head") + 1;
      const key = `slot${next}`;
      tx.peek(key);
      tx.put(key, Buffer.from("x"));
      tx.put("head", Buffer.from(String(next)));
      return next;
    };
    const numbers = await Promise.all(Array.from({ length: 40 }, () => writer.write(append)));
    expect(numbers).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
    expect([rows.size, generation()]).toEqual([41, 40]);
    expect(statements).toEqual(["sidekey_lock", "sidekey_fetch", "sidekey_fetch", "sidekey_apply"]);
  });

  it("fetch what they expect first, and write nothing when all of them throw", async () => {
    const { writer, statements, generation } = createFake();
    const fail = (tx: Tx): never => {
      tx.get("a");
      throw new TypeError("stop");
    };
    const ends = await Promise.allSettled([writer.write(fail, { expect: ["a"] }), writer.write(fail)]);
    expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect([statements, generation()]).toEqual([["sidekey_lock", "sidekey_fetch"], 0]);
  });

  it("all fail when the database does, those behind them too", async () => {
    const { writer, fail } = createFake();
    fail(new SidekeyError("VAULT_STORE_BUSY"));
    const writes = Array.from({ length: 200 }, () => writer.write((tx) => numberAt(tx, "a")));
    const ends = await Promise.allSettled(writes);
    expect(new Set(ends.map((end) => (end.status === "rejected" ? end.reason.code : end.status)))).toEqual(
      new Set(["VAULT_STORE_BUSY"]),
    );
    await writer.idle();
  });
});
