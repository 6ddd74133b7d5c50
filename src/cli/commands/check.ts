/** `check`: every problem of the file in one run, for people on standard error, for programs as JSON. */
import { join } from "node:path";
import { createProblem, formatProblem, type Problem } from "../../config/problem.ts";
import { systemClock } from "../../core/clock.ts";
import { isSidekeyError } from "../../core/errors.ts";
import type { LoadResult } from "../../sidecar/app/config/config.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { DEFAULT_NAME, findConfigFile, requireConfigFile } from "../context.ts";
import { EXIT_OK, EXIT_USAGE } from "../exit.ts";
import { findWeakLocalSecrets } from "../weak-secrets.ts";

type Accepted = Extract<LoadResult, { readonly config: unknown }>;

/** Those of the text, of the secrets it names, of the certificates it shows, and of the CA that stands beside it. */
const warningsOf = async (
  { config, warnings, place }: Accepted,
  invocation: Invocation,
): Promise<readonly Problem[]> => {
  const { caWarnings } = await import("../../sidecar/app/ca-life.ts");
  const { endedCertificates } = await import("../../sidecar/app/config/credentials.ts");
  const now = systemClock.now();
  const ended = endedCertificates(config, now).map(place);
  const weak = (await findWeakLocalSecrets(config, invocation)).map(place);
  return [...warnings, ...weak, ...ended, ...caWarnings(config, now)];
};

/** A program that asked for JSON gets it for a file that is not there, too: one problem, of the file as a whole. */
const orUnreadable = (read: () => LoadResult, invocation: Invocation): LoadResult => {
  try {
    return read();
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "CONFIG_UNREADABLE") throw error;
    const { detail = "", hint } = error;
    const file = findConfigFile(invocation) ?? join(invocation.directory, DEFAULT_NAME);
    const message = `the file cannot be read: ${detail.replace(/\.$/, "")}`;
    return { problems: [createProblem(file, { line: 1, column: 1 }, { path: [], message, hint })] };
  }
};

export const check: CommandSpec = {
  name: "check",
  summary: "check the file, and print every problem in it",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey check", "sidekey check -c work.yaml --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const { readConfig } = await import("../../sidecar/app/config/config.ts");
    const read = (): LoadResult => readConfig(requireConfigFile(invocation), undefined, invocation.environment);
    const result = options.flag("json") ? orUnreadable(read, invocation) : read();
    const problems = "problems" in result ? result.problems : [];
    const warnings = "problems" in result ? [] : await warningsOf(result, invocation);
    const ok = problems.length === 0;
    if (options.flag("json")) {
      terminal.printJson({ ok, problems, ...(warnings.length > 0 && { warnings }) });
    } else {
      for (const warning of warnings) terminal.note(`warning: ${formatProblem(warning)}`);
      for (const problem of problems) terminal.printError(formatProblem(problem));
      const file = requireConfigFile(invocation);
      if (ok) terminal.print(`${file}: fine`);
      else terminal.note(`${problems.length} ${problems.length === 1 ? "problem" : "problems"} in ${file}`);
    }
    return ok ? EXIT_OK : EXIT_USAGE;
  },
};
