/**
 * Bodies as JSON that has one meaning: what two readers would read differently (a name twice, bytes that are no UTF-8), what
 * means something to JavaScript's objects, and what is nested deeper than anything of ours is refused. Pure. Must never
 * put any part of a body into an error.
 */

const MAX_DEPTH = 16;
/** Names and openings of one body, and separators in it: more than any call of ours has use for. */
const MAX_SIGNS = 20_000;

/** Not one value that reads in one way: the reader is told nothing more, since a value may be a secret. */
export class BadJson extends Error {
  override readonly name = "BadJson";
}

/** Names that mean something to JavaScript's objects. */
const POISONED: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Undefined for no bytes at all. Throws BadJson. */
export const parseJsonBody = (bytes: Buffer): unknown => {
  if (bytes.length === 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new BadJson("not UTF-8");
  }
  // First, since the parser makes an object of whatever it is given, and everybody else waits meanwhile.
  checkStructure(text);
  try {
    return JSON.parse(text);
  } catch {
    throw new BadJson("not JSON");
  }
};

/**
 * Strings and signs of structure; numbers and words are passed over, and what is no JSON at all is for the parser to say.
 * By hand: a regular expression that matches a string of some megabytes needs more stack than there is.
 */
const checkStructure = (text: string): void => {
  /** One for each open object or list; a list's stays empty. */
  const open: Set<string>[] = [];
  let signs = 0;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (sign === '"') {
      const end = endOfString(text, at);
      if (isName(text, end + 1)) checkName(nameOf(text.slice(at, end + 1)), open.at(-1));
      at = end;
      continue;
    }
    if (sign === "{" || sign === "[") {
      open.push(new Set());
      if (open.length > MAX_DEPTH) throw new BadJson("too deep");
    } else if (sign === "}" || sign === "]") open.pop();
    else if (sign !== ",") continue;
    signs += 1;
    if (signs > MAX_SIGNS) throw new BadJson("too many parts");
  }
};

/** Where the string that begins at `start` ends; the text's length where it does not. */
const endOfString = (text: string, start: number): number => {
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === '"') return at;
  }
  return text.length;
};

const isName = (text: string, from: number): boolean => {
  let at = from;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t") at += 1;
  return text[at] === ":";
};

const nameOf = (quoted: string): string => {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    throw new BadJson("a name that is no string");
  }
};

const checkName = (name: string, names: Set<string> | undefined): void => {
  if (POISONED.has(name) || names?.has(name) === true) throw new BadJson("a name twice, or one that is refused");
  names?.add(name);
};
