/** What `doctor` found: one line each, with the next step where there is one. Never a value of a secret. */
import { isSidekeyError, type SidekeyError } from "../../core/errors.ts";
import { systemCode } from "../../core/whole-file.ts";

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

/** What a check found; when it cannot even look, that is what it found, and the others go on. */
export const looking = async (
  what: string,
  check: () => readonly Finding[] | Promise<readonly Finding[]>,
): Promise<readonly Finding[]> => {
  try {
    return await check();
  } catch (error) {
    if (isSidekeyError(error)) return [failed(what, error)];
    const code = systemCode(error);
    // A fault of ours must not look like one of the machine's.
    if (!/^E[A-Z]+$/.test(code)) throw error;
    const path = error instanceof Error && "path" in error ? ` at ${String(error.path)}` : "";
    return [
      finding("fail", what, `cannot be looked at (${code}${path})`, "Run this as the user that sidekey runs as."),
    ];
  }
};
