import { describe, expect, it } from "vitest";
import { type ErrorCode, SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createSecretResolver } from "../../../../src/sidecar/secrets/resolver.ts";
import type { SecretMaterial, SecretRef, SecretSource } from "../../../../src/sidecar/secrets/source.ts";

const ref = (overrides: Partial<SecretRef> = {}): SecretRef => ({
  source: "s",
  path: "a/b",
  field: [],
  version: undefined,
  text: "s:a/b",
  ...overrides,
});

const policy = { maxAgeMs: 1000, staleWhileErrorMs: 500 };

const textOf = (material: SecretMaterial): string => material.value.lend((bytes) => bytes.toString("utf8"));

/** A source under the test's control, with a clock that only the test moves. */
const setUp = (versioned = false) => {
  let now = 0;
  let generation = 1;
  let value = "one";
  let failure: ErrorCode | undefined;
  let fetches = 0;
  let gate: Promise<void> | undefined;
  const source: SecretSource = {
    name: "s",
    async fetch() {
      fetches++;
      await gate;
      if (failure !== undefined) throw new SidekeyError(failure);
      return { value: SecretValue.fromText(value) };
    },
    ...(versioned && { generation: () => generation }),
  };
  const clock = { now: () => now, monotonic: () => now };
  const resolver = createSecretResolver(new Map([["s", source]]), clock);
  return {
    resolve: async (r = ref()) => textOf(await resolver.resolve(r, "agent", policy)),
    resolver,
    advance: (ms: number) => (now += ms),
    set: (text: string) => {
      value = text;
      generation++;
    },
    fail: (code: ErrorCode | undefined) => (failure = code),
    hold: (until: Promise<void>) => (gate = until),
    get fetches() {
      return fetches;
    },
  };
};

describe("the secret cache", () => {
  it("answers a fresh value without a promise, and fetches again after max_age", async () => {
    const t = setUp();
    expect(await t.resolve()).toBe("one");
    expect(t.resolver.resolve(ref(), "agent", policy)).not.toBeInstanceOf(Promise);
    t.set("two");
    t.advance(999);
    expect(await t.resolve()).toBe("one");
    t.advance(1);
    expect(await t.resolve()).toBe("two");
    expect(t.fetches).toBe(2);
  });

  it("makes one fetch for a thousand cold requests", async () => {
    const t = setUp();
    const all = await Promise.all(Array.from({ length: 1000 }, () => t.resolve()));
    expect(new Set(all)).toEqual(new Set(["one"]));
    expect(t.fetches).toBe(1);
  });

  it("drops every value when the source's generation moves", async () => {
    const t = setUp(true);
    await t.resolve();
    t.set("two");
    expect(await t.resolve()).toBe("two");
  });

  it("keeps the old value through an outage for stale_while_error and not a moment longer", async () => {
    const t = setUp();
    await t.resolve();
    t.fail("SOURCE_UNAVAILABLE");
    t.advance(1499);
    expect(await t.resolve()).toBe("one");
    t.advance(1);
    await expect(t.resolve()).rejects.toMatchObject({ code: "SOURCE_UNAVAILABLE" });
    t.advance(-1000);
    await expect(t.resolve()).rejects.toMatchObject({ code: "SOURCE_UNAVAILABLE" });
  });

  it.each(["SOURCE_SECRET_MISSING", "SOURCE_FORBIDDEN", "SOURCE_BAD_VALUE"] as const)(
    "does not call %s an outage: the old value is gone",
    async (code) => {
      const t = setUp();
      await t.resolve();
      t.fail(code);
      t.advance(1000);
      await expect(t.resolve()).rejects.toMatchObject({ code });
    },
  );

  it("caches no failure", async () => {
    const t = setUp();
    t.fail("SOURCE_UNAVAILABLE");
    await expect(t.resolve()).rejects.toThrow();
    t.fail(undefined);
    expect(await t.resolve()).toBe("one");
  });
});

describe("a field of a JSON secret", () => {
  const field = (...names: string[]) => ref({ field: names, text: `s:a/b#${names.join(".")}` });

  it("is cut out, also from deeper and from a number", async () => {
    const t = setUp();
    t.set('{"token":"t-1","deep":{"er":"t-2"},"n":7}');
    expect(await t.resolve(field("token"))).toBe("t-1");
    expect(await t.resolve(field("deep", "er"))).toBe("t-2");
    expect(await t.resolve(field("n"))).toBe("7");
  });

  it.each([
    ["not JSON", "canary-not-json"],
    ["no such field", '{"other":"canary"}'],
    ["an inherited name", '{"x":"canary"}', "toString"],
    ["an object", '{"token":{"canary":1}}'],
    ["empty", '{"token":""}'],
    ["a line break inside", '{"token":"canary\\nsecond"}'],
  ])("that is %s is refused without a word of the value", async (_name, value, name = "token") => {
    const t = setUp();
    t.set(value);
    const error = await t.resolve(field(name)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SidekeyError);
    expect(String(error) + (error as Error).stack).not.toContain("canary");
    expect((error as SidekeyError).code).toMatch(/^SOURCE_/);
  });
});
