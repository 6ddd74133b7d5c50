import { describe, expect, it } from "vitest";
import { table } from "../../../src/cli/table.ts";

describe("table", () => {
  it("lines its columns up and ends no line with blanks", () => {
    const rows = [
      ["production/x/key", "12", "any"],
      ["a/b", "1", ""],
    ];
    expect(table(["PATH", "VERSION", "HOSTS"], rows)).toBe(
      ["PATH              VERSION  HOSTS", "production/x/key  12       any", "a/b               1"].join("\n"),
    );
  });
});
