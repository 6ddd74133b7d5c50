/** The command line as completion sees it: commands, options and what their values are. Made from the commands alone. */
import type { CommandSpec } from "../command.ts";

/** A list of words; a file; a directory; anything else. */
export type Value = readonly string[] | "file" | "directory" | "text";

export interface CompletedOption {
  /** `-c`, `--config`: as typed. */
  readonly flags: readonly string[];
  readonly summary: string;
  /** Undefined = it takes none. */
  readonly value: Value | undefined;
  readonly isRepeated: boolean;
}

export interface CompletedCommand {
  /** One word, or group and word. */
  readonly name: string;
  readonly summary: string;
  readonly options: readonly CompletedOption[];
  /** In order; the last one may be given again and again where `rest` says so. */
  readonly parameters: readonly Value[];
  /** What follows the first argument is another program's command line. */
  readonly isPrefix: boolean;
}

export interface CompletedProgram {
  readonly commands: readonly CompletedCommand[];
  readonly groups: readonly { readonly name: string; readonly summary: string }[];
  /** Before any command. */
  readonly options: readonly CompletedOption[];
}

const HELP: CompletedOption = { flags: ["-h", "--help"], summary: "print this", value: undefined, isRepeated: false };
const VERSION: CompletedOption = {
  flags: ["-V", "--version"],
  summary: "print the version",
  value: undefined,
  isRepeated: false,
};

export const completedProgram = (
  commands: readonly CommandSpec[],
  groups: Readonly<Record<string, string>>,
): CompletedProgram => ({
  commands: commands.map(({ name, summary, options = [], parameters = [], passThrough }) => ({
    name,
    summary,
    options: [
      ...options.map(({ flags, summary: of, choices, repeat }) => ({
        flags: flags.match(/(?<![\w-])--?[a-z][a-z-]*/gi) ?? [],
        summary: of,
        value: valueIn(flags, choices),
        isRepeated: repeat === true,
      })),
      HELP,
    ],
    parameters: parameters.map(({ syntax, choices }) => valueIn(syntax, choices) ?? "text"),
    isPrefix: passThrough === true,
  })),
  groups: Object.entries(groups).map(([name, summary]) => ({ name, summary })),
  options: [HELP, VERSION],
});

const valueIn = (syntax: string, choices: readonly string[] | undefined): Value | undefined => {
  if (choices !== undefined) return choices;
  const name = /[<[]([a-z]+)/.exec(syntax)?.[1];
  if (name === undefined) return undefined;
  if (name === "file") return "file";
  return name === "dir" || name === "directory" ? "directory" : "text";
};
