/** A file that is written only where there is none. */
import { randomUUID } from "node:crypto";
import { linkSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
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

/** A draft lives for milliseconds. One that is older was left by a command that was killed. `ms` */
const OLD_MS = 60_000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Removes what commands that were killed left beside `path`: a draft of a `.env` file holds what that file holds, and no
 * .gitignore knows it. Plain files of this user alone, by the very names that drafts have.
 */
export const removeOldDrafts = (path: string, now: number): void => {
  const directory = dirname(path);
  const beginning = `${basename(path)}.`;
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    // Whoever writes there says what is wrong with it.
    return;
  }
  for (const name of names) {
    if (!name.startsWith(beginning) || !UUID.test(name.slice(beginning.length))) continue;
    const draft = join(directory, name);
    const found = lstatSync(draft, { throwIfNoEntry: false });
    if (found?.isFile() !== true || found.uid !== process.getuid?.() || now - found.mtimeMs < OLD_MS) continue;
    rmSync(draft, { force: true });
  }
};

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "unknown");
