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

  it("lets no cell steer the terminal, break its line or turn the writing round", () => {
    expect(table(["A", "B"], [["x\u001b[2J\ny", "\u202ez\u009b"]])).toBe(
      "A                  B\nx\\u001b[2J\\u000ay  \\u202ez\\u009b",
    );
  });
});
