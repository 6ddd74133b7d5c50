import { describe, expect, it } from "vitest";
import { type ErrorCode, SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createSecretResolver, type SecretResolver } from "../../../../src/sidecar/secrets/resolver.ts";
import type { ReplacedValue, SecretMaterial, SecretRef, SecretSource } from "../../../../src/sidecar/secrets/source.ts";

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

interface Answer {
  resolve(text: string): void;
  reject(error: unknown): void;
}

/** A source, a clock and timers under the test's control. */
const setUp = (options: { versioned?: boolean; remembers?: boolean; random?: number } = {}) => {
  let now = 0;
  let generation = 1;
  let value = "one";
  let failure: unknown;
  let held: Answer[] | undefined;
  let replaced: readonly ReplacedValue[] = [];
  let notAfter: number | undefined;
  let behind = 0;
  let signal: AbortSignal | undefined;
  const fetchedAt: number[] = [];
  const timers = new Set<{ at: number; act: () => void }>();
  const answer = (text: string): SecretMaterial => ({
    value: SecretValue.fromText(text),
    ...(options.remembers === true && { replaced }),
    ...(notAfter !== undefined && { notAfter }),
  });
  const source: SecretSource = {
    name: "s",
    fetch(_ref, context) {
      fetchedAt.push(now);
      signal = context.signal;
      if (held !== undefined) {
        const waiting = held;
        return new Promise((resolve, reject) => {
          waiting.push({ resolve: (text) => resolve(answer(text)), reject });
        });
      }
      if (failure !== undefined) throw failure;
      return Promise.resolve(answer(value));
    },
    ...(options.versioned === true && { generation: () => generation }),
  };
  const timer = (ms: number, act: () => void) => {
    const one = { at: now + ms, act };
    timers.add(one);
    return () => void timers.delete(one);
  };
  const clock = { now: () => now - behind, monotonic: () => now };
  const reports: string[] = [];
  const resolver: SecretResolver = createSecretResolver(new Map([["s", source]]), clock, {
    random: () => options.random ?? 1,
    after: timer,
    every: (ms, act) => {
      const again = (): void => {
        cancel = timer(ms, again);
        act();
      };
      let cancel = timer(ms, again);
      return () => cancel();
    },
    report: (_ref, outcome) => reports.push(outcome instanceof SidekeyError ? outcome.code : "ok"),
  });
  const ask = async (r: SecretRef = ref()): Promise<SecretMaterial> => resolver.resolve(r, "agent", policy);
  return {
    resolver,
    ask,
    resolve: async (r?: SecretRef) => textOf(await ask(r)),
    renew: async (used: SecretMaterial) => {
      const found = await resolver.renew(ref(), "agent", policy, used);
      return found === undefined ? undefined : textOf(found);
    },
    /** Moves the clock and lets what is due happen. */
    async advance(ms: number): Promise<void> {
      const end = now + ms;
      for (;;) {
        const [due] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
        if (due === undefined) break;
        timers.delete(due);
        now = due.at;
        due.act();
        await settle();
      }
      now = end;
      await settle();
    },
    set: (text: string) => {
      value = text;
      generation++;
    },
    touch: () => void generation++,
    /** Of what is fetched from now on. */
    endAt: (time: number) => {
      notAfter = time;
    },
    /** The wall clock alone. */
    setBack: (ms: number) => {
      behind = ms;
    },
    isGivenUp: () => signal?.aborted,
    replace: (values: readonly ReplacedValue[]) => {
      replaced = values;
    },
    fail: (code: ErrorCode | undefined, retryAfter?: number) => {
      failure = code === undefined ? undefined : new SidekeyError(code, retryAfter === undefined ? {} : { retryAfter });
    },
    throws: (what: unknown) => {
      failure = what;
    },
    /** From now on fetches are answered by hand. */
    hold: (): Answer[] => {
      held = [];
      return held;
    },
    letGo: () => {
      held = undefined;
    },
    reports,
    fetchedAt,
    get fetches() {
      return fetchedAt.length;
    },
  };
};

/** Whatever was under way without a timer has happened. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

const codeOf = async (asked: Promise<unknown>): Promise<string> => {
  try {
    await asked;
    return "ok";
  } catch (error) {
    return error instanceof SidekeyError ? error.code : String(error);
  }
};

describe("the secret cache", () => {
  it("answers a fresh value without a promise, and fetches again after max_age", async () => {
    const t = setUp();
    expect(await t.resolve()).toBe("one");
    expect(t.resolver.resolve(ref(), "agent", policy)).not.toBeInstanceOf(Promise);
    t.set("two");
    await t.advance(799);
    expect(await t.resolve()).toBe("one");
    await t.advance(201);
    expect(await t.resolve()).toBe("two");
    expect(t.fetches).toBe(2);
  });

  it("makes one fetch for a thousand cold requests", async () => {
    const t = setUp();
    const all = await Promise.all(Array.from({ length: 1000 }, () => t.resolve()));
    expect(new Set(all)).toEqual(new Set(["one"]));
    expect(t.fetches).toBe(1);
  });

  it("renews a value in use ahead of its end, in the background and once", async () => {
    const t = setUp();
    await t.resolve();
    await t.advance(800);
    const held = t.hold();
    for (let i = 0; i < 100; i++) expect(t.resolver.resolve(ref(), "agent", policy)).not.toBeInstanceOf(Promise);
    await settle();
    expect(held).toHaveLength(1);
    held[0]?.resolve("two");
    await settle();
    expect(await t.resolve()).toBe("two");
    await t.advance(999);
    expect(t.resolver.resolve(ref(), "agent", policy)).not.toBeInstanceOf(Promise);
  });

  it("does not renew what nobody uses", async () => {
    const t = setUp();
    await t.resolve();
    await t.advance(100_000);
    expect(t.fetches).toBe(1);
  });

  it("renews no reference ahead of time more than once a second, however short max_age is", async () => {
    const t = setUp();
    const short = { maxAgeMs: 400, staleWhileErrorMs: 60_000 };
    const began = await t.resolver.resolve(ref(), "agent", short);
    expect(textOf(began)).toBe("one");
    for (let i = 0; i < 4; i++) {
      await t.advance(90);
      await t.resolver.resolve(ref(), "agent", short);
    }
    expect(t.fetches).toBe(2);
  });

  it("leaves a source alone whose answer ahead of time was an outage, as one that was waited for", async () => {
    const t = setUp();
    const patient = { maxAgeMs: 60_000, staleWhileErrorMs: 500 };
    const asked = async (): Promise<string> => textOf(await t.resolver.resolve(ref(), "agent", patient));
    await asked();
    t.fail("SOURCE_UNAVAILABLE", 5);
    for (const [ms, fetches] of [
      [48_000, 2],
      [1_000, 2],
      [3_999, 2],
      [1, 3],
    ] as const) {
      await t.advance(ms);
      expect(await asked()).toBe("one");
      await settle();
      expect(t.fetches).toBe(fetches);
    }
  });

  it("asks again for a value at its end, also when the clock was set back meanwhile", async () => {
    const t = setUp();
    t.endAt(300);
    expect(await t.resolve()).toBe("one");
    t.set("two");
    t.setBack(10_000);
    await t.advance(300);
    expect(await t.resolve()).toBe("two");
  });

  it("keeps the same object while nothing about the secret changes", async () => {
    const t = setUp({ versioned: true });
    const first = await t.ask();
    t.touch();
    expect(await t.ask()).toBe(first);
    await t.advance(1000);
    expect(await t.ask()).toBe(first);
    t.set("two");
    expect(await t.ask()).not.toBe(first);
  });
});

describe("a change of a source that counts its changes", () => {
  it("makes every value stale at once", async () => {
    const t = setUp({ versioned: true });
    await t.resolve();
    t.set("two");
    expect(await t.resolve()).toBe("two");
  });

  it("makes one fetch for a thousand requests, and none waits for the one before the change", async () => {
    const t = setUp({ versioned: true });
    const held = t.hold();
    const before = t.resolve();
    await settle();
    t.touch();
    const after = Array.from({ length: 1000 }, () => t.resolve());
    await settle();
    expect(held).toHaveLength(2);
    held[1]?.resolve("two");
    expect(new Set(await Promise.all(after))).toEqual(new Set(["two"]));
    held[0]?.resolve("one");
    expect(await before).toBe("one");
    expect(await t.resolve()).toBe("two");
  });

  it("ends a bridged outage: what may have been removed is not used", async () => {
    const t = setUp({ versioned: true });
    await t.resolve();
    t.fail("SOURCE_UNAVAILABLE");
    t.touch();
    expect(await codeOf(t.resolve())).toBe("SOURCE_UNAVAILABLE");
  });

  it("is asked at once after a failure that came before it", async () => {
    const t = setUp({ versioned: true });
    t.fail("SOURCE_SECRET_MISSING");
    expect(await codeOf(t.resolve())).toBe("SOURCE_SECRET_MISSING");
    t.fail(undefined);
    t.set("two");
    expect(await t.resolve()).toBe("two");
  });
});

describe("a source that is down", () => {
  it("keeps the old value through an outage for stale_while_error and not a moment longer", async () => {
    const t = setUp();
    await t.resolve();
    t.fail("SOURCE_UNAVAILABLE");
    await t.advance(1499);
    expect(await t.resolve()).toBe("one");
    await t.advance(1);
    expect(await codeOf(t.resolve())).toBe("SOURCE_UNAVAILABLE");
    await t.advance(-1000);
    expect(await codeOf(t.resolve())).toBe("SOURCE_UNAVAILABLE");
  });

  it("holds that bound to the last good fetch, whatever failed in between", async () => {
    const t = setUp();
    await t.resolve();
    t.fail("SOURCE_UNAVAILABLE");
    const served: number[] = [];
    for (let at = 10; at <= 3000; at += 10) {
      await t.advance(10);
      if ((await codeOf(t.resolve())) === "ok") served.push(at);
    }
    expect(served.at(-1)).toBe(1490);
    expect(served).toHaveLength(149);
  });

  it("serves the route that bridges longest, also once the bound of another one with the same secret is over", async () => {
    const t = setUp();
    const asked = async (staleWhileErrorMs: number): Promise<string> =>
      textOf(await t.resolver.resolve(ref(), "agent", { maxAgeMs: 1_000, staleWhileErrorMs }));
    await asked(500);
    await asked(5_000);
    t.fail("SOURCE_UNAVAILABLE");
    await t.advance(1_600);
    expect(await codeOf(asked(500))).toBe("SOURCE_UNAVAILABLE");
    expect(await asked(5_000)).toBe("one");
    await t.advance(4_400);
    expect(await codeOf(asked(5_000))).toBe("SOURCE_UNAVAILABLE");
  });

  it("makes nobody wait for it once it is known to be down", async () => {
    const t = setUp();
    await t.resolve();
    t.fail("SOURCE_UNAVAILABLE");
    await t.advance(1000);
    await t.resolve();
    await t.advance(200);
    t.hold();
    const found = t.resolver.resolve(ref(), "agent", policy);
    expect(found).not.toBeInstanceOf(Promise);
  });

  it("takes a value that cannot be one for an outage, and never uses it", async () => {
    const t = setUp();
    await t.resolve();
    t.set("two\r\nX-Evil: 1");
    await t.advance(1400);
    expect(await t.resolve()).toBe("one");
    await t.advance(100);
    expect(await codeOf(t.resolve())).toBe("SOURCE_BAD_VALUE");
  });

  it.each(["SOURCE_SECRET_MISSING", "SOURCE_FORBIDDEN"] as const)(
    "is not what %s means: the old value is gone",
    async (code) => {
      const t = setUp();
      await t.resolve();
      t.fail(code);
      await t.advance(1000);
      expect(await codeOf(t.resolve())).toBe(code);
    },
  );

  it("is asked again after 100 ms, then less and less often, up to 1.8 s", async () => {
    const t = setUp();
    t.fail("SOURCE_UNAVAILABLE");
    for (let i = 0; i < 1200; i++) {
      expect(await codeOf(t.resolve())).toBe("SOURCE_UNAVAILABLE");
      await t.advance(10);
    }
    expect(t.fetchedAt.slice(0, 8)).toEqual([0, 100, 300, 700, 1500, 3100, 4900, 6700]);
  });

  it("is asked again after 100 ms in the next outage, whatever the one before had come to", async () => {
    const t = setUp();
    await t.ask();
    t.fail("SOURCE_UNAVAILABLE");
    for (let i = 0; i < 12; i++) {
      await t.advance(1_800);
      await codeOf(t.ask());
    }
    await t.advance(1_800);
    t.fail(undefined);
    expect(await t.resolve()).toBe("one");
    t.fail("SOURCE_UNAVAILABLE");
    await t.advance(2_000);
    expect(await codeOf(t.ask())).toBe("SOURCE_UNAVAILABLE");
    const before = t.fetches;
    await t.advance(99);
    await codeOf(t.ask());
    expect(t.fetches).toBe(before);
    await t.advance(1);
    await codeOf(t.ask());
    expect(t.fetches).toBe(before + 1);
  });

  it("is asked earlier by some and later by others", async () => {
    const firsts = [0, 0.5, 1].map(async (random) => {
      const t = setUp({ random });
      t.fail("SOURCE_UNAVAILABLE");
      for (let i = 0; i < 30; i++) {
        await codeOf(t.resolve());
        await t.advance(5);
      }
      return t.fetchedAt[1];
    });
    expect(await Promise.all(firsts)).toEqual([50, 75, 100]);
  });

  it.each([
    [5, 5_000],
    [3_600, 30_000],
  ])("gets the %i s that it asks for, up to 30 s", async (asked, pause) => {
    const t = setUp();
    t.fail("SOURCE_UNAVAILABLE", asked);
    await codeOf(t.resolve());
    await t.advance(pause - 1);
    await codeOf(t.resolve());
    expect(t.fetches).toBe(1);
    await t.advance(1);
    await codeOf(t.resolve());
    expect(t.fetches).toBe(2);
  });

  it("serves again with the first answer", async () => {
    const t = setUp();
    t.fail("SOURCE_UNAVAILABLE");
    await codeOf(t.resolve());
    t.fail(undefined);
    await t.advance(100);
    expect(await t.resolve()).toBe("one");
    expect(t.reports).toEqual(["SOURCE_UNAVAILABLE", "ok"]);
  });

  it.each(["SOURCE_SECRET_MISSING", "SOURCE_FORBIDDEN", "SOURCE_BAD_VALUE"] as const)(
    "is asked once a second while it answers %s",
    async (code) => {
      const t = setUp();
      t.fail(code);
      for (let i = 0; i < 30; i++) {
        expect(await codeOf(t.resolve())).toBe(code);
        await t.advance(100);
      }
      expect(t.fetches).toBe(3);
    },
  );
});

describe("a source that does not answer", () => {
  it("is told that nobody waits for it any more", async () => {
    const t = setUp();
    t.hold();
    const asked = codeOf(t.ask());
    await t.advance(1_999);
    expect(t.isGivenUp()).toBe(false);
    await t.advance(1);
    expect(t.isGivenUp()).toBe(true);
    expect(await asked).toBe("SOURCE_UNAVAILABLE");
  });

  it("has failed after 2 s, for everybody who waits", async () => {
    const t = setUp();
    t.hold();
    const asked = Promise.all(Array.from({ length: 100 }, () => codeOf(t.resolve())));
    await t.advance(1_999);
    await t.advance(1);
    expect(new Set(await asked)).toEqual(new Set(["SOURCE_UNAVAILABLE"]));
    expect(t.fetches).toBe(1);
  });

  it("is asked less and less, up to every 30 s, until it answers", async () => {
    const t = setUp();
    const held = t.hold();
    for (let i = 0; i < 3_000; i++) {
      t.resolve().catch(() => undefined);
      await t.advance(100);
    }
    expect(held.length).toBeLessThan(18);
    expect((t.fetchedAt.at(-1) ?? 0) - (t.fetchedAt.at(-2) ?? 0)).toBeGreaterThan(29_000);
    t.letGo();
    await t.advance(2_000);
    held.at(-1)?.resolve("late");
    await settle();
    expect(await t.resolve()).toBe("one");
  });

  it("bridges with the old value, and what comes too late is not used", async () => {
    const t = setUp();
    await t.resolve();
    await t.advance(1_000);
    const held = t.hold();
    const long = { maxAgeMs: 1_000, staleWhileErrorMs: 60_000 };
    const waiting = Promise.resolve(t.resolver.resolve(ref(), "agent", long)).then(textOf);
    await t.advance(2_000);
    expect(await waiting).toBe("one");
    held[0]?.resolve("late");
    await settle();
    expect(textOf(await t.resolver.resolve(ref(), "agent", long))).toBe("one");
  });
});

describe("a source that breaks its word", () => {
  it.each([
    ["throws text", "canary"],
    ["throws an error", Object.assign(new TypeError("canary"), { name: "canary canary" })],
    ["throws an object", { canary: "canary" }],
    ["throws nothing", null],
  ])("and %s is an outage without a word of it", async (_name, thrown) => {
    const t = setUp();
    t.throws(thrown ?? Number.NaN);
    const error = await t.resolve().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "SOURCE_UNAVAILABLE" });
    expect(String(error) + (error as Error).stack + String((error as Error).cause)).not.toContain("canary");
  });

  it.each([
    ["nothing", undefined],
    ["text", { value: "canary" }],
    ["bytes", { value: Buffer.from("canary") }],
  ])("and returns %s is an outage", async (_name, returned) => {
    const source = { name: "s", fetch: async () => returned } as unknown as SecretSource;
    const clock = { now: () => 0, monotonic: () => 0 };
    const resolver = createSecretResolver(new Map([["s", source]]), clock);
    expect(await codeOf(Promise.resolve(resolver.resolve(ref(), "agent", policy)))).toBe("SOURCE_UNAVAILABLE");
    resolver.close();
  });
});

describe("what a secret replaced", () => {
  const replacedOf = (material: SecretMaterial): string[] =>
    (material.replaced ?? []).map(({ value }) => value.lend(String));

  it("is told for ten minutes, newest first", async () => {
    const t = setUp();
    await t.ask();
    for (const text of ["two", "three"]) {
      t.set(text);
      await t.advance(1_000);
      await t.ask();
    }
    expect(replacedOf(await t.ask())).toEqual(["two", "one"]);
    await t.advance(598_999);
    expect(replacedOf(await t.ask())).toEqual(["two", "one"]);
    await t.advance(1_001);
    expect(replacedOf(await t.ask())).toEqual([]);
  });

  it("includes a value that was missing in between, and not the one that is in use again", async () => {
    const t = setUp();
    await t.ask();
    t.fail("SOURCE_SECRET_MISSING");
    await t.advance(1_000);
    await codeOf(t.ask());
    t.fail(undefined);
    t.set("two");
    await t.advance(1_000);
    expect(replacedOf(await t.ask())).toEqual(["one"]);
    t.set("one");
    await t.advance(1_000);
    expect(replacedOf(await t.ask())).toEqual(["two"]);
  });

  it("includes a value that was withdrawn, for ten minutes, though nobody asked and its source keeps old values", async () => {
    const t = setUp({ remembers: true });
    await t.ask();
    t.fail("SOURCE_SECRET_MISSING");
    await t.advance(1_000);
    await codeOf(t.ask());
    t.fail(undefined);
    t.set("two");
    await t.advance(120_000);
    expect(replacedOf(await t.ask())).toEqual(["one"]);
  });

  it("comes from a source that keeps old values, also for the first request", async () => {
    const t = setUp({ remembers: true });
    t.replace([{ value: SecretValue.fromText("zero"), replacedAt: -1_000 }]);
    expect(replacedOf(await t.ask())).toEqual(["zero"]);
  });

  it("counts its ten minutes from when the source replaced it, not from when it was told", async () => {
    const t = setUp({ remembers: true });
    t.replace([{ value: SecretValue.fromText("zero"), replacedAt: -540_000 }]);
    expect(replacedOf(await t.ask())).toEqual(["zero"]);
    t.replace([]);
    await t.advance(30_000);
    expect(replacedOf(await t.ask())).toEqual(["zero"]);
    await t.advance(30_000);
    expect(replacedOf(await t.ask())).toEqual([]);
  });

  it("is at most 32 values, the newest", async () => {
    const t = setUp();
    for (let i = 0; i <= 100; i++) {
      t.set(`v${i}`);
      await t.ask();
      await t.advance(1_000);
    }
    const replaced = replacedOf(await t.ask());
    expect(replaced).toHaveLength(32);
    expect(replaced[0]).toBe("v99");
  });
});

describe("a value that an upstream did not take", () => {
  it("is fetched once past the cache, for everybody who was told so", async () => {
    const t = setUp();
    const used = await t.ask();
    t.set("two");
    const all = await Promise.all(Array.from({ length: 100 }, () => t.renew(used)));
    expect(new Set(all)).toEqual(new Set(["two"]));
    expect(t.fetches).toBe(2);
    expect(await t.resolve()).toBe("two");
  });

  it("is not asked for again when it is known to have changed since", async () => {
    const t = setUp();
    const used = await t.ask();
    t.set("two");
    await t.advance(1_000);
    await t.ask();
    expect(await t.renew(used)).toBe("two");
    expect(t.fetches).toBe(2);
  });

  it("is asked for at most once a second", async () => {
    const t = setUp();
    const used = await t.ask();
    for (let i = 0; i < 30; i++) {
      expect(await t.renew(used)).toBeUndefined();
      await t.advance(100);
    }
    expect(t.fetchedAt).toEqual([0, 0, 1_000, 2_000]);
  });

  it("is gone when the source says so", async () => {
    const t = setUp();
    const used = await t.ask();
    t.fail("SOURCE_SECRET_MISSING");
    await expect(t.renew(used)).rejects.toMatchObject({ code: "SOURCE_SECRET_MISSING" });
    expect(await codeOf(t.resolve())).toBe("SOURCE_SECRET_MISSING");
  });
});

describe("a secret that nobody uses", () => {
  it("is dropped within a minute when its source keeps old values", async () => {
    const t = setUp({ remembers: true });
    const first = await t.ask();
    await t.advance(60_000);
    expect(await t.ask()).not.toBe(first);
  });

  it("stays as long as its replacement must be noticed when its source keeps none", async () => {
    const t = setUp();
    const first = await t.ask();
    await t.advance(600_000);
    expect(await t.ask()).toBe(first);
    await t.advance(1_500 + 600_000 + 10_000);
    expect(await t.ask()).not.toBe(first);
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

  it("is cut out of what the document replaced too", async () => {
    const t = setUp({ remembers: true });
    t.set('{"token":"new"}');
    const old = (text: string, replacedAt: number) => ({ value: SecretValue.fromText(text), replacedAt });
    t.replace([old('{"token":"old"}', -1), old('{"other":"x"}', -2), old("no JSON", -3)]);
    const { replaced } = await t.ask(field("token"));
    expect(replaced?.map(({ value }) => value.lend(String))).toEqual(["old"]);
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
