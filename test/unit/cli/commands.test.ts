/** What every command promises by its description: examples that can be typed, the options that all have. */
import { describe, expect, it } from "vitest";
import { COMMANDS, GROUPS } from "../../../src/cli/commands/index.ts";
import { completedProgram } from "../../../src/cli/completion/model.ts";

const program = completedProgram(COMMANDS, GROUPS);
const flagsOf = (name: string): readonly string[] =>
  program.commands.find((one) => one.name === name)?.options.flatMap(({ flags }) => flags) ?? [];

/** The command lines of an example, each without what leads to it and what follows. */
const typed = (example: string): readonly (readonly string[])[] =>
  [...example.replace(/ {2,}#.*$/, "").matchAll(/(?:^|[|;&(] ?|[A-Z_]+=\S+ )sidekey ([^|;&)>]*)/g)].map(
    ([, rest = ""]) => rest.trim().split(/\s+/),
  );

describe.each(COMMANDS)("$name", ({ name, examples, summary }) => {
  it("has a summary that fits its place, and examples of itself", () => {
    expect(summary).toMatch(/^[a-z]/);
    expect(summary).not.toMatch(/\.$/);
    expect(examples.length).toBeGreaterThan(0);
    expect(examples.flatMap(typed).some((words) => words.join(" ").startsWith(name))).toBe(true);
  });

  it("shows no option that it has not", () => {
    for (const words of examples.flatMap(typed)) {
      const own = program.commands.find((one) => words.join(" ").startsWith(one.name));
      expect(own, words.join(" ")).toBeDefined();
      const end = words.indexOf("--");
      const options = (end === -1 ? words : words.slice(0, end)).filter((word) => /^--?[a-z]/.test(word));
      expect(options.filter((option) => !flagsOf(own?.name ?? "").includes(option))).toEqual([]);
    }
  });

  it("takes a file, and is asked for JSON in one way, like all others", () => {
    const flags = flagsOf(name);
    // It prints what is built in, for a shell.
    const isForShells = name === "completion";
    expect({ file: flags.includes("--config"), json: flags.includes("--json") }).toEqual({
      file: !isForShells,
      json: !isForShells,
    });
  });
});
