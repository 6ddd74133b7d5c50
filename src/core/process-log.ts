/** The process log. The only user of pino; never given header objects, errors' causes or secret values. */
import { type DestinationStream, destination, pino } from "pino";
import type { AdjustableLog, LineFilter, LogFields, LogLevel } from "./log.ts";

export interface LogOptions {
  readonly level: LogLevel;
  /** File descriptor or path; default standard error. */
  readonly to?: number | string;
}

export const createLog = ({ level, to = 2 }: LogOptions): AdjustableLog & LineFilter => {
  let filter = (line: string): string => line;
  const stream: DestinationStream = destination({
    dest: to,
    sync: true,
    ...(typeof to === "string" && { mode: 0o600 }),
  });
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
