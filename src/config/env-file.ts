/**
 * `.env` files, the only user of dotenv. There is no standard for them, and programs read many a line differently; for a
 * key that means that a wrong one is stored and nobody knows. So dotenv reads the values, and a line that other programs
 * read otherwise is a problem, not a guess. No reason given here holds any part of a line: what stands in it may be a key.
 */
import { parse } from "dotenv";

export interface EnvEntry {
  readonly name: string;
  /** Without its quotes. */
  readonly value: string;
  /** Its first, from 1. */
  readonly line: number;
  /** Where the value stands in the text, quotes included: `[start, end)`. */
  readonly start: number;
  readonly end: number;
}

export interface EnvProblem {
  readonly line: number;
  /** After `line 3`: `has no closing quote`. */
  readonly reason: string;
}

export interface EnvFile {
  /** What `start` and `end` count in: the file without a byte order mark. */
  readonly text: string;
  /** In the order of the file, each name once. Not to be used when there are problems. */
  readonly entries: readonly EnvEntry[];
  /** The same name with the same value once more, in other lines. */
  readonly repeats: readonly EnvEntry[];
  readonly problems: readonly EnvProblem[];
}

/** In bytes; more is no `.env` file. */
export const MAX_ENV_BYTES = 1024 * 1024;
const MAX_ENTRIES = 1000;

/** Reads what a `.env` file holds; with problems where its reading would be a guess. */
export const readEnvFile = (bytes: Buffer): EnvFile => {
  const text = decode(bytes);
  if (typeof text !== "string") return { text: "", entries: [], repeats: [], problems: [text] };
  const entries = new Map<string, EnvEntry>();
  const repeats: EnvEntry[] = [];
  const problems: EnvProblem[] = [];
  for (const found of statementsOf(text)) {
    if ("reason" in found) problems.push(found);
    else {
      const known = entries.get(found.name);
      if (known === undefined) entries.set(found.name, found);
      else if (known.value === found.value) repeats.push(found);
      else problems.push({ line: found.line, reason: `gives another value to what line ${known.line} names already` });
    }
    if (entries.size > MAX_ENTRIES) {
      problems.push({ line: found.line, reason: `goes beyond ${MAX_ENTRIES} names: this is no .env file` });
      break;
    }
  }
  const list = [...entries.values()];
  if (problems.length === 0) problems.push(...otherwiseAsAWhole(text, list));
  return { text, entries: list, repeats, problems };
};

const decode = (bytes: Buffer): string | EnvProblem => {
  if (bytes.length > MAX_ENV_BYTES) return { line: 1, reason: "begins a file of over 1 MiB: this is no .env file" };
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return { line: 1, reason: "begins a file in UTF-16; save it as UTF-8" };
  }
  try {
    // A byte order mark is dropped.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { line: 1, reason: "begins a file that is not UTF-8; save it as UTF-8" };
  }
};

const BLANK = /[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|$)/y;
const LINE_END = /\r\n?|\n/y;
const REST = /[^\r\n]*/y;
const HEAD = /[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.-]+)[ \t]*=[ \t]*/y;
const AFTER_QUOTE = /[ \t]*(?:[ \t]#[^\r\n]*)?(?=[\r\n]|$)/y;
/** What shells, Compose and python-dotenv take for a variable of their own. */
const EXPANSION = /\$[A-Za-z_{($]/;

function* statementsOf(text: string): Generator<EnvEntry | EnvProblem> {
  let at = 0;
  let line = 1;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text) ?? undefined;
    if (found !== undefined) at = pattern.lastIndex;
    return found;
  };
  for (;;) {
    const first = line;
    if (take(BLANK) === undefined) {
      const from = at;
      const [, name] = take(HEAD) ?? [];
      const token = name === undefined ? "is not NAME=VALUE" : valueAt(text, at);
      if (typeof token === "string") yield { line: first, reason: token };
      else {
        const { start, end } = token;
        at = end;
        // Looked for as its own: a name like __proto__ makes none.
        const read = new Map(Object.entries(parse(text.slice(from, end))));
        const value = read.get(name ?? "");
        if (value === undefined || read.size > 1) yield { line: first, reason: "cannot be read" };
        else yield { name: name ?? "", value, line: first, start, end };
      }
      line += text.slice(from, at).match(/\r\n?|\n/g)?.length ?? 0;
      take(REST);
    }
    if (take(LINE_END) === undefined) return;
    line += 1;
  }
}

interface Token {
  readonly start: number;
  readonly end: number;
}

/** The value that begins at `start`, or why it is none that every program would read alike. */
const valueAt = (text: string, start: number): Token | string => {
  const quote = text.charAt(start);
  if (quote === "`") return "has a value in backticks, which few programs know; use single quotes";
  return quote === '"' || quote === "'" ? quotedAt(text, start, quote) : bareAt(text, start);
};

const quotedAt = (text: string, start: number, quote: string): Token | string => {
  let end = start + 1;
  while (end < text.length && text[end] !== quote) end += text[end] === "\\" ? 2 : 1;
  if (end >= text.length) return "has no closing quote";
  const inner = text.slice(start + 1, end);
  end += 1;
  AFTER_QUOTE.lastIndex = end;
  if (!AFTER_QUOTE.test(text)) return "goes on after its closing quote";
  if (quote === "'") {
    return /\\[\\']/.test(inner)
      ? "has \\\\ or \\' in single quotes, which programs read differently; use 'sidekey secret set'"
      : { start, end };
  }
  if (inner.includes("\\"))
    return "has a backslash in double quotes, which programs read differently; use single quotes";
  return EXPANSION.test(inner) ? "has a $ that some programs expand; use single quotes" : { start, end };
};

const bareAt = (text: string, start: number): Token | string => {
  REST.lastIndex = start;
  const [rest = ""] = REST.exec(text) ?? [];
  const hash = rest.indexOf("#");
  // After the white space behind `=` a comment is one, and the value is empty.
  const before = hash > 0 ? rest.charAt(hash - 1) : text.charAt(start - 1);
  if (hash !== -1 && before !== " " && before !== "\t") {
    return "has a # right behind other characters, where only some programs see a comment; use single quotes";
  }
  const value = (hash === -1 ? rest : rest.slice(0, hash)).replace(/[ \t]+$/, "");
  if (value !== value.trim()) return "has unusual white space around its value; remove it, or use single quotes";
  if (EXPANSION.test(value)) return "has a $ that some programs expand; use single quotes";
  return { start, end: start + value.length };
};

/** dotenv on everything at once must find the same: a quote that is open for it alone would swallow the lines after it. */
const otherwiseAsAWhole = (text: string, entries: readonly EnvEntry[]): readonly EnvProblem[] => {
  const lines = entries.map(({ name, start, end }) => `${name}=${text.slice(start, end)}`);
  const whole = new Map(Object.entries(parse(lines.join("\n"))));
  return entries
    .filter(({ name, value }) => whole.get(name) !== value)
    .map(({ line }) => ({ line, reason: "is read differently with the lines around it" }));
};
