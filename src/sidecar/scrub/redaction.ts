/**
 * What a route's responses are searched for, compiled once per set of secret versions. Nothing here is logged or shown:
 * a matcher holds the secrets in all their spellings.
 */
import { formsOf } from "./forms.ts";
import { compileMatcher, eitherMatcher, type Matcher } from "./matcher.ts";

/** Compiles the forms of all values: secrets, and what was derived from them. The bytes are copied. */
export const createRedaction = (values: readonly Buffer[]): Matcher => {
  const forms = new Map<string, Buffer>();
  for (const value of values) for (const form of formsOf(value)) forms.set(form.toString("latin1"), form);
  return compileMatcher([...forms.values()]);
};

/** What the response to one request is searched for. */
export interface Redaction {
  /** Of when it was sent. */
  readonly matcher: Matcher;
  /**
   * What was compiled last for its route. A response may outlive a rotation: from then on the newer secret may come back in
   * it as well. It is compiled before that secret is sent, so what arrived until then needs no second look.
   */
  readonly line: { readonly latest: Matcher };
}

/** All that a response may hold by now. */
export const searchedNow = ({ matcher, line: { latest } }: Redaction): Matcher =>
  matcher === latest ? matcher : eitherMatcher(matcher, latest);

export interface RedactionCache {
  /** What to look for with `secrets`, made from `values()` the first time. */
  get(secrets: object, values: () => readonly Buffer[]): Redaction;
  /** For other secrets of the same route: each looks for what was sent of the others as well. */
  sibling(): RedactionCache;
  /**
   * For what takes the place of this cache's route: it looks for the same a while longer, since all of it went over the
   * wire and may still come back.
   */
  successor(): RedactionCache;
}

/** Time, and how long a value is looked for after it was last sent. `ms` */
export interface RedactionTerms {
  readonly now: () => number;
  readonly keepMs: number;
}

/** A credential that was sent. */
interface SentValue {
  readonly bytes: Buffer;
  /** When last, or when its route was replaced; by `now`. */
  at: number;
  /** Everything that the line sends now is searched for it. */
  isListed: boolean;
}

/** What was compiled for one set of secrets. */
interface Compiled extends Redaction {
  matcher: Matcher;
  readonly values: readonly SentValue[];
}

/** A route, through its reloads and with all its placeholders. */
interface Line {
  latest: Matcher;
  /** Those listed, each once, the oldest first. Not by their text: it would be a string in the heap (F7). */
  sent: readonly SentValue[];
  /** Those that were compiled last. */
  last: readonly SentValue[];
  /** There are more than are looked for. */
  isFull: boolean;
}

/** Each costs at every compilation; the newest are kept, and of the route before all, however many secrets it has. */
const MAX_FORMER = 32;

const FOR_EVER: RedactionTerms = { now: () => 0, keepMs: 1 };

const createLine = (): Line => ({ latest: createRedaction([]), sent: [], last: [], isFull: false });

export const createRedactionCache = (terms: RedactionTerms = FOR_EVER, line: Line = createLine()): RedactionCache => {
  const known = new WeakMap<object, Compiled>();

  const touch = (values: readonly SentValue[]): void => {
    const now = terms.now();
    for (const value of values) value.at = now;
  };

  const compile = (bytes: readonly Buffer[]): Compiled => {
    const now = terms.now();
    const own: SentValue[] = [];
    for (const one of bytes) {
      if (find(own, one) === undefined) own.push(find(line.sent, one) ?? { bytes: one, at: now, isListed: true });
    }
    const recent = line.sent
      .filter((value) => !own.includes(value) && value.at + terms.keepMs > now)
      .sort((a, b) => a.at - b.at);
    const kept = recent.slice(-Math.max(MAX_FORMER, line.last.length));
    for (const value of line.sent) value.isListed = false;
    line.sent = [...kept, ...own];
    for (const value of line.sent) value.isListed = true;
    touch(own);
    line.latest = createRedaction(line.sent.map((value) => value.bytes));
    line.last = own;
    line.isFull = kept.length < recent.length;
    return { matcher: line.latest, line, values: own };
  };

  return {
    get(secrets, values) {
      const found = known.get(secrets);
      if (found !== undefined) {
        const isListed = found.values.every((value) => value.isListed);
        // An agent with many placeholders could have all of them compiled again with each request.
        if (isListed || line.isFull) {
          touch(found.values);
          // One pass finds all.
          if (isListed) found.matcher = line.latest;
          return found;
        }
      }
      const made = compile(found?.values.map(({ bytes }) => bytes) ?? values());
      known.set(secrets, made);
      return made;
    },
    sibling: () => createRedactionCache(terms, line),
    successor() {
      touch(line.last);
      return createRedactionCache(terms, line);
    },
  };
};

const find = (values: readonly SentValue[], bytes: Buffer): SentValue | undefined =>
  values.find((value) => value.bytes.equals(bytes));
