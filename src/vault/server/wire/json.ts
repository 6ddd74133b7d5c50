/**
 * Bodies as JSON that has one meaning: what two readers would read differently (a name twice, bytes that are no UTF-8), what
 * means something to JavaScript's objects, and what is nested deeper than anything of ours is refused. Pure. Must never
 * put any part of a body into an error.
 */

const MAX_DEPTH = 16;

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
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new BadJson("not JSON");
  }
  checkStructure(text);
  return value;
};

/** One string, or one sign of structure; numbers and words are passed over. The text is JSON, so no more has to be known. */
const SIGN = /"((?:[^"\\]|\\.)*)"(\s*:)?|[{}[\]]/g;

const checkStructure = (text: string): void => {
  /** One for each open object or list; a list's stays empty. */
  const open: Set<string>[] = [];
  for (const [sign, inner = "", colon] of text.matchAll(SIGN)) {
    if (sign === "{" || sign === "[") {
      open.push(new Set());
      if (open.length > MAX_DEPTH) throw new BadJson("too deep");
    } else if (sign === "}" || sign === "]") open.pop();
    else if (colon !== undefined)
      checkName(inner.includes("\\") ? String(JSON.parse(`"${inner}"`)) : inner, open.at(-1));
  }
};

const checkName = (name: string, names: Set<string> | undefined): void => {
  if (POISONED.has(name) || names?.has(name) === true) throw new BadJson("a name twice, or one that is refused");
  names?.add(name);
};
