/** The cache over a source that says by itself what changes, and one that binds secrets to hosts. */
import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { isSidekeyError, SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createSecretResolver } from "../../../../src/sidecar/secrets/resolver.ts";
import type { FetchContext, SecretMaterial, SecretRef } from "../../../../src/sidecar/secrets/source.ts";

const REF: SecretRef = { source: "s", path: "a/b", field: [], version: undefined, text: "s:a/b" };
const FIELD: SecretRef = { ...REF, field: ["key"], text: "s:a/b#key" };

const useOf = (host: string) => {
  const authority = parseAuthority(host, 443);
  if (authority === undefined) throw new Error(host);
  return { authority };
};

const stage = () => {
  let now = 10_000;
  const state = {
    heard: true,
    lastHeard: 0,
    text: "one",
    version: 1,
    generations: 0,
    failure: undefined as SidekeyError | undefined,
    /** Hosts that the secret is not for. */
    refused: new Set<string>(),
    contexts: [] as FetchContext[],
  };
  const source = {
    name: "s",
    generation: () => state.generations,
    isHeard: () => state.heard,
    lastHeard: () => (state.heard ? now : state.lastHeard),
    async fetch(_ref: SecretRef, context: FetchContext): Promise<SecretMaterial> {
      state.contexts.push(context);
      if (state.failure !== undefined) throw state.failure;
      if (state.refused.has(context.authority?.host.name ?? "")) throw new SidekeyError("POLICY_SECRET_HOST");
      if (context.known?.version === String(state.version)) return context.known;
      return { value: SecretValue.fromText(state.text), version: String(state.version), replaced: [] };
    },
  };
  const resolver = createSecretResolver(
    new Map([["s", source]]),
    { now: () => now, monotonic: () => now },
    {
      random: () => 0,
      every: () => () => {},
    },
  );
  const ask = async (policy = {}, host = "a.test", ref = REF): Promise<string> => {
    const material = await resolver.resolve(
      ref,
      "agent",
      { maxAgeMs: 60_000, staleWhileErrorMs: 60_000, name: "api", ...policy },
      useOf(host),
      { id: "r1" },
    );
    return material.value.lend(String);
  };
  return {
    state,
    ask,
    calls: () => state.contexts.length,
    advance: (ms: number) => {
      now += ms;
    },
    lose() {
      state.heard = false;
      state.lastHeard = now;
    },
  };
};

const codeOf = async (asking: Promise<unknown>): Promise<string> => {
  try {
    await asking;
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
  }
  return "nothing";
};

const DOWN = new SidekeyError("SOURCE_UNAVAILABLE");

describe("a source that says what changes", () => {
  it("is told what a value is for, and what it was before", async () => {
    const t = stage();
    await t.ask();
    t.state.generations += 1;
    await t.ask();
    const [first, second] = t.state.contexts;
    expect([first?.authority?.key, first?.reason, first?.known]).toEqual([
      "a.test:443",
      "route api, request r1",
      undefined,
    ]);
    expect(second?.known?.version).toBe("1");
  });

  it("is asked at the route's age while it is heard, and each second while it is not", async () => {
    const t = stage();
    await t.ask();
    t.advance(40_000);
    await t.ask();
    expect(t.calls()).toBe(1);
    t.lose();
    for (let second = 0; second < 5; second += 1) {
      for (let n = 0; n < 10; n += 1) await t.ask();
      t.advance(1_000);
    }
    expect(t.calls()).toBe(6);
  });

  it("bridges an outage from its last word on, however old the value is then", async () => {
    const t = stage();
    await t.ask();
    t.advance(50_000);
    t.lose();
    t.state.failure = DOWN;
    t.advance(59_999);
    expect(await t.ask()).toBe("one");
    t.advance(1);
    expect(await codeOf(t.ask())).toBe("SOURCE_UNAVAILABLE");
  });

  it("bridges nothing where the route allows nothing", async () => {
    const t = stage();
    await t.ask({ staleWhileErrorMs: 0 });
    t.lose();
    t.state.failure = DOWN;
    t.advance(999);
    expect(await t.ask({ staleWhileErrorMs: 0 })).toBe("one");
    t.advance(1);
    expect(await codeOf(t.ask({ staleWhileErrorMs: 0 }))).toBe("SOURCE_UNAVAILABLE");
  });

  it("does not bridge for ever because it says that it lives", async () => {
    const t = stage();
    await t.ask();
    t.advance(60_000);
    t.state.failure = DOWN;
    expect(await t.ask()).toBe("one");
    t.advance(59_999);
    expect(await t.ask()).toBe("one");
    t.advance(1);
    expect(await codeOf(t.ask())).toBe("SOURCE_UNAVAILABLE");
  });

  it("bridges each route's own time, where several have the secret", async () => {
    const t = stage();
    await t.ask();
    t.lose();
    t.state.failure = DOWN;
    t.advance(30_000);
    expect(await codeOf(t.ask({ staleWhileErrorMs: 0, name: "other" }))).toBe("SOURCE_UNAVAILABLE");
    expect(await t.ask()).toBe("one");
    t.advance(30_000);
    expect(await codeOf(t.ask())).toBe("SOURCE_UNAVAILABLE");
    // Past the longest of them it is no more, whoever asks.
    expect(await codeOf(t.ask({ staleWhileErrorMs: 90_000 }))).toBe("SOURCE_UNAVAILABLE");
  });

  it("is asked for the whole secret once it was out of touch for minutes", async () => {
    const t = stage();
    await t.ask();
    t.lose();
    t.state.failure = DOWN;
    for (let minute = 0; minute < 30; minute += 1) {
      t.advance(60_000);
      expect(await t.ask({ staleWhileErrorMs: 3_600_000 })).toBe("one");
    }
    t.state.failure = undefined;
    t.advance(60_000);
    expect(await t.ask({ staleWhileErrorMs: 3_600_000 })).toBe("one");
    await expect.poll(() => t.state.contexts.at(-1)?.known).toBeUndefined();
  });

  it("keeps a field that was cut out of an unchanged document", async () => {
    const t = stage();
    t.state.text = '{"key":"inner"}';
    expect(await t.ask({}, "a.test", FIELD)).toBe("inner");
    t.state.generations += 1;
    expect(await t.ask({}, "a.test", FIELD)).toBe("inner");
    expect(t.calls()).toBe(2);
    t.state.text = '{"key":"other"}';
    t.state.version = 2;
    t.state.generations += 1;
    expect(await t.ask({}, "a.test", FIELD)).toBe("other");
  });
});

describe("a secret that is bound to hosts", () => {
  it("is not taken from its own host by a request to another", async () => {
    const t = stage();
    t.state.refused.add("b.test");
    const answers = await Promise.all([codeOf(t.ask({}, "b.test")), t.ask(), codeOf(t.ask({}, "b.test")), t.ask()]);
    expect(answers).toEqual(["POLICY_SECRET_HOST", "one", "POLICY_SECRET_HOST", "one"]);
    expect(t.calls()).toBe(2);
    t.state.generations += 1;
    expect(await codeOf(t.ask({}, "b.test"))).toBe("POLICY_SECRET_HOST");
    expect(await t.ask()).toBe("one");
  });

  it("is asked for a refused host once a second, and for no more than 64 of them", async () => {
    const t = stage();
    for (let n = 0; n < 200; n += 1) t.state.refused.add(`h${n}.test`);
    for (let n = 0; n < 10; n += 1) expect(await codeOf(t.ask({}, "h0.test"))).toBe("POLICY_SECRET_HOST");
    expect(t.calls()).toBe(1);
    for (let n = 0; n < 200; n += 1) expect(await codeOf(t.ask({}, `h${n}.test`))).toBe("POLICY_SECRET_HOST");
    expect(t.calls()).toBe(64);
    t.advance(1_000);
    expect(await codeOf(t.ask({}, "h0.test"))).toBe("POLICY_SECRET_HOST");
    expect(t.calls()).toBe(65);
  });
});
