import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import {
  createReflectionLimit,
  MAX_REFLECTIONS,
  type ReflectionPolicy,
  reflectionPolicy,
} from "../../../../src/sidecar/pipeline/reflection.ts";

const HOUR = 3_600_000;

describe("a route's reflections", () => {
  it("are ten in any hour, and then none until the first of them is an hour old", () => {
    const limit = createReflectionLimit();
    for (let n = 0; n < MAX_REFLECTIONS; n++) {
      expect(limit.isClosed(n * 1000)).toBe(false);
      expect(limit.note(n * 1000)).toBe(true);
    }
    expect(limit.isClosed(9_000)).toBe(true);
    expect(limit.note(9_000)).toBe(false);
    expect(limit.isClosed(HOUR - 1)).toBe(true);
    // One is allowed again, not ten.
    expect(limit.isClosed(HOUR)).toBe(false);
    expect(limit.note(HOUR)).toBe(true);
    expect(limit.isClosed(HOUR + 999)).toBe(true);
    expect(limit.isClosed(HOUR + 1000)).toBe(false);
  });

  it("that come slowly never close it", () => {
    const limit = createReflectionLimit();
    for (let n = 0; n < 100; n++) expect(limit.note(n * (HOUR / MAX_REFLECTIONS))).toBe(true);
  });
});

describe("what a route does with one", () => {
  const secrets = {
    materials: [{ value: SecretValue.fromText("x") }],
    secret: "env:X",
    version: undefined,
    agent: undefined,
  };
  const policy = (written: ReflectionPolicy | undefined, guessable: boolean): ReflectionPolicy =>
    reflectionPolicy({ written, limit: createReflectionLimit(), isGuessable: () => guessable }, secrets);

  it("is what is written, else close for what can be guessed and redact for the rest", () => {
    expect(policy("redact", true)).toBe("redact");
    expect(policy("withhold", true)).toBe("withhold");
    expect(policy("close", false)).toBe("close");
    expect(policy(undefined, true)).toBe("close");
    expect(policy(undefined, false)).toBe("redact");
  });
});
