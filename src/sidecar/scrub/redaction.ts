/**
 * What a route's responses are searched for, compiled once per set of secret versions. Nothing here is logged or shown:
 * a matcher holds the secrets in all their spellings.
 */
import { formsOf } from "./forms.ts";
import { compileMatcher, eitherMatcher, type Matcher } from "./matcher.ts";

/** Compiles the forms of all values: secrets, and what was derived from them. The bytes are copied. */
export const createRedaction = (values: readonly Buffer[]): Matcher => {
  const distinct = new Map(values.map((value) => [value.toString("latin1"), value])).values();
  const forms = new Map<string, Buffer>();
  for (const value of distinct) for (const form of formsOf(value)) forms.set(form.toString("latin1"), form);
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

/** What was compiled for one set of secrets. */
interface Sent extends Redaction {
  matcher: Matcher;
  readonly values: readonly Buffer[];
  /** When it was last sent, or its route replaced; by `now`. */
  at: number;
  /** Others of the line look for it as well. */
  isListed: boolean;
}

/** A route, through its reloads and with all its placeholders. */
interface Line {
  latest: Matcher;
  /** The oldest first. */
  sent: readonly Sent[];
  /** There are more than are looked for. */
  isFull: boolean;
}

/** Each costs at every compilation; the newest are kept, and of the route before all, however many secrets it has. */
const MAX_FORMER = 32;

const FOR_EVER: RedactionTerms = { now: () => 0, keepMs: 1 };

const createLine = (): Line => ({ latest: createRedaction([]), sent: [], isFull: false });

export const createRedactionCache = (terms: RedactionTerms = FOR_EVER, line: Line = createLine()): RedactionCache => {
  const known = new WeakMap<object, Sent>();

  const compile = (values: readonly Buffer[]): Sent => {
    const now = terms.now();
    const recent = line.sent.filter(({ at }) => at + terms.keepMs > now);
    const { kept, former } = newest(recent);
    const matcher = createRedaction([...values, ...former]);
    for (const one of line.sent) one.isListed = false;
    for (const one of kept) {
      one.isListed = true;
      // What the new one covers is found by it alone, in one pass.
      one.matcher = matcher;
    }
    const made: Sent = { matcher, line, values, at: now, isListed: true };
    line.latest = matcher;
    line.isFull = kept.length < recent.length;
    line.sent = [...kept, made];
    return made;
  };

  return {
    get(secrets, values) {
      const found = known.get(secrets);
      // An agent with many placeholders could have all of them compiled again with each request.
      if (found !== undefined && (found.isListed || line.isFull)) {
        found.at = terms.now();
        return found;
      }
      const made = compile(found?.values ?? values());
      known.set(secrets, made);
      return made;
    },
    sibling: () => createRedactionCache(terms, line),
    successor() {
      const last = line.sent.at(-1);
      if (last !== undefined) last.at = terms.now();
      return createRedactionCache(terms, line);
    },
  };
};

/** As many as have no more values than are kept, each whole; and their values, each once. */
const newest = (sent: readonly Sent[]): { readonly kept: readonly Sent[]; readonly former: readonly Buffer[] } => {
  const former = new Map<string, Buffer>();
  const kept: Sent[] = [];
  for (const one of [...sent].sort((a, b) => a.at - b.at).reverse()) {
    const more = one.values
      .map((bytes) => [bytes.toString("latin1"), bytes] as const)
      .filter(([key]) => !former.has(key));
    if (kept.length > 0 && former.size + more.length > MAX_FORMER) break;
    for (const [key, bytes] of more) former.set(key, bytes);
    kept.unshift(one);
  }
  return { kept, former: [...former.values()] };
};
