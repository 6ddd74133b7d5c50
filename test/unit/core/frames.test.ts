import { describe, expect, it } from "vitest";
import { framesOf } from "../../../src/core/frames.ts";

const CANARY = "canary-90c1";

describe("framesOf", () => {
  it("says where an error came from", () => {
    const [first, ...others] = framesOf(new TypeError("x"));
    expect(first).toMatch(/^at \S.*frames\.test\.ts:\d+:\d+\)?$/);
    expect(others.length).toBeGreaterThan(0);
  });

  it("holds nothing of the message, not even of one that looks like frames", () => {
    const spelled = `${CANARY}\n    at ${CANARY} (/${CANARY}:1:1)\n    at /${CANARY}:1:1`;
    expect(framesOf(new Error(spelled)).join()).not.toContain(CANARY);
    const renamed = new Error("before");
    renamed.message = `${CANARY}`;
    renamed.name = CANARY;
    expect(framesOf(renamed).join()).not.toContain(CANARY);
    expect(framesOf(renamed)).not.toEqual([]);
  });

  it("knows async frames, and nothing of what is no error", async () => {
    const failing = async (): Promise<void> => {
      await Promise.resolve();
      throw new Error("x");
    };
    const outer = async (): Promise<readonly string[]> => {
      try {
        await failing();
        return [];
      } catch (error) {
        return framesOf(error);
      }
    };
    expect((await outer()).join()).toMatch(/at (?:async )?outer \(/);
    expect(framesOf("x")).toEqual([]);
    expect(framesOf(Object.assign(new Error("x"), { stack: undefined }))).toEqual([]);
  });
});
