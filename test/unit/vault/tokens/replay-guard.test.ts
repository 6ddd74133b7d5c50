import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { createMemoryReplayGuard, createSharedReplayGuard } from "../../../../src/vault/tokens/replay-guard.ts";
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

describe("the replay guard over one that several processes have in common", () => {
  const key = async (): Promise<Buffer> => Buffer.alloc(32, 7);

  it("remembers what it let pass, asks for the rest, and shows nobody an id", async () => {
    const clock = createTestClock();
    const asked: string[] = [];
    // One that forgets at once.
    const common = { firstUse: async (id: string) => asked.push(id) > 0 };
    const guard = createSharedReplayGuard({ clock, key, common });
    const until = clock.now() + 1000;
    expect([await guard.firstUse("a", until), await guard.firstUse("a", until)]).toEqual([true, false]);
    const at = await Promise.all(["b", "b", "b"].map((id) => guard.firstUse(id, until)));
    expect(at.filter(Boolean)).toHaveLength(1);
    expect(asked).toHaveLength(2);
    for (const id of asked) expect(id).toMatch(/^[A-Za-z0-9+/]{43}=$/);
  });

  it("leaves it to the other where it has too many, and where the other failed", async () => {
    const clock = createTestClock();
    const until = clock.now() + 1000;
    const common = createMemoryReplayGuard(clock);
    const guard = createSharedReplayGuard({ clock, key, common }, 2);
    for (const id of ["a", "b", "c"]) expect(await guard.firstUse(id, until)).toBe(true);
    for (const id of ["a", "b", "c"]) expect(await guard.firstUse(id, until)).toBe(false);
    let isDown = true;
    const failing = createSharedReplayGuard({
      clock,
      key,
      common: {
        async firstUse() {
          if (isDown) throw new SidekeyError("VAULT_STORE_BUSY");
          return true;
        },
      },
    });
    expect(await codeOf(() => failing.firstUse("a", until))).toBe("VAULT_STORE_BUSY");
    isDown = false;
    expect(await failing.firstUse("a", until)).toBe(true);
    expect(await failing.firstUse("a", until)).toBe(false);
  });
});
