import { describe, expect, it } from "vitest";
import { compareProblems, createProblem, formatPath, formatProblem } from "../../../src/config/problem.ts";

describe("formatPath", () => {
  it.each([
    [[], ""],
    [["routes", "github", "match", 0], "routes.github.match[0]"],
    [["routes", "api.example.com"], 'routes["api.example.com"]'],
    [["a\nb"], '["a\\nb"]'],
    [["x".repeat(100)], `${"x".repeat(64)}…`],
  ])("writes %j as %s", (path, text) => {
    expect(formatPath(path)).toBe(text);
  });
});

describe("formatProblem", () => {
  const at = (path: (string | number)[], column: number, hint?: string): string =>
    formatProblem(
      createProblem(
        "sidekey.yaml",
        { line: 7, column },
        { path, message: "is wrong", ...(hint !== undefined && { hint }) },
      ),
    );

  it("shows the place, the key rebuilt with a caret below, and the hint", () => {
    expect(at(["routes", "github", "secert"], 5, "Did you mean 'secret'?")).toBe(
      [
        "sidekey.yaml:7:5 routes.github.secert: is wrong",
        "  7 |     secert:",
        "    |     ^^^^^^",
        "  hint: Did you mean 'secret'?",
      ].join("\n"),
    );
  });

  it("shows a list item by its place alone", () => {
    expect(at(["match", 2], 9)).toBe("sidekey.yaml:7:9 match[2]: is wrong\n  7 |         …\n    |         ^");
  });

  it("shows a key that is no word in quotes", () => {
    expect(at(["routes", "a.example"], 3)).toContain('  7 |   "a.example":\n    |   ^^^^^^^^^^^');
  });

  it("shows nothing of a file as a whole, and indents within reason", () => {
    expect(at([], 1)).toBe("sidekey.yaml:7:1 is wrong");
    expect(at(["a"], 5_000).length).toBeLessThan(150);
  });

  it("keeps the JSON of a problem to its six keys", () => {
    const problem = createProblem("f", { line: 1, column: 2 }, { path: ["a"], message: "m", hint: "h" });
    expect(JSON.stringify(problem)).toBe('{"file":"f","line":1,"column":2,"path":"a","message":"m","hint":"h"}');
  });

  it("sorts by line, then column", () => {
    const problem = (line: number, column: number) => createProblem("f", { line, column }, { path: [], message: "" });
    const sorted = [problem(3, 1), problem(1, 9), problem(1, 2)].sort(compareProblems);
    expect(sorted.map(({ line, column }) => [line, column])).toEqual([
      [1, 2],
      [1, 9],
      [3, 1],
    ]);
  });
});
