/** The hub of changes: every listener hears each change once and in order, whenever it comes. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLog } from "../../../../src/core/log.ts";
import type { ChangesOf, VaultChanges } from "../../../../src/vault/index.ts";
import { openEventHub } from "../../../../src/vault/server/event-hub.ts";

/** A store whose answers take as many turns of the loop as the test says. */
const createStore = (turns: () => number) => {
  const all: ChangesOf[] = [];
  let generation = 0;
  let floor = 0;
  let tell: (generation: number) => void = () => {};
  const later = async (): Promise<void> => {
    for (let left = turns(); left > 0; left -= 1) await null;
  };
  const changes: VaultChanges = {
    async since(from) {
      await later();
      return from < floor || from > generation ? undefined : all.filter((one) => one.generation > from);
    },
    async current() {
      await later();
      return generation;
    },
    async watch(onChange) {
      tell = onChange;
      return async () => {
        tell = () => {};
      };
    },
  };
  return {
    changes,
    change(): number {
      generation += 1;
      all.push({ generation, changes: [{ type: "secret.updated", path: "a/b", version: generation }] });
      tell(generation);
      return generation;
    },
    forget(): void {
      floor = generation + 1;
      generation += 1;
      tell(generation);
    },
  };
};

const createListener = () => {
  const heard: number[] = [];
  const resets: number[] = [];
  return {
    heard,
    resets,
    changed: ({ generation }: ChangesOf) => void heard.push(generation),
    reset: (generation: number) => void resets.push(generation),
    lost: () => {},
  };
};

describe("the hub of changes", () => {
  it("tells each listener each change once and in order, whatever comes first", async () => {
    const steps = fc.array(fc.constantFrom("change", "listen", "pause"), { minLength: 1, maxLength: 25 });
    const delays = fc.array(fc.nat(6), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(steps, delays, async (script, turns) => {
        let at = 0;
        const store = createStore(() => turns[at++ % turns.length] ?? 0);
        const hub = await openEventHub(store.changes, silentLog);
        let last = 0;
        const listening: Promise<{ listener: ReturnType<typeof createListener>; from: number }>[] = [];
        for (const step of script) {
          if (step === "change") last = store.change();
          else if (step === "pause") await null;
          else {
            const listener = createListener();
            const from = last;
            listening.push(hub.subscribe(listener, from).then(() => ({ listener, from })));
          }
        }
        for (const { listener, from } of await Promise.all(listening)) {
          const wanted = Array.from({ length: last - from }, (_, index) => from + index + 1);
          await expect.poll(() => listener.heard, { interval: 1 }).toEqual(wanted);
          expect(listener.resets).toEqual([]);
        }
        await hub.close();
      }),
      { numRuns: 150 },
    );
  });

  it("says that all has to be looked at again, to those who listen and to those who come", async () => {
    const store = createStore(() => 1);
    const hub = await openEventHub(store.changes, silentLog);
    const listener = createListener();
    await hub.subscribe(listener, undefined);
    store.change();
    store.forget();
    await expect.poll(() => listener.resets).toEqual([2]);
    const late = createListener();
    await hub.subscribe(late, 1);
    expect(late.resets).toEqual([2]);
    store.change();
    await expect.poll(() => [listener.heard.at(-1), late.heard.at(-1)]).toEqual([3, 3]);
    await hub.close();
  });

  it("tells nothing to one who has left", async () => {
    const store = createStore(() => 0);
    const hub = await openEventHub(store.changes, silentLog);
    const gone = createListener();
    const stays = createListener();
    (await hub.subscribe(gone, undefined)).end();
    await hub.subscribe(stays, undefined);
    store.change();
    await expect.poll(() => stays.heard).toEqual([1]);
    expect(gone.heard).toEqual([]);
    await hub.close();
  });

  it("tells what it could not read as soon as it can, and does not wait for the next change", async () => {
    const store = createStore(() => 0);
    let isBroken = false;
    const since: VaultChanges["since"] = (from) =>
      isBroken ? Promise.reject(new Error("out of reach")) : store.changes.since(from);
    const hub = await openEventHub({ ...store.changes, since }, silentLog);
    const listener = createListener();
    await hub.subscribe(listener, undefined);
    isBroken = true;
    store.change();
    await new Promise((resolve) => setImmediate(resolve));
    expect(listener.heard).toEqual([]);
    isBroken = false;
    await expect.poll(() => listener.heard).toEqual([1]);
    await hub.close();
  });
});
