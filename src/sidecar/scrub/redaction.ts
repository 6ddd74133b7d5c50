/**
 * What a route's responses are searched for, compiled once per set of secret versions. Nothing here is logged or shown:
 * a matcher holds the secrets in all their spellings.
 */
import { formsOf } from "./forms.ts";
import { compileMatcher, type Matcher } from "./matcher.ts";

/** Compiles the forms of all values: secrets, and what was derived from them. The bytes are copied. */
export const createRedaction = (values: readonly Buffer[]): Matcher => {
  const forms = new Map<string, Buffer>();
  for (const value of values) for (const form of formsOf(value)) forms.set(form.toString("latin1"), form);
  return compileMatcher([...forms.values()]);
};

export interface RedactionCache {
  /** The matcher of `secrets`, made from `values()` the first time. */
  get(secrets: object, values: () => readonly Buffer[]): Matcher;
  /**
   * For what takes the place of this cache's route: it looks for the same a while longer, since all of it went over the
   * wire and may still come back.
   */
  successor(): RedactionCache;
}

/** Time, and how long a cache's values are looked for by its successors. `ms` */
export interface RedactionTerms {
  readonly now: () => number;
  readonly keepMs: number;
}

interface Former {
  readonly bytes: Buffer;
  /** By `now`. */
  readonly until: number;
}

/** Each costs at every compilation; the newest are kept, and of the route before all, however many secrets it has. */
const MAX_FORMER = 32;

const FOR_EVER: RedactionTerms = { now: () => 0, keepMs: 1 };

/** Keeps a matcher exactly as long as the secrets it was made for. */
export const createRedactionCache = (
  terms: RedactionTerms = FOR_EVER,
  former: readonly Former[] = [],
): RedactionCache => {
  const matchers = new WeakMap<object, Matcher>();
  /** What the last matcher was made for. */
  let own: readonly Buffer[] = [];
  const lasting = (): readonly Former[] => former.filter(({ until }) => until > terms.now());
  return {
    get(secrets, values) {
      const known = matchers.get(secrets);
      if (known !== undefined) return known;
      own = values();
      const matcher = createRedaction([...own, ...lasting().map(({ bytes }) => bytes)]);
      matchers.set(secrets, matcher);
      return matcher;
    },
    successor() {
      const until = terms.now() + terms.keepMs;
      const all = [...own.map((bytes) => ({ bytes, until })), ...lasting()];
      const distinct = new Map(all.reverse().map((one) => [one.bytes.toString("latin1"), one]));
      return createRedactionCache(terms, [...distinct.values()].reverse().slice(0, Math.max(MAX_FORMER, own.length)));
    },
  };
};
