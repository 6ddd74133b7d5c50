import { describe, expect, it } from "vitest";
import { createMemoryReplayGuard } from "../../../../src/vault/tokens/replay-guard.ts";
import { codeOf, createTestClock } from "../support.ts";

describe("the replay guard of one process", () => {
  it("says yes once, until the id could not be used any more", async () => {
    const clock = createTestClock();
    const guard = createMemoryReplayGuard(clock);
    const until = clock.now() + 1000;
    expect([await guard.firstUse("a", until), await guard.firstUse("a", until)]).toEqual([true, false]);
    expect(await guard.firstUse("b", until)).toBe(true);
    clock.advance(999);
    expect(await guard.firstUse("a", until)).toBe(false);
    clock.advance(1);
    expect(await guard.firstUse("a", clock.now() + 1000)).toBe(true);
  });

  it("refuses rather than forget one that still counts", async () => {
    const clock = createTestClock();
    const guard = createMemoryReplayGuard(clock, 3);
    const start = clock.now();
    // The first is over last: it stands before what is over.
    expect(await guard.firstUse("long", start + 5000)).toBe(true);
    for (const id of ["a", "b"]) expect(await guard.firstUse(id, start + 1000)).toBe(true);
    expect(await codeOf(() => guard.firstUse("c", start + 1000))).toBe("OVERLOADED");
    expect(await guard.firstUse("a", start + 1000)).toBe(false);
    clock.advance(1000);
    expect(await guard.firstUse("c", start + 9000)).toBe(true);
    expect(await guard.firstUse("long", start + 5000)).toBe(false);
  });

  it("lets nobody take the place of the others: who makes too many proofs is refused alone", async () => {
    const clock = createTestClock();
    const guard = createMemoryReplayGuard(clock, 8);
    const until = clock.now() + 1000;
    for (const id of ["a", "b"]) expect(await guard.firstUse(id, until, "greedy")).toBe(true);
    expect(await codeOf(() => guard.firstUse("c", until, "greedy"))).toBe("OVERLOADED");
    expect(await guard.firstUse("a", until, "greedy")).toBe(false);
    for (const id of ["d", "e"]) expect(await guard.firstUse(id, until, "modest")).toBe(true);
    clock.advance(1000);
    for (const id of ["c", "f"]) expect(await guard.firstUse(id, clock.now() + 1000, "greedy")).toBe(true);
    expect(await codeOf(() => guard.firstUse("g", clock.now() + 1000, "greedy"))).toBe("OVERLOADED");
  });
});
