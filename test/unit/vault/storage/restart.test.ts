import { describe, expect, it } from "vitest";
import {
  createKnown,
  createLayer,
  type Known,
  run,
  runRead,
  type Wanted,
} from "../../../../src/vault/storage/restart.ts";
import type { ReadTx, Row, Tx } from "../../../../src/vault/storage/storage.ts";

const row = (key: string, value = key): Row => ({ key, value: Buffer.from(value) });

/** A database of one generation that says what it was asked for. */
const createDatabase = (rows: readonly Row[]) => {
  const asked: Wanted[] = [];
  const known = createKnown(7);
  const fetch = (wanted: Wanted): void => {
    asked.push(wanted);
    known.add(wanted, {
      generation: 7,
      rows: rows.filter(({ key }) => wanted.keys.includes(key)),
      ranges: wanted.ranges.map(({ prefix, limit }) =>
        rows.filter(({ key }) => key.startsWith(prefix)).slice(0, limit),
      ),
    });
  };
  const untilDone = <T>(use: (tx: Tx) => T): T => {
    for (;;) {
      const outcome = run(known, createLayer(), use);
      if (outcome.kind === "done") return outcome.value;
      if (outcome.kind === "threw") throw outcome.error;
      fetch(outcome.wanted);
    }
  };
  return { known, asked, untilDone };
};

const keys = (tx: ReadTx, prefix: string, limit?: number): readonly string[] =>
  tx.range(prefix, limit === undefined ? {} : { limit }).map(({ key }) => key);

/** Callbacks, whatever they answer. */
const of = (...uses: readonly ((tx: ReadTx) => unknown)[]): readonly ((tx: ReadTx) => unknown)[] => uses;

describe("a restarted callback", () => {
  it("is asked for nothing but what it named, each row once", () => {
    const { untilDone, asked } = createDatabase([row("a", "b"), row("b", "c"), row("c", "end")]);
    let runs = 0;
    const end = untilDone((tx) => {
      runs += 1;
      let name = "a";
      for (let step = 0; step < 3; step += 1) name = tx.get(name)?.toString() ?? "nothing";
      return name;
    });
    expect([end, runs]).toEqual(["end", 4]);
    expect(asked.map((wanted) => wanted.keys)).toEqual([["a"], ["b"], ["c"]]);
  });

  it("gets all that it said it would ask for at once", () => {
    const { untilDone, asked } = createDatabase([row("a"), row("p:1"), row("p:2")]);
    const found = untilDone((tx) => {
      tx.expect(["a", "b"], [{ prefix: "p:" }, { prefix: "q:", limit: 1 }]);
      return [tx.get("a")?.toString(), tx.get("b"), keys(tx, "p:"), keys(tx, "q:", 1)];
    });
    expect(found).toEqual(["a", undefined, ["p:1", "p:2"], []]);
    expect(asked).toHaveLength(1);
  });

  it("is begun again also when it caught what ended it", () => {
    const { untilDone } = createDatabase([row("a", "right")]);
    const found = untilDone((tx) => {
      try {
        return tx.get("a")?.toString();
      } catch {
        return "swallowed";
      }
    });
    expect(found).toBe("right");
  });

  it("goes on behind a row that it only accounts for, and counts from the run that knew it", () => {
    const { untilDone, asked } = createDatabase([row("a", "1"), row("b", "2")]);
    const seen: (string | undefined)[][] = [];
    untilDone((tx) => void seen.push([tx.peek("a")?.toString(), tx.peek("b")?.toString(), tx.peek("c")?.toString()]));
    expect(seen).toEqual([
      [undefined, undefined, undefined],
      ["1", "2", undefined],
    ]);
    expect(asked).toHaveLength(1);
  });

  it("never takes a row for absent that was not fetched", () => {
    const known: Known = createKnown(1);
    for (const use of of(
      (tx: ReadTx) => tx.get("a"),
      (tx: ReadTx) => tx.range("a"),
      (tx: ReadTx) => tx.range("", { limit: 3 }),
    )) {
      expect(runRead(known, use).kind).toBe("missing");
      expect(runRead(undefined, use).kind).toBe("missing");
    }
    expect(run(known, createLayer(), (tx) => tx.remove("a")).kind).toBe("missing");
    expect(runRead(undefined, (tx) => tx.generation).kind).toBe("missing");
    expect(runRead(known, (tx) => tx.generation)).toEqual({ kind: "done", value: 1 });
    // The first two of a range say nothing of a third, nor of a row between.
    known.add(
      { keys: [], ranges: [{ prefix: "p", limit: 2 }] },
      { generation: 1, rows: [], ranges: [[row("p1"), row("p2")]] },
    );
    expect(runRead(known, (tx) => keys(tx, "p", 2))).toEqual({ kind: "done", value: ["p1", "p2"] });
    expect(runRead(known, (tx) => keys(tx, "p", 1))).toEqual({ kind: "done", value: ["p1"] });
    for (const use of of(
      (tx: ReadTx) => keys(tx, "p", 3),
      (tx: ReadTx) => keys(tx, "p1"),
      (tx: ReadTx) => tx.get("p3"),
    )) {
      expect(runRead(known, use).kind).toBe("missing");
    }
  });

  it("knows from a whole range what is not in it", () => {
    const { known, untilDone, asked } = createDatabase([row("p:1"), row("p:10"), row("q")]);
    untilDone((tx) => tx.range("p:"));
    expect(runRead(known, (tx) => [tx.get("p:2"), keys(tx, "p:1"), keys(tx, "p:x")])).toEqual({
      kind: "done",
      value: [undefined, ["p:1", "p:10"], []],
    });
    expect(asked).toHaveLength(1);
  });

  it("sees its own changes in ranges, also in the first of them", () => {
    const { untilDone } = createDatabase(["1", "2", "3", "4"].map((n) => row(`p:${n}`)));
    const found = untilDone((tx) => {
      tx.remove("p:1");
      tx.put("p:25", Buffer.from("new"));
      return [keys(tx, "p:", 1), keys(tx, "p:", 2), keys(tx, "p:", 3), keys(tx, "p:")];
    });
    const all = ["p:2", "p:25", "p:3", "p:4"];
    expect(found).toEqual([all.slice(0, 1), all.slice(0, 2), all.slice(0, 3), all]);
  });

  it("has its layer to itself until it is taken over, as one generation", () => {
    const known = createKnown(7);
    known.add({ keys: ["a"], ranges: [] }, { generation: 7, rows: [row("a", "0")], ranges: [] });
    const below = createLayer();
    const above = createLayer(below);
    run(known, above, (tx) => tx.put("a", Buffer.from("1")));
    const read = (tx: ReadTx) => [tx.generation, tx.get("a")?.toString()];
    expect(run(known, below, read)).toEqual({ kind: "done", value: [7, "0"] });
    below.merge(above);
    expect(run(known, below, read)).toEqual({ kind: "done", value: [8, "1"] });
    expect(run(known, createLayer(below), read)).toEqual({ kind: "done", value: [8, "1"] });
  });
});
