import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import type { Log } from "../../../../src/core/log.ts";
import { startBackgroundCheck } from "../../../../src/vault/barrier/background-check.ts";
import { afterTest, createTestClock } from "../support.ts";

const start = (verify: () => Promise<void>) => {
  const lines: string[] = [];
  const note = (message: string, fields: unknown): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: note, warn: note, info: note, debug: note };
  const check = startBackgroundCheck({ verify, clock: createTestClock(), log, everyMs: 1, random: () => 0 });
  afterTest(() => check.close());
  return { check, lines };
};

describe("the background check", () => {
  it("goes on over and over, also after one that could not be made", async () => {
    let count = 0;
    const { lines } = start(async () => {
      count += 1;
      if (count === 2) throw new SidekeyError("VAULT_STORE_BUSY");
    });
    await expect.poll(() => count).toBeGreaterThan(4);
    expect(lines).toEqual([expect.stringContaining("VAULT_STORE_BUSY")]);
  });

  it("ends with damage, which it tells", async () => {
    let count = 0;
    const { lines, check } = start(async () => {
      count += 1;
      throw new SidekeyError("VAULT_STORE_DAMAGED");
    });
    await expect.poll(() => lines).toEqual([expect.stringContaining("VAULT_STORE_DAMAGED")]);
    await check.close();
    expect(count).toBe(1);
  });

  it("waits for the one under way when it is closed, and begins no other", async () => {
    let begun = 0;
    let ended = 0;
    const { check } = start(async () => {
      begun += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
      ended += 1;
    });
    await expect.poll(() => begun).toBeGreaterThan(0);
    await check.close();
    expect(ended).toBe(begun);
    const all = begun;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(begun).toBe(all);
  });
});
