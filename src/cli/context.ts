/** Finds and reads the file a command works with. Must never look further than `-c`, $SIDEKEY_CONFIG and ./sidekey.yaml. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { formatProblem } from "../config/problem.ts";
import { SidekeyError } from "../core/errors.ts";
import type { loadConfig as Load, NamedVault, SidecarConfig } from "../sidecar/app/config/config.ts";
import type { Invocation } from "./command.ts";
import { NO_FILE_HINT } from "./first-steps.ts";

const CONFIG_VARIABLE = "SIDEKEY_CONFIG";
export const DEFAULT_NAME = "sidekey.yaml";
/** What holds where there is no file: an embedded vault under ./.sidekey and no routes. */
export const DEFAULT_TEXT = "version: 1\n";

type Where = Pick<Invocation, "options" | "environment" | "directory">;

/** Absolute path of the file that was named, or that is there; undefined when neither. */
export const findConfigFile = ({ options, environment, directory }: Where): string | undefined => {
  const named = options.text("config") ?? environment[CONFIG_VARIABLE];
  if (named !== undefined && named !== "") return resolve(directory, named);
  const usual = join(directory, DEFAULT_NAME);
  return existsSync(usual) ? usual : undefined;
};

/** For `start`, `run` and `check`, which mean nothing without a file. Errors: CONFIG_UNREADABLE. */
export const requireConfigFile = (where: Where): string => {
  const file = findConfigFile(where);
  if (file !== undefined) return file;
  throw new SidekeyError("CONFIG_UNREADABLE", {
    detail: `There is no ${DEFAULT_NAME} in ${where.directory}.`,
    hint: NO_FILE_HINT,
  });
};

/**
 * The checked file; `vault`: for its default source. Errors: CONFIG_UNREADABLE; CONFIG_INVALID with every problem in its
 * detail; CONFIG_USAGE for a vault that is none.
 */
export const loadRequiredConfig = async (invocation: Invocation, vault?: NamedVault): Promise<SidecarConfig> => {
  const { readConfig } = await import("../sidecar/app/config/config.ts");
  return accept(readConfig(requireConfigFile(invocation), undefined, undefined, vault), invocation);
};

/** The checked file, or the defaults where nothing names one: for commands on the state directory. */
export const loadConfigOrDefaults = async (invocation: Invocation): Promise<SidecarConfig> => {
  const { loadConfig, readConfig } = await import("../sidecar/app/config/config.ts");
  const file = findConfigFile(invocation);
  if (file !== undefined) return accept(readConfig(file), invocation);
  return accept(loadConfig({ file: join(invocation.directory, DEFAULT_NAME), text: DEFAULT_TEXT }), invocation);
};

/** The configuration, its warnings told; or every problem in one error. */
const accept = (result: ReturnType<typeof Load>, { terminal }: Invocation): SidecarConfig => {
  if ("problems" in result) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `\n${result.problems.map(formatProblem).join("\n")}`,
      hint: result.problems.length === 1 ? "Mend it, then: sidekey check" : "Mend them, then: sidekey check",
    });
  }
  for (const warning of result.warnings) terminal.note(`warning: ${formatProblem(warning)}`);
  return result.config;
};
