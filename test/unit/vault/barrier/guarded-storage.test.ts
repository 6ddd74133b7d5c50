import { expect, it } from "vitest";
import { guardEmbedded, guardShared } from "../../../../src/vault/barrier/guarded-storage.ts";
import type { ReadTx, Row, Scan } from "../../../../src/vault/storage/storage.ts";
import { openTestVault, withRows } from "../support.ts";

const snapshotOf = (tx: ReadTx): { readonly tx: ReadTx; readonly rows: readonly Row[] } => {
  const rows = tx.range("");
  const values = new Map(rows.map(({ key, value }) => [key, value]));
  const { generation } = tx;
  return { rows, tx: { generation, get: (name) => values.get(name), range: () => rows, expect: () => undefined } };
};

it("goes on serving when others wrote while all rows began to be gone through", async () => {
  const at = await openTestVault();
  await at.vault.close();
  await withRows(at, async (storage, keys) => {
    const other = await guardEmbedded(storage, keys, at.clock);
    const gates: (() => void)[] = [];
    const scan = async <T>({ begin, page }: Scan<T>): Promise<T> => {
      const { tx, rows } = await storage.read(snapshotOf);
      await new Promise<void>((open) => gates.push(open));
      const state = begin(tx);
      page(state, rows);
      return state;
    };
    const onlooker = await guardShared({ ...storage, scan }, keys, at.clock);
    const read = (name: string): Promise<string> => onlooker.read((tx) => String(tx.get(name)));

    // More than a write tells of: all rows have to be gone through, in the background.
    await other.write((tx) => {
      for (let n = 0; n < 200; n += 1) tx.put(`row:${n}`, Buffer.from("one"));
    });
    expect(await read("row:7")).toBe("one");
    await expect.poll(() => gates.length).toBe(1);
    await other.write((tx) => tx.put("row:7", Buffer.from("two")));
    expect(await read("row:7")).toBe("two");
    gates[0]?.();
    // It is over in a moment; nobody writes any more.
    for (let n = 0; n < 20; n += 1) {
      expect(await read("row:7")).toBe("two");
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(gates).toHaveLength(1);
  });
});
