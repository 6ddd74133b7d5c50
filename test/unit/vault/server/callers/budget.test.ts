/** Budgets: so much in a minute, for each caller by itself. */
import { describe, expect, it } from "vitest";
import { createBudget } from "../../../../../src/vault/server/callers/budget.ts";

describe("a budget", () => {
  it("is one caller's own, says how long to wait, and is whole again after a minute", () => {
    let now = 0;
    const budget = createBudget(2, { monotonic: () => now });
    expect([budget.spend("a"), budget.excess("a"), budget.spend("a"), budget.excess("a")]).toEqual([
      undefined,
      undefined,
      undefined,
      60,
    ]);
    now = 30_500;
    expect([budget.spend("a"), budget.spend("b")]).toEqual([30, undefined]);
    now = 59_999;
    expect(budget.excess("a")).toBe(1);
    now = 60_000;
    expect([budget.excess("a"), budget.spend("a")]).toEqual([undefined, undefined]);
  });

  it("knows some thousand callers, and forgets who has asked least lately", () => {
    const budget = createBudget(1, { monotonic: () => 0 });
    for (let at = 0; at < 20_000; at += 1) budget.spend(`caller ${at}`);
    expect([budget.excess("caller 19999"), budget.excess("caller 0")]).toEqual([60, undefined]);
  });
});
