/** How much is logged: `--log-level`, else $SIDEKEY_LOG_LEVEL, else the file. */
import { SidekeyError } from "../core/errors.ts";
import type { LogLevel } from "../core/log.ts";
import type { Invocation } from "./command.ts";

const LOG_LEVEL_VARIABLE = "SIDEKEY_LOG_LEVEL";
export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const satisfies readonly LogLevel[];

/** Errors: CONFIG_USAGE for a word that is no level. */
export const logLevel = (
  { options, environment }: Pick<Invocation, "options" | "environment">,
  file: LogLevel,
): LogLevel => {
  const wanted = options.text("log-level") ?? environment[LOG_LEVEL_VARIABLE] ?? "";
  if (wanted === "") return file;
  const level = LOG_LEVELS.find((known) => known === wanted);
  if (level !== undefined) return level;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `${LOG_LEVEL_VARIABLE} is none of ${LOG_LEVELS.join(", ")}.`,
    hint: `Unset it, or: ${LOG_LEVEL_VARIABLE}=info`,
  });
};
