/**
 * The values that are in memory now, so that no log line can hold one (guarantees.md O4, G1). It keeps no secret alive: a
 * value that nobody uses any more is forgotten with its last user, and so is what was compiled to look for it.
 */
import type { SecretValue } from "../../core/secret-value.ts";
import type { Matcher } from "../scrub/matcher.ts";
import { createRedaction } from "../scrub/redaction.ts";
import { scrubValue } from "../scrub/scrubber.ts";

export interface LiveValues {
  add(value: SecretValue): void;
  /** One that is there as long as the process: a credential of ours. */
  keep(value: SecretValue): void;
  /** A line of JSON without the values; the line itself when it holds none. Values under 4 bytes are not looked for. */
  redact(line: string): string;
}

/** References to look through for those that lead nowhere. */
const MIN_SWEEP = 64;

export const createLiveValues = (): LiveValues => {
  const references = new Set<WeakRef<SecretValue>>();
  const kept: SecretValue[] = [];
  const known = new WeakSet<SecretValue>();
  const matchers = new WeakMap<SecretValue, Matcher>();
  let sweepAt = MIN_SWEEP;

  const sweep = (): void => {
    for (const reference of references) if (reference.deref() === undefined) references.delete(reference);
    sweepAt = Math.max(MIN_SWEEP, references.size * 2);
  };

  const matcherOf = (value: SecretValue): Matcher => {
    let matcher = matchers.get(value);
    if (matcher === undefined) {
      matcher = value.lend((bytes) => createRedaction([bytes]));
      matchers.set(value, matcher);
    }
    return matcher;
  };

  /** Undefined: it holds none. */
  const clean = (text: string): string | undefined => {
    let bytes: Buffer = Buffer.from(text, "utf8");
    let isChanged = false;
    for (const reference of references) {
      const value = reference.deref();
      const found = value === undefined ? undefined : scrubValue(matcherOf(value), bytes);
      if (found === undefined) continue;
      bytes = found;
      isChanged = true;
    }
    return isChanged ? bytes.toString("utf8") : undefined;
  };

  const add = (value: SecretValue): void => {
    if (known.has(value)) return;
    known.add(value);
    references.add(new WeakRef(value));
    if (references.size >= sweepAt) sweep();
  };

  return {
    add,
    keep(value) {
      kept.push(value);
      add(value);
    },
    redact(line) {
      if (references.size === 0) return line;
      const cleaned = clean(line);
      if (cleaned === undefined) return line;
      return redactMembers(line, clean) ?? `${cleaned.trimEnd()}\n`;
    },
  };
};

/** In the values of the line's members: what a secret has in common with its syntax says nothing. Undefined: no JSON. */
const redactMembers = (line: string, clean: (text: string) => string | undefined): string | undefined => {
  try {
    const parsed: unknown = JSON.parse(line);
    const redacted = JSON.stringify(parsed, (_key, member: unknown) => {
      if (typeof member === "string") return clean(member) ?? member;
      if (typeof member === "number") return clean(String(member)) ?? member;
      return member;
    });
    return `${redacted}\n`;
  } catch {
    return undefined;
  }
};
