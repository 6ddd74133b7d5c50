import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../../../src/cli/command.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { createTerminal } from "../../../src/cli/terminal.ts";
import { SidekeyError } from "../../../src/core/errors.ts";

interface Seen {
  readonly command: string;
  readonly parameters: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

const setUp = (fails?: unknown) => {
  const seen: Seen[] = [];
  const output = new PassThrough();
  const errors = new PassThrough();
  const run = (command: string) => async (invocation: Invocation) => {
    if (fails !== undefined) throw fails;
    const { parameters, options } = invocation;
    const { text, list, flag } = options;
    seen.push({
      command,
      parameters,
      options: { config: text("config"), ttl: text("time-to-live"), host: list("host"), json: flag("json") },
    });
    return 7;
  };
  const commands: CommandSpec[] = [
    {
      name: "check",
      summary: "Checks",
      options: [CONFIG_OPTION, JSON_OPTION],
      examples: ["sidekey check"],
      run: run("check"),
    },
    {
      name: "secret set",
      summary: "Stores",
      parameters: [{ syntax: "<path>", summary: "where" }],
      options: [
        { flags: "--host <host>", summary: "binds", repeat: true },
        { flags: "--time-to-live <duration>", summary: "how long" },
        { flags: "--kind <kind>", summary: "which", choices: ["a", "b"] },
      ],
      examples: ["sidekey secret set production/x/key"],
      run: run("secret set"),
    },
    {
      name: "run",
      summary: "Runs",
      parameters: [{ syntax: "<command...>", summary: "what" }],
      options: [CONFIG_OPTION],
      examples: ["sidekey run -- true"],
      passThrough: true,
      failure: 125,
      run: run("run"),
    },
  ];
  const streams = { output, errors };
  const program = createProgram({
    commands,
    groups: { secret: "Secrets of the embedded vault" },
    terminal: createTerminal({ input: new PassThrough(), ...streams }, {}),
    streams,
    environment: {},
    directory: "/",
  });
  return {
    seen,
    async run(...argv: string[]) {
      const code = await program.run(argv);
      // From 26 on Node's read() without a length gives one write.
      const read = (stream: PassThrough): string => String(stream.read(stream.readableLength) ?? "");
      return { code, out: read(output), err: read(errors) };
    },
  };
};

describe("a command line", () => {
  it("reaches its command with parameters and options, and ends with the command's code", async () => {
    const { run, seen } = setUp();
    const argv = ["secret", "set", "a/b", "--host", "x", "--host=y", "--time-to-live", "30m"];
    expect(await run(...argv)).toEqual({ code: 7, out: "", err: "" });
    expect(seen[0]).toEqual({
      command: "secret set",
      parameters: ["a/b"],
      options: { config: undefined, ttl: "30m", host: ["x", "y"], json: false },
    });
  });

  it("leaves everything after the first word of a program to run to that program", async () => {
    const { run, seen } = setUp();
    await run("run", "-c", "f", "curl", "-c", "jar", "--json", "{}");
    await run("run", "--", "curl", "--config", "x");
    expect(seen.map(({ parameters }) => parameters)).toEqual([
      ["curl", "-c", "jar", "--json", "{}"],
      ["curl", "--config", "x"],
    ]);
    expect(seen[0]?.options["config"]).toBe("f");
  });
});

describe("a wrong command line", () => {
  it.each([
    [["chek"], 2, "Unknown command 'chek' (Did you mean check?)", "sidekey --help"],
    [["check", "--jsn"], 2, "Unknown option '--jsn' (Did you mean --json?)", "sidekey check --help"],
    [["check", "extra"], 2, "Too many arguments for 'check'. Expected 0 arguments but got 1.", "sidekey check --help"],
    [["secret", "sett"], 2, "Unknown command 'sett' (Did you mean set?)", "sidekey --help"],
    [["set"], 2, "Unknown command 'set'", "There is: sidekey secret set."],
    [["secret", "set"], 2, "Missing required argument 'path'.", "sidekey secret set --help"],
    [["secret", "set", "a/b", "--host"], 2, "Option '--host <host>' argument missing.", "sidekey secret set --help"],
    [["secret", "set", "a/b", "--kind", "c"], 2, "Allowed choices are a, b.", "sidekey secret set --help"],
    [["run"], 125, "Missing required argument 'command'.", "sidekey run --help"],
    [["run", "--wrong", "x"], 125, "Unknown option '--wrong'.", "sidekey run --help"],
  ])("%j", async (argv, code, words, hint) => {
    const { run, seen } = setUp();
    const result = await run(...argv);
    expect(result.code).toBe(code);
    expect(result.out).toBe("");
    expect(result.err).toMatch(/^sidekey: CONFIG_USAGE: [^\n]*\nhint: [^\n]*\n$/);
    expect(result.err).toContain(words);
    expect(result.err).toContain(hint.startsWith("There") ? `hint: ${hint}\n` : `hint: Run: ${hint}\n`);
    expect(seen).toEqual([]);
  });

  it.each([[[]], [["secret"]]])("%j prints the help to standard error", async (argv) => {
    const { code, out, err } = await setUp().run(...argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage: sidekey");
  });
});

describe("help and version", () => {
  it.each([[["--help"]], [["-h"]], [["secret", "--help"]], [["check", "--help"]], [["run", "-h"]]])(
    "%j goes to standard output with code 0",
    async (argv) => {
      const { code, out, err } = await setUp().run(...argv);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      expect(out).toContain("Usage: sidekey");
    },
  );

  it("of a command ends with its examples", async () => {
    expect((await setUp().run("check", "--help")).out).toMatch(/Examples:\n {2}sidekey check\n$/);
  });

  it("prints the package's version", async () => {
    expect((await setUp().run("--version")).out).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
  });
});

describe("a command that fails", () => {
  it.each([
    ["CONFIG_INVALID", "check", 2],
    ["VAULT_SECRET_MISSING", "check", 1],
    ["VAULT_STORE_DAMAGED", "check", 2],
    ["CONFIG_INVALID", "run", 125],
  ] as const)("with %s ends %s with %i", async (failure, command, code) => {
    const { run } = setUp(new SidekeyError(failure, { detail: "Here.", hint: "Mend it." }));
    const result = await run(command, ...(command === "run" ? ["true"] : []));
    expect(result.code).toBe(code);
    expect(result.err).toMatch(new RegExp(`^sidekey: ${failure}: .* Here\\.\\nhint: Mend it\\.\\n$`));
  });

  it("with a fault of ours tells no words of it", async () => {
    const result = await setUp(new TypeError("cannot read canary-4711")).run("check");
    expect(result.code).toBe(1);
    expect(result.err).toContain("sidekey: INTERNAL: The sidecar failed.\n");
    expect(result.err).not.toContain("canary-4711");
  });
});
