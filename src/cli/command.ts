/**
 * What a command is: a description as data and one function. The argument parser is a detail of `program.ts`; a command
 * never sees it, and imports what is heavy inside its function, so that the others start fast.
 */
import type { Environment, Terminal } from "./terminal.ts";

export interface OptionSpec {
  /** As `--help` shows it: `-c, --config <file>`. */
  readonly flags: string;
  readonly summary: string;
  /** May be given more than once. */
  readonly repeat?: true;
  readonly required?: true;
  readonly choices?: readonly string[];
}

export interface ParameterSpec {
  /** `<path>`, `[prefix]` or `<command...>`. */
  readonly syntax: string;
  readonly summary: string;
  readonly choices?: readonly string[];
}

export interface CommandSpec {
  /** One word, or group and word: `secret set`. */
  readonly name: string;
  readonly summary: string;
  readonly parameters?: readonly ParameterSpec[];
  readonly options?: readonly OptionSpec[];
  /** Whole command lines for `--help`. */
  readonly examples: readonly string[];
  /** More arguments than declared reach `run`, which says better than the parser what is wrong with them. */
  readonly excess?: true;
  /** Options after the first argument belong to that argument, as with env(1). */
  readonly passThrough?: true;
  /** Exit code for every failure of sidekey itself; by default 1, or 2 for wrong usage or a wrong file. */
  readonly failure?: number;
  /** Resolves with the exit code. Errors: any `SidekeyError`. */
  run(invocation: Invocation): Promise<number>;
}

export interface Invocation {
  readonly parameters: readonly string[];
  readonly options: Options;
  readonly terminal: Terminal;
  readonly environment: Environment;
  /** Absolute. */
  readonly directory: string;
  /** All there are. */
  readonly commands: readonly CommandSpec[];
  /** Summaries of the groups: `secret`, `token`, … */
  readonly groups: Readonly<Record<string, string>>;
}

/** Options by their long name, without dashes. */
export interface Options {
  text(name: string): string | undefined;
  list(name: string): readonly string[];
  flag(name: string): boolean;
}

export const CONFIG_OPTION: OptionSpec = {
  flags: "-c, --config <file>",
  summary: "the file (else $SIDEKEY_CONFIG, else ./sidekey.yaml)",
};
export const JSON_OPTION: OptionSpec = { flags: "--json", summary: "print JSON" };
/** Taken by every command, so that a caller need not know which; what some print is the same with it. */
export const sameWithJson = (why: string): OptionSpec => ({ ...JSON_OPTION, summary: `the same: ${why}` });
