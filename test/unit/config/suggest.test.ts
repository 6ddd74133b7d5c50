import { describe, expect, it } from "vitest";
import { nearest } from "../../../src/config/suggest.ts";

const known = ["secret", "match", "inject", "deny", "max_age", "stale_while_error", "env"];

describe("nearest", () => {
  it.each([
    ["secert", "secret"],
    ["secrets", "secret"],
    ["Match", "match"],
    ["injct", "inject"],
    ["max-age", "max_age"],
    ["stale_while_eror", "stale_while_error"],
    ["evn", "env"],
  ])("takes %s for %s", (written, meant) => {
    expect(nearest(written, known)).toBe(meant);
  });

  it.each(["colour", "x", "", "m".repeat(10_000)])("knows nothing near %j", (written) => {
    expect(nearest(written, known)).toBeUndefined();
  });
});
