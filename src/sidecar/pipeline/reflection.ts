/**
 * What a route does when an upstream sends the credential back: `redact` it and go on, `withhold` the response, or
 * `close` the route once it happens too often. Whatever it does, no byte of the credential passes.
 */
import type { SecretBundle } from "../secrets/bundle.ts";

export type ReflectionPolicy = "redact" | "withhold" | "close";

/** Responses that may hold the credential within an hour before a route under `close` refuses. */
export const MAX_REFLECTIONS = 10;
const HOUR_MS = 3_600_000;

export interface ReflectionLimit {
  /** A response held the credential; false: one too many, it must not be delivered. `ms`, monotonic. */
  note(now: number): boolean;
  /** Nothing may be sent on this route now. `ms`, monotonic. */
  isClosed(now: number): boolean;
}

export const createReflectionLimit = (): ReflectionLimit => {
  /** When each of the last hour was; never more than allowed. */
  let times: number[] = [];
  const isClosed = (now: number): boolean => {
    if (times.length < MAX_REFLECTIONS) return false;
    times = times.filter((time) => now - time < HOUR_MS);
    return times.length >= MAX_REFLECTIONS;
  };
  return {
    isClosed,
    note(now) {
      if (isClosed(now)) return false;
      times = [...times.filter((time) => now - time < HOUR_MS), now];
      return true;
    },
  };
};

/** One route's rules for it. */
export interface ReflectionRules {
  /** As written; undefined: `close` for a secret that can be guessed, else `redact`. */
  readonly written: ReflectionPolicy | undefined;
  readonly limit: ReflectionLimit;
  /** Whether a secret, or what is made of it, can be guessed. Not fast: asked once a secret was reflected. */
  isGuessable(secrets: SecretBundle): boolean;
}

export const reflectionPolicy = (rules: ReflectionRules, secrets: SecretBundle | undefined): ReflectionPolicy => {
  if (rules.written !== undefined) return rules.written;
  return secrets !== undefined && rules.isGuessable(secrets) ? "close" : "redact";
};
