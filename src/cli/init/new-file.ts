/** A file that is written only where there is none. */
import { randomUUID } from "node:crypto";
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { SidekeyError } from "../../core/errors.ts";

/** Undefined: there is none. Errors: CONFIG_UNREADABLE. */
export const readIfThere = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT") return undefined;
    throw new SidekeyError("CONFIG_UNREADABLE", { detail: `${path} (${code})`, cause });
  }
};

/**
 * Whole or not at all, and never over another: written beside, then linked to its name, which fails when it is taken.
 * `same`: this very text is there already. Errors: CONFIG_UNREADABLE, CONFIG_USAGE.
 */
export const writeNew = (path: string, text: string): "new" | "same" | "other" => {
  const present = readIfThere(path);
  if (present !== undefined) return present === text ? "same" : "other";
  // Not by the process: in a container the next one has the same number, and would take what a killed one left for a file.
  const draft = `${path}.${randomUUID()}`;
  try {
    writeFileSync(draft, text, { flag: "wx", mode: 0o644 });
    linkSync(draft, path);
    return "new";
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "EEXIST") return "other";
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `${path} cannot be written (${code}).`,
      hint: "Name a place where you may write: -c FILE",
      cause,
    });
  } finally {
    rmSync(draft, { force: true });
  }
};

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "unknown");
