/** The process log. The only user of pino; never given header objects, errors' causes or secret values. */
import { type DestinationStream, destination, pino } from "pino";

export type LogLevel = "error" | "warn" | "info" | "debug";

/** Fields are names, numbers and codes; nothing from a request but what the audit may hold too. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** File descriptor or path; default standard error. */
  readonly to?: number | string;
}

/** A log whose level can change while it is in use. */
export interface AdjustableLog extends Log {
  setLevel(level: LogLevel): void;
}

export const createLog = ({ level, to = 2 }: LogOptions): AdjustableLog => {
  const stream: DestinationStream = destination({
    dest: to,
    sync: true,
    ...(typeof to === "string" && { mode: 0o600 }),
  });
  const logger = pino({ level, base: null, timestamp: () => `,"time":"${new Date().toISOString()}"` }, stream);
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
  };
};

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {} };
