/** The process log. The only user of pino; never given header objects, errors' causes or secret values. */
import { type DestinationStream, destination, pino } from "pino";
import { SidekeyError } from "./errors.ts";
import type { AdjustableLog, LineFilter, LogFields, LogLevel } from "./log.ts";
import { systemCode } from "./whole-file.ts";

export interface LogOptions {
  readonly level: LogLevel;
  /** File descriptor or path; default standard error. */
  readonly to?: number | string;
}

/** Errors: CONFIG_INVALID (its file cannot be opened). */
export const createLog = ({ level, to = 2 }: LogOptions): AdjustableLog & LineFilter => {
  let filter = (line: string): string => line;
  const stream = open(to);
  const logger = pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      // The last step before the write: whatever put it there, it is looked at.
      hooks: { streamWrite: (line) => filter(line) },
    },
    stream,
  );
  const write = (name: LogLevel) => (message: string, fields?: LogFields) => {
    if (fields === undefined) logger[name](message);
    else logger[name](fields, message);
  };
  return {
    error: write("error"),
    warn: write("warn"),
    info: write("info"),
    debug: write("debug"),
    setLevel(wanted) {
      logger.level = wanted;
    },
    filterLines(wanted) {
      filter = wanted;
    },
  };
};

const open = (to: number | string): DestinationStream => {
  if (typeof to === "number") return destination({ dest: to, sync: true });
  try {
    return destination({ dest: to, sync: true, mode: 0o600 });
  } catch (error) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: `The log ${to} cannot be written (${systemCode(error)}).`,
      hint: "It lies in the state directory, which this user has to be able to write: 'state:' in sidekey.yaml.",
      cause: error,
    });
  }
};
