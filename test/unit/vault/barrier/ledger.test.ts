import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ABSENT, createLedger, type Step, type Tag } from "../../../../src/vault/barrier/ledger.ts";
import { withWrite, writesSince } from "../../../../src/vault/barrier/recent-writes.ts";

const tags = [1, 2, 3, 2 ** 48 - 1] as const;
const change = fc.tuple(fc.constantFrom(...tags), fc.constantFrom(ABSENT, 7, 8, 2 ** 48 - 2));
const writes = fc.array(fc.array(change, { maxLength: 4 }), { minLength: 1, maxLength: 12 });

/** What each name's tag is after so many writes. */
const modelOf = (all: readonly (readonly (readonly [Tag, Tag])[])[], count: number): ReadonlyMap<Tag, Tag> =>
  new Map(all.slice(0, count).flat());

const expectView = (view: ((name: Tag) => Tag | undefined) | undefined, model: ReadonlyMap<Tag, Tag>): void => {
  for (const name of tags) expect(view?.(name)).toBe(model.get(name) ?? ABSENT);
};

describe("the ledger", () => {
  it("knows what each row had to be at each generation, however far it was told at once", () => {
    fc.assert(
      fc.property(writes, fc.nat(12), (all, filledAt) => {
        const from = Math.min(filledAt, all.length);
        const ledger = createLedger();
        expect([ledger.isKnown, ledger.at(from)]).toEqual([false, undefined]);
        const steps: Step[] = all.map((changes, at) => ({ generation: at + 1, changes: [...new Map(changes)] }));
        const fill = ledger.startFilling(from);
        // What is written while all rows are gone through goes into what comes of it.
        const met = Math.min(from + 2, all.length);
        ledger.advance(met, steps);
        fill(new Map([...modelOf(all, from)].filter(([, tag]) => tag !== ABSENT)));
        expect(ledger.isKnown).toBe(true);
        expectView(ledger.at(all.length, steps), modelOf(all, all.length));
        expect(ledger.advance(all.length, steps)).toBe(true);
        for (let at = met; at <= all.length; at += 1) expectView(ledger.at(at), modelOf(all, at));
      }),
    );
  });

  it("says so when it has lost the thread, and begins again with all rows", () => {
    const ledger = createLedger();
    ledger.startFilling(5)(new Map([[1, 7]]));
    expect(ledger.at(4)).toBeUndefined();
    expect(ledger.at(7, [{ generation: 7, changes: [] }])).toBeUndefined();
    expect(ledger.advance(6, [{ generation: 6, changes: undefined }])).toBe(false);
    expect(ledger.at(6)).toBeUndefined();
    const [first, second] = [ledger.startFilling(6), ledger.startFilling(7)];
    second(new Map([[1, 8]]));
    first(new Map([[1, 7]]));
    expect(ledger.at(7)?.(1)).toBe(8);
    const third = ledger.startFilling(7);
    expect(ledger.advance(9, [{ generation: 9, changes: [] }])).toBe(false);
    third(new Map());
    expect(ledger.isKnown).toBe(false);
  });
});

describe("the last writes", () => {
  it("come back as they went in, those after a generation, the oldest first", () => {
    fc.assert(
      fc.property(writes, fc.nat(14), (all, since) => {
        let text = "";
        for (const [at, changes] of all.entries()) text = withWrite(text, at + 1, new Map(changes));
        const expected = all.map((changes, at) => ({ generation: at + 1, changes: [...new Map(changes)] }));
        expect(writesSince(text, since)).toEqual(expected.slice(since));
      }),
    );
  });

  it("are kept short: the oldest go, and what changed too much is not told", () => {
    let text = "";
    for (let n = 1; n <= 500; n += 1) text = withWrite(text, n, new Map([[n, n]]));
    expect(text.length).toBeLessThanOrEqual(4096);
    expect(writesSince(text, 400).map(({ generation }) => generation)).toEqual(
      Array.from({ length: 100 }, (_, n) => n + 401),
    );
    const many = new Map(Array.from({ length: 129 }, (_, n) => [n + 1, 1] as const));
    expect(writesSince(withWrite("", 1, many), 0)).toEqual([{ generation: 1, changes: undefined }]);
    for (const none of ["", "x", "1", "0:*", "1:a b"]) expect(writesSince(none, 0)).toEqual([]);
  });
});
