/** The argument parser: turns the commands' descriptions into a program. The only user of commander. */
import { Argument, Command, CommanderError, Option } from "commander";
import { SidekeyError, toSidekeyError } from "../core/errors.ts";
import { readVersion } from "../core/version.ts";
import type { CommandSpec, Invocation, OptionSpec, Options } from "./command.ts";
import { EXIT_OK, EXIT_USAGE, exitCodeOf } from "./exit.ts";
import { firstSteps } from "./first-steps.ts";
import { createPaint, type Environment, type Terminal, type TerminalStreams } from "./terminal.ts";

export interface Program {
  /** Runs one command line (without node and script) and resolves with the exit code; it never throws. */
  run(argv: readonly string[]): Promise<number>;
}

export interface ProgramParts {
  readonly commands: readonly CommandSpec[];
  /** Summaries of the groups: `secret`, `token`, … */
  readonly groups: Readonly<Record<string, string>>;
  /** Comes before every command; rejects where this process is no place for it. */
  readonly guard?: (spec: CommandSpec) => Promise<void>;
  readonly terminal: Terminal;
  readonly streams: Pick<TerminalStreams, "output" | "errors">;
  readonly environment: Environment;
  /** Working directory, absolute. */
  readonly directory: string;
}

export const createProgram = (parts: ProgramParts): Program => ({
  async run(argv) {
    // A fresh tree for each command line: commander keeps what it parsed.
    const tree = buildTree(parts);
    try {
      await tree.root.parseAsync([...argv], { from: "user" });
      return tree.exitCode();
    } catch (error) {
      if (error instanceof CommanderError) return reportParserError(error, parts, tree.reached());
      const failure = toSidekeyError(error);
      parts.terminal.fail(failure.code === "INTERNAL" ? internal(failure) : failure);
      return tree.reached()?.failure ?? exitCodeOf(failure.code);
    }
  },
});

interface Tree {
  readonly root: Command;
  exitCode(): number;
  /** The command whose arguments were being read, or that ran. */
  reached(): CommandSpec | undefined;
}

const buildTree = (parts: ProgramParts): Tree => {
  let exitCode = EXIT_OK;
  let reached: CommandSpec | undefined;
  const groups = new Map<string, Command>();
  const root = prepare(new Command("sidekey"), parts);
  root
    .description("A sidecar between one AI agent and the internet: it adds the keys on the way out.")
    .usage("COMMAND [OPTIONS]")
    .version(readVersion(), "-V, --version", "print the version")
    .helpCommand(false)
    .enablePositionalOptions()
    .addHelpText("after", `\n${firstSteps("From nothing to a program that runs without its key:")}`);

  const parentOf = (words: readonly string[]): Command => {
    const [group, leaf] = words;
    if (group === undefined || leaf === undefined) return root;
    const known = groups.get(group);
    if (known !== undefined) return known;
    const made = prepare(root.createCommand(group), parts).helpCommand(false).usage("COMMAND [OPTIONS]");
    made.description(parts.groups[group] ?? "");
    root.addCommand(made);
    groups.set(group, made);
    return made;
  };

  for (const spec of parts.commands) {
    const words = spec.name.split(" ");
    const parent = parentOf(words);
    const command = prepare(parent.createCommand(words.at(-1) ?? ""), parts);
    describe(command, spec);
    command.hook("preAction", () => {
      reached = spec;
    });
    // commander reports a usage error on the command it belongs to; `run` has an exit code of its own for them.
    command.exitOverride((error) => {
      reached = spec;
      throw error;
    });
    command.action(async () => {
      const options = createOptions(command.opts());
      await parts.guard?.(spec);
      exitCode = await spec.run(createInvocation(parts, command.args, options));
    });
    parent.addCommand(command);
  }
  return { root, exitCode: () => exitCode, reached: () => reached };
};

const prepare = (command: Command, { streams, environment }: ProgramParts): Command => {
  const paint = createPaint(streams.output.isTTY === true, environment);
  return command
    .exitOverride()
    .helpOption("-h, --help", "print this")
    .configureHelp({ styleTitle: (title) => paint.bold(title), showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => void streams.output.write(text),
      writeErr: (text) => void streams.errors.write(text),
      // Printed once, in our own form, by reportParserError.
      outputError: () => {},
      getOutHasColors: () => true,
    });
};

const describe = (command: Command, spec: CommandSpec): void => {
  command.description(spec.summary);
  for (const { syntax, summary, choices } of spec.parameters ?? []) {
    const argument = new Argument(syntax, summary);
    command.addArgument(choices === undefined ? argument : argument.choices(choices));
  }
  for (const option of spec.options ?? []) command.addOption(createOption(option));
  if (spec.excess === true) command.allowExcessArguments();
  if (spec.passThrough === true) command.passThroughOptions();
  command.addHelpText("after", `\nExamples:\n${spec.examples.map((line) => `  ${line}`).join("\n")}`);
};

const createOption = (spec: OptionSpec): Option => {
  const option = new Option(spec.flags, spec.summary);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.required === true) option.makeOptionMandatory();
  if (spec.repeat === true) {
    option.argParser<readonly string[]>((value, previous) => [...(Array.isArray(previous) ? previous : []), value]);
  }
  return option;
};

const createInvocation = (parts: ProgramParts, parameters: readonly string[], options: Options): Invocation => ({
  parameters,
  options,
  terminal: parts.terminal,
  environment: parts.environment,
  directory: parts.directory,
  commands: parts.commands,
  groups: parts.groups,
});

const createOptions = (values: Readonly<Record<string, unknown>>): Options => {
  const given = (name: string): unknown =>
    values[name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
  return {
    text(name) {
      const value = given(name);
      return typeof value === "string" ? value : undefined;
    },
    list(name) {
      const value = given(name);
      return Array.isArray(value) ? value : [];
    },
    flag: (name) => given(name) === true,
  };
};

const reportParserError = (error: CommanderError, parts: ProgramParts, spec: CommandSpec | undefined): number => {
  if (error.exitCode === 0) return EXIT_OK;
  // Help asked for by giving no command at all: it has been printed to standard error.
  if (error.code === "commander.help") return EXIT_USAGE;
  const words = error.message.replace(/^error: /, "").replace(/\s+/g, " ");
  const detail = `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
  const hint = spec === undefined ? hintFor(error, parts) : `Run: sidekey ${spec.name} --help`;
  parts.terminal.fail(
    new SidekeyError("CONFIG_USAGE", { detail: /[.?)]$/.test(detail) ? detail : `${detail}.`, hint }),
  );
  return spec?.failure ?? EXIT_USAGE;
};

/** A word of a group that was typed without its group, as `sidekey list`. */
const hintFor = ({ code, message }: CommanderError, { commands }: ProgramParts): string => {
  const typed = code === "commander.unknownCommand" ? /'([a-z-]+)'/.exec(message)?.[1] : undefined;
  const meant = commands.filter(({ name }) => name.split(" ")[1] === typed).map(({ name }) => `sidekey ${name}`);
  return typed === undefined || meant.length === 0 ? "Run: sidekey --help" : `There is: ${meant.join(", ")}.`;
};

const internal = (error: SidekeyError): SidekeyError =>
  new SidekeyError("INTERNAL", {
    hint: "This is a fault of sidekey. To see where: SIDEKEY_LOG_LEVEL=debug, and the same command again.",
    cause: error.cause,
  });
