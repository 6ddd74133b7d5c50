/** What waits for the end of a turn. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { atTurnEnd } from "../../../src/core/turn-end.ts";

const saying = (said: string[], name: string, then = (): void => undefined) => ({
  turnEnds() {
    said.push(name);
    then();
  },
});

it("is done once, in order, together with what comes to it meanwhile", async () => {
  const said: string[] = [];
  atTurnEnd(saying(said, "first", () => atTurnEnd(saying(said, "third"))));
  atTurnEnd(saying(said, "second"));
  expect(said).toEqual([]);
  await nextTurn();
  expect(said).toEqual(["first", "second", "third"]);
  atTurnEnd(saying(said, "next turn"));
  await nextTurn();
  expect(said).toEqual(["first", "second", "third", "next turn"]);
});

it("is done also behind one that throws, which is thrown on", async () => {
  const said: string[] = [];
  const faults: unknown[] = [];
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (fault) => void faults.push(fault));
  try {
    atTurnEnd({
      turnEnds() {
        throw new Error("a mistake of ours");
      },
    });
    atTurnEnd(saying(said, "behind it"));
    await expect.poll(() => said).toEqual(["behind it"]);
    expect(faults).toMatchObject([{ message: "a mistake of ours" }]);
    atTurnEnd(saying(said, "later"));
    await nextTurn();
    expect(said).toEqual(["behind it", "later"]);
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of before) process.on("uncaughtException", listener);
  }
});
