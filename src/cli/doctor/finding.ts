/** What `doctor` found: one line each, with the next step where there is one. Never a value of a secret. */
import type { SidekeyError } from "../../core/errors.ts";

/** `info`: nothing to mend, good to know. */
export type Level = "ok" | "info" | "warn" | "fail";

export interface Finding {
  readonly level: Level;
  /** A word or two: `state directory`, `listen.proxy`. */
  readonly what: string;
  readonly text: string;
  /** What to type, or to change. */
  readonly hint?: string;
}

export const finding = (level: Level, what: string, text: string, hint?: string): Finding =>
  hint === undefined ? { level, what, text } : { level, what, text, hint };

/** A failure as a finding: its detail says where, and is enough on a line of its own. */
export const failed = (what: string, { code, message, detail, hint }: SidekeyError): Finding =>
  finding("fail", what, (code === "INTERNAL" ? message : (detail ?? message)).trim(), hint);
