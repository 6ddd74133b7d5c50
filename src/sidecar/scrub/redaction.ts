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
  /** The matcher of `material`, made from `values()` the first time. */
  get(material: object, values: () => readonly Buffer[]): Matcher;
}

/** Keeps a matcher exactly as long as the secret material it was made for. */
export const createRedactionCache = (): RedactionCache => {
  const matchers = new WeakMap<object, Matcher>();
  return {
    get(material, values) {
      const known = matchers.get(material);
      if (known !== undefined) return known;
      const matcher = createRedaction(values());
      matchers.set(material, matcher);
      return matcher;
    },
  };
};
