/**
 * What is wrong with a configuration file, and how a terminal shows it. A problem names places and keys, never a value:
 * the file may hold a secret that somebody pasted (guarantees.md, table I).
 */

/** Keys and list indexes from the root of the document. */
export type KeyPath = readonly (string | number)[];

/** A problem before its place in the file is known. */
export interface Finding {
  readonly path: KeyPath;
  /** One sentence without a full stop; never a value of the file. */
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
}

export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** `routes.github.match[0]`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
}

export interface Position {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

export const createProblem = (file: string, { line, column }: Position, finding: Finding): Problem => ({
  file,
  line,
  column,
  path: formatPath(finding.path),
  message: finding.message,
  ...(finding.hint !== undefined && { hint: finding.hint }),
});

const MAX_KEY = 64;
const PLAIN_KEY = /^[A-Za-z0-9_*-]+$/;

/** Dots between plain keys, brackets around indexes and around keys that are not plain. */
export const formatPath = (path: KeyPath): string => {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === "" ? shorten(part) : `.${shorten(part)}`;
    else text += `[${JSON.stringify(shorten(part))}]`;
  }
  return text;
};

const shorten = (key: string): string => (key.length <= MAX_KEY ? key : `${key.slice(0, MAX_KEY)}…`);

/** In the order of the file. */
export const compareProblems = (a: Problem, b: Problem): number => a.line - b.line || a.column - b.column;

const MAX_INDENT = 24;

/**
 * For a terminal:
 * ```
 * sidekey.yaml:7:5 routes.github.secert: is not a known key
 *   7 |     secert:
 *     |     ^^^^^^
 *   hint: Did you mean 'secret'?
 * ```
 * The line is rebuilt from the key alone, so that no value can appear in it.
 */
export const formatProblem = (problem: Problem): string => {
  const { file, line, column, path, message, hint } = problem;
  const lines = [`${file}:${line}:${column} ${path === "" ? "" : `${path}: `}${message}`];
  const key = lastKey(path);
  if (key !== undefined) {
    const indent = " ".repeat(Math.min(column - 1, MAX_INDENT));
    const number = String(line);
    lines.push(`  ${number} | ${indent}${key.shown}`);
    lines.push(`  ${" ".repeat(number.length)} | ${indent}${"^".repeat(key.marked)}`);
  }
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  return lines.join("\n");
};

const lastKey = (path: string): { readonly shown: string; readonly marked: number } | undefined => {
  const [, bracket, plain] = /(?:\[((?:"(?:[^"\\]|\\.)*")|[0-9]+)\]|(?:^|\.)([^.[\]]+))$/.exec(path) ?? [];
  if (plain !== undefined) return { shown: `${plain}:`, marked: plain.length };
  if (bracket === undefined) return undefined;
  // A list item is shown by its dash alone; a key that needs quotes with them.
  return bracket.startsWith('"') ? { shown: `${bracket}:`, marked: bracket.length } : { shown: "…", marked: 1 };
};
