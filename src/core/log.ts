/** What a log is to everything that writes one. Never given header objects, errors' causes or secret values. */

export type LogLevel = "error" | "warn" | "info" | "debug";

/** Fields are names, numbers and codes; nothing from a request but what the audit may hold too. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

/** A log whose level can change while it is in use. */
export interface AdjustableLog extends Log {
  setLevel(level: LogLevel): void;
}

/** A log that can look at a line before it leaves. */
export interface LineFilter {
  /** `filter`: the whole line with its newline, to what is written instead. One at a time: the last that was given. */
  filterLines(filter: (line: string) => string): void;
}

export const hasLineFilter = (log: Log): log is Log & LineFilter => "filterLines" in log;

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {} };
