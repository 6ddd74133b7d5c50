import { PassThrough, Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { createPaint, createTerminal, type Environment } from "../../../src/cli/terminal.ts";
import { SidekeyError } from "../../../src/core/errors.ts";

const setUp = (input: Readable, environment: Environment = {}, isTTY = false) => {
  const output = Object.assign(new PassThrough(), { isTTY });
  const errors = Object.assign(new PassThrough(), { isTTY });
  // From 26 on Node's read() without a length gives one write.
  const read = (stream: PassThrough) => String(stream.read(stream.readableLength) ?? "");
  const terminal = createTerminal({ input, output, errors }, environment);
  return { terminal, output: () => read(output), errors: () => read(errors) };
};
const none = () => Readable.from([]);

describe("a failure", () => {
  const failure = new SidekeyError("CONFIG_USAGE", { detail: "It was x.", hint: "Do y.", cause: new Error("inner") });

  it("is one line with code, sentence and detail, and one with the hint, on standard error", () => {
    const { terminal, output, errors } = setUp(none());
    terminal.fail(failure);
    expect(errors()).toBe("sidekey: CONFIG_USAGE: The command is not used as it should be. It was x.\nhint: Do y.\n");
    expect(output()).toBe("");
  });

  it("shows where it and its causes came from only at SIDEKEY_LOG_LEVEL=debug, and never a cause's words", () => {
    const { terminal, errors } = setUp(none(), { SIDEKEY_LOG_LEVEL: "debug" });
    const inner = Object.assign(new RangeError("canary\n    at canary"), { code: "ENOENT", cause: "canary" });
    terminal.fail(new SidekeyError("CONFIG_USAGE", { detail: "It was x.", cause: inner }));
    const told = errors();
    expect(told).toMatch(
      /CONFIG_USAGE\n {4}at .*terminal\.test\.ts[\s\S]*caused by: RangeError ENOENT\n {4}at .*terminal\.test\.ts/,
    );
    expect(told).toMatch(/caused by: something that is no error\n$/);
    expect(told).not.toContain("canary");
  });

  it("cannot steer the terminal", () => {
    const { terminal, errors } = setUp(none());
    terminal.fail(new SidekeyError("CONFIG_USAGE", { detail: "\u001b[2Jgone\u009b1A\r" }));
    expect(errors()).toContain("\\x1b[2Jgone\\x9b1A\\xd");
  });

  it("is coloured on a terminal, and not with NO_COLOR", () => {
    const coloured = setUp(none(), {}, true);
    coloured.terminal.fail(failure);
    expect(coloured.errors()).toContain("\u001b[31msidekey:\u001b[39m");
    const plain = setUp(none(), { NO_COLOR: "1" }, true);
    plain.terminal.fail(failure);
    expect(plain.errors()).not.toContain("\u001b");
  });
});

describe("createPaint", () => {
  it.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: "1" }, false],
    [true, { NO_COLOR: "" }, true],
    [true, { TERM: "dumb" }, false],
    [false, { FORCE_COLOR: "1" }, true],
    [true, { FORCE_COLOR: "0" }, false],
    [true, { FORCE_COLOR: "1", NO_COLOR: "1" }, true],
    [true, { FORCE_COLOR: "" }, true],
  ])("terminal %s with %j: colour %s", (terminal, environment, coloured) => {
    expect(createPaint(terminal, environment).bold("x") !== "x").toBe(coloured);
  });
});

describe("note", () => {
  it("cannot steer the terminal: a path may hold anything", () => {
    const { terminal, errors } = setUp(none(), {}, true);
    terminal.note("/tmp/\u001b[2J\u009b/ca.pem is not there yet");
    expect(errors()).toBe("sidekey: /tmp/\\x1b[2J\\x9b/ca.pem is not there yet\n");
  });
});

describe("progress", () => {
  const ERASE = "\r\u001b[2K";

  it("is one line that gives way to whatever is said, on a terminal", () => {
    const { terminal, output, errors } = setUp(none(), {}, true);
    terminal.progress("one");
    terminal.progress("two");
    terminal.note("said");
    expect(errors()).toBe(`${ERASE}one${ERASE}two${ERASE}sidekey: said\n`);
    terminal.progress("three");
    terminal.print("data");
    expect(errors()).toBe(`${ERASE}three${ERASE}`);
    expect(output()).toBe("data\n");
    terminal.progress(undefined);
    expect(errors()).toBe("");
  });

  it("is cut where the line would break, and cannot steer the terminal", () => {
    const { terminal, errors } = setUp(none(), {}, true);
    terminal.progress(`\u001b[2J${"x".repeat(200)}`);
    const shown = errors().slice(ERASE.length);
    expect(shown).toHaveLength(79);
    expect(shown).not.toContain("\u001b");
  });

  it.each([
    [{}, false],
    [{ TERM: "dumb" }, true],
  ])("is not there with %j, terminal %s", (environment, isTTY) => {
    const { terminal, errors } = setUp(none(), environment, isTTY);
    terminal.progress("one");
    terminal.progress(undefined);
    expect(errors()).toBe("");
  });
});

describe("a secret on standard input", () => {
  it.each([
    ["value\n", "value"],
    ["value\r\n", "value"],
    ["value", "value"],
    ["value\n\n", "value\n"],
    ["value\r", "value\r"],
    // A private key whose last line does not end is none to OpenSSH.
    ["first\nlast\n", "first\nlast\n"],
    ["first\r\nlast\r\n", "first\r\nlast\r\n"],
    ["first\nlast", "first\nlast"],
    ["\n", ""],
    ["", ""],
  ])("%j is %j", async (given, expected) => {
    const { terminal } = setUp(Readable.from([Buffer.from(given)]));
    expect((await terminal.readSecret("Value")).toString()).toBe(expected);
  });

  it("may come in pieces, and keeps every byte", async () => {
    const bytes = Buffer.from([0xff, 0x00, 0xc3, 0xa9]);
    const { terminal } = setUp(Readable.from([bytes.subarray(0, 3), bytes.subarray(3)]));
    expect(await terminal.readSecret("Value")).toEqual(bytes);
  });

  it("over 1 MiB is refused without reading on", async () => {
    const endless = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(64 * 1024, "x");
      })(),
    );
    await expect(setUp(endless).terminal.readSecret("Value")).rejects.toMatchObject({ code: "VAULT_BAD_VALUE" });
  });
});

describe("a secret typed at a terminal", () => {
  const typing = () => {
    const modes: boolean[] = [];
    const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (raw: boolean) => modes.push(raw) });
    return { ...setUp(input), input, modes };
  };

  it("is not shown, and the terminal is put back", async () => {
    const { terminal, input, modes, output, errors } = typing();
    const value = terminal.readSecret("Value of production/x/key");
    input.write("sk-");
    input.write("canary\r");
    expect((await value).toString()).toBe("sk-canary");
    expect(modes).toEqual([true, false]);
    expect(output()).toBe("");
    expect(errors()).toBe("Value of production/x/key: \n");
  });

  it("can be corrected with backspace and Ctrl-U", async () => {
    const { terminal, input } = typing();
    const value = terminal.readSecret("Value");
    input.write("wrong\u0015kéx\u007f\u007fey\n");
    expect((await value).toString()).toBe("key");
  });

  it("is refused after Ctrl-C, with the terminal put back", async () => {
    const { terminal, input, modes } = typing();
    const value = terminal.readSecret("Value");
    input.write("half\u0003");
    await expect(value).rejects.toMatchObject({ code: "CONFIG_USAGE" });
    expect(modes).toEqual([true, false]);
  });
});

describe("a question", () => {
  const asked = async (typed: string, isTTY = true) => {
    const input = Object.assign(new PassThrough(), { isTTY });
    const { terminal, output, errors } = setUp(input, {}, isTTY);
    const answer = terminal.confirm("Go on?");
    input.end(typed);
    return { answer: await answer, output: output(), errors: errors() };
  };

  it.each([
    ["\n", true],
    ["y\n", true],
    [" YES \n", true],
    ["n\n", false],
    ["no\n", false],
    ["what?\n", false],
    // Ctrl-D: nobody said yes.
    ["", false],
  ])("answered with %j is %s", async (typed, expected) => {
    const { answer, output, errors } = await asked(typed);
    expect(answer).toBe(expected);
    expect(errors).toContain("Go on? [Y/n] ");
    expect(output).toBe("");
  });

  it("is not put where nobody sits, and nothing is read there", async () => {
    expect(await asked("n\n", false)).toEqual({ answer: true, output: "", errors: "" });
  });
});
