/**
 * The only door to `yaml`: one YAML 1.2 document to plain data, with the position of every key. What a configuration
 * file has no use for is refused (anchors, aliases, tags, directives, merge keys, a second document), since each is a
 * way to make a file mean something else than it seems to. Never throws, never puts a value into a message, and returns
 * maps without a prototype.
 */
import {
  Composer,
  CST,
  type Document,
  type ErrorCode,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type ParsedNode,
  Parser,
} from "yaml";
import type { Finding, KeyPath, Position } from "./problem.ts";

/** `bytes` */
export const MAX_FILE_SIZE = 1024 * 1024;
const MAX_DEPTH = 32;
/** Several thousand routes; what a parser does with 1 MiB of single characters takes seconds. */
const MAX_LEXEMES = 250_000;
const MAX_FLAWS = 100;

export interface Flaw extends Finding {
  readonly position: Position;
}

export interface ConfigDocument {
  /** Null-prototype maps, arrays, text, numbers, booleans, null; undefined where nothing could be read. */
  readonly value: unknown;
  readonly flaws: readonly Flaw[];
  /** Syntax so wrong that `value` says nothing about the file. */
  readonly isBroken: boolean;
  /** Where the key (or list item) at `path` stands; for a path that isn't there, its nearest parent. */
  locate(path: KeyPath): Position;
}

/** Where things stand, in the shape of the data. Offsets in UTF-16 units. */
interface Place {
  readonly offset: number;
  readonly children: Map<string | number, Place>;
}

export const parseConfigDocument = (source: string): ConfigDocument => {
  const text = source.startsWith("\ufeff") ? source.slice(1) : source;
  const lines = new LineCounter();
  lines.addNewLine(0);
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const flaws: Flaw[] = [];
  const flaw = (offset: number, message: string, hint?: string, path: KeyPath = []): void => {
    if (flaws.length >= MAX_FLAWS) return;
    flaws.push({ position: position(offset), path, message, ...(hint !== undefined && { hint }) });
  };
  const broken = (): ConfigDocument => ({ value: undefined, flaws, isBroken: true, locate: () => position(0) });

  if (Buffer.byteLength(text) > MAX_FILE_SIZE) {
    flaw(0, "the file is larger than 1 MiB");
    return broken();
  }
  const control = text.search(CONTROL);
  if (control !== -1) {
    countLines(text, lines);
    flaw(control, "the file holds a control character", "Write it as an escape in double quotes, or remove it.");
    return broken();
  }
  const tokens = readTokens(text, lines, flaw);
  if (tokens === undefined) return broken();

  const { document, stray, next } = compose(tokens, text.length);
  if (next !== undefined) flaw(next, "a second document begins here", "One file is one document: remove the '---'.");
  const errors = [...stray, ...document.errors].filter(({ code }) => !REPORTED_BEFORE.has(code));
  for (const { code, pos } of errors) flaw(pos[0], SYNTAX[code] ?? "this is not valid YAML");
  if (errors.length > 0) return broken();

  const root: Place = { offset: document.contents?.range?.[0] ?? 0, children: new Map() };
  const value = toPlain(document.contents, [], root, flaw);
  const locate = (path: KeyPath): Position => {
    let place = root;
    for (const part of path) {
      const next = place.children.get(part);
      if (next === undefined) break;
      place = next;
    }
    return position(place.offset);
  };
  return { value, flaws, isBroken: false, locate };
};

type ReportFlaw = (offset: number, message: string, hint?: string, path?: KeyPath) => void;

// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/** What the token says about the file, and how else to write it. */
const REFUSED_TOKENS: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  anchor: ["anchors are not used here", "Write the value where it is needed; text with '&' in front goes in quotes."],
  alias: ["aliases are not used here", "Write the value where it is needed; text with '*' in front goes in quotes."],
  tag: ["tags are not used here", "Remove the tag; text with '!' in front goes in quotes."],
  "directive-line": ["directives are not used here", "Remove the line that begins with '%'."],
};

/**
 * Tokens of the file, or undefined when it has too many or is nested too deeply. Feeds the parser one lexeme at a time: its own loop
 * takes 11 s for 1 MiB of brackets, and the composer behind it recurses.
 */
const readTokens = (text: string, lines: LineCounter, flaw: ReportFlaw): CST.Token[] | undefined => {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  let isContent = false;
  let left = MAX_LEXEMES;
  for (const lexeme of new Lexer().lex(text)) {
    const offset = parser.offset;
    if (--left < 0) {
      flaw(offset, "the file has too many parts");
      return undefined;
    }
    const refused = isContent ? undefined : REFUSED_TOKENS[CST.tokenType(lexeme) ?? ""];
    isContent = lexeme === CST.SCALAR;
    if (refused !== undefined) flaw(offset, ...refused);
    for (const token of parser.next(lexeme)) tokens.push(token);
    // The document itself is the first on the stack; what is no collection can only be the last.
    const depth = parser.stack.length - (CST.isCollection(parser.stack.at(-1)) ? 1 : 2);
    if (depth > MAX_DEPTH) {
      flaw(offset, `the file is nested more than ${MAX_DEPTH} levels deep`);
      return undefined;
    }
  }
  for (const token of parser.end()) tokens.push(token);
  return tokens;
};

interface Composed {
  readonly document: Document.Parsed;
  /** Errors that belong to no document. */
  readonly stray: Document.Parsed["errors"];
  /** Offset of a second document. */
  readonly next: number | undefined;
}

const compose = (tokens: readonly CST.Token[], length: number): Composed => {
  // Duplicates are found below: the composer's own search is quadratic. Its messages quote the file, so none is used.
  const composer = new Composer({ uniqueKeys: false, stringKeys: true, prettyErrors: false, logLevel: "silent" });
  let document: Document.Parsed | undefined;
  let next: number | undefined;
  for (const one of composer.compose(tokens, true, length)) {
    if (document === undefined) document = one;
    else next ??= one.range[0];
  }
  if (document === undefined) throw new TypeError("the composer was told to make a document");
  return { document, stray: composer.streamInfo().errors, next };
};

/** Consequences of tokens that were refused already. */
const REPORTED_BEFORE: ReadonlySet<ErrorCode> = new Set([
  "ALIAS_PROPS",
  "BAD_ALIAS",
  "BAD_DIRECTIVE",
  "MULTIPLE_ANCHORS",
  "MULTIPLE_TAGS",
  "TAG_RESOLVE_FAILED",
]);

/** Own words for the parser's errors. */
const SYNTAX: { readonly [Code in ErrorCode]?: string } = {
  BAD_DQ_ESCAPE: "this escape is not known in double quotes",
  BAD_INDENT: "this line's indentation fits nothing above it",
  BAD_SCALAR_START: "text cannot begin with this character; put it in quotes",
  BLOCK_AS_IMPLICIT_KEY: "two keys stand on one line; put the text in quotes or on its own line",
  BLOCK_IN_FLOW: "this form cannot stand inside braces or brackets",
  KEY_OVER_1024_CHARS: "this key is too long",
  MISSING_CHAR: "a closing quote, bracket, brace, comma or colon is missing",
  MULTILINE_IMPLICIT_KEY: "a key must stand on one line, with its colon",
  NON_STRING_KEY: "a key must be text",
  TAB_AS_INDENT: "tabs cannot indent; use spaces",
  UNEXPECTED_TOKEN: "this is not expected here",
};

/** Keys that mean something to JavaScript objects; none is a key of the file. */
const POISONED: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Recursion is bounded by MAX_DEPTH. */
const toPlain = (node: ParsedNode | null, path: KeyPath, place: Place, flaw: ReportFlaw): unknown => {
  if (isScalar(node)) return node.value;
  if (isSeq(node)) {
    return node.items.map((item, index) => {
      const offset = (item as ParsedNode).range[0];
      const child: Place = { offset, children: new Map() };
      place.children.set(index, child);
      return toPlain(item as ParsedNode, [...path, index], child, flaw);
    });
  }
  if (!isMap(node)) return undefined;
  const map: Record<string, unknown> = Object.create(null);
  for (const { key, value } of node.items as readonly { key: ParsedNode; value: ParsedNode | null }[]) {
    const offset = key.range[0];
    const name = isScalar(key) && typeof key.value === "string" ? key.value : undefined;
    if (name === undefined || name === "") {
      flaw(offset, "a key must be text", undefined, path);
    } else if (POISONED.has(name)) {
      flaw(offset, "this name is not allowed as a key", undefined, [...path, name]);
    } else if (name === "<<") {
      flaw(offset, "merge keys are not used here", "Write the keys where they are needed.", [...path, name]);
    } else if (place.children.has(name)) {
      flaw(offset, "this key is written twice", "Keep one of the two.", [...path, name]);
    } else {
      const child: Place = { offset, children: new Map() };
      place.children.set(name, child);
      map[name] = toPlain(value, [...path, name], child, flaw);
    }
  }
  return map;
};

/** Line starts of the whole text, for a position before anything is parsed. */
const countLines = (text: string, lines: LineCounter): void => {
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines.addNewLine(at + 1);
};
