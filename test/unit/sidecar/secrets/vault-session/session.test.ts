/** A sidecar's dealings with its vault, on a clock that moves when told: tokens, events, redemption. */
import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../../src/core/authority.ts";
import { isSidekeyError, type SidekeyError } from "../../../../../src/core/errors.ts";
import { createMintedSource } from "../../../../../src/sidecar/secrets/vault-session/minted-source.ts";
import { createSessionStage, fault, refOf, settle, useOf } from "../../../../support/vault/scripted-vault.ts";

const PATH = "production/x/key";
const HOUR = 3_600_000;
const CONTEXT = { agent: "research" };

const errorOf = async (act: () => unknown): Promise<SidekeyError> => {
  try {
    await act();
  } catch (error) {
    if (isSidekeyError(error)) return error;
    throw error;
  }
  throw new Error("it did not fail");
};

const codeOf = async (act: () => unknown): Promise<string> => (await errorOf(act)).code;

const open = async (paths: readonly string[] = [PATH]) => {
  const stage = createSessionStage();
  stage.vault.secrets.set(PATH, { value: "one", version: 1 });
  const source = await createMintedSource(
    stage.parts,
    stage.place,
    paths.map((path) => useOf(path)),
  );
  await settle();
  const get = async (path = PATH) => (await source.fetch(refOf(path), CONTEXT)).value.lend(String);
  return { ...stage, source, get };
};

describe("the first token", () => {
  it("is asked for once the key is enrolled, for exactly the routes' paths, an hour long", async () => {
    const { vault, source, get } = await open([PATH, "production/y/key", PATH]);
    expect(vault.calls.slice(0, 2)).toEqual(["enrol", "token"]);
    expect(vault.asked).toEqual([
      {
        scopes: [`secrets:use:${PATH}`, "secrets:use:production/y/key"],
        names: [],
        ttlMs: HOUR,
        reason: "sidecar, source vault",
      },
    ]);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    expect(await get()).toBe("one");
    expect(await codeOf(() => source.authorize(refOf("production/z/key")))).toBe("IDENTITY_SCOPE_DENIED");
    expect(vault.redeemed).toHaveLength(1);
  });

  it("is several where the scopes do not fit into one", async () => {
    const paths = Array.from({ length: 60 }, (_, n) => `production/${"x".repeat(120)}/key-${n}`);
    const { vault, source } = await open(paths);
    expect(vault.asked.length).toBeGreaterThan(1);
    expect(vault.asked.flatMap(({ scopes }) => scopes)).toEqual(paths.map((path) => `secrets:use:${path}`));
    for (const path of paths) expect(source.authorize(refOf(path))).toBeUndefined();
  });

  it("comes when the vault does, within 2 s, and refuses nothing but requests until then", async () => {
    const stage = createSessionStage();
    stage.vault.fault = fault("unreachable");
    stage.vault.secrets.set(PATH, { value: "one", version: 1 });
    const source = await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("SOURCE_UNAVAILABLE");
    await stage.advance(60_000);
    expect(stage.lines.filter((line) => line.includes("has no token"))).toHaveLength(1);
    stage.vault.fault = undefined;
    await stage.advance(2_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    expect((await source.fetch(refOf(PATH), CONTEXT)).value.lend(String)).toBe("one");
  });

  it.each([
    ["unauthorized", "SOURCE_FORBIDDEN"],
    ["refused", "SOURCE_FORBIDDEN"],
  ] as const)("is not waited for when the vault says %s", async (kind, code) => {
    const stage = createSessionStage();
    stage.vault.fault = fault(kind);
    expect(await codeOf(() => createMintedSource(stage.parts, stage.place, [useOf(PATH)]))).toBe(code);
  });

  it("is refused by route and path where the agent may not use one of them, and gives the others back", async () => {
    const stage = createSessionStage();
    stage.vault.allowed = new Set([PATH]);
    const uses = [useOf(PATH, "api"), useOf("production/y/key", "billing")];
    const { code, detail } = await errorOf(() => createMintedSource(stage.parts, stage.place, uses));
    expect(code).toBe("IDENTITY_SCOPE_DENIED");
    expect(detail).toContain("routes.billing needs production/y/key");
    expect(detail).not.toContain("routes.api");
    expect(stage.vault.tokens.size).toBe(0);
  });

  it("waits for a person, says for which approval, and is there once it is given", async () => {
    const stage = createSessionStage();
    stage.vault.approval = "pending";
    const source = await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    await stage.advance(60_000);
    expect(stage.lines.filter((line) => line.includes("apr_1"))).toHaveLength(1);
    const { code, detail } = await errorOf(() => source.authorize(refOf(PATH)));
    expect([code, detail]).toEqual(["SOURCE_UNAVAILABLE", "source vault: approval apr_1 is not decided yet"]);
    // Asked for once, then looked at.
    expect(stage.vault.asked).toHaveLength(1);
    stage.vault.approval = "approved";
    await stage.advance(2_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });

  it("is not asked for again when a person said no", async () => {
    const stage = createSessionStage();
    stage.vault.approval = "pending";
    const source = await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    stage.vault.approval = "denied";
    await stage.advance(10 * 60_000);
    expect(stage.vault.asked).toHaveLength(1);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("SOURCE_FORBIDDEN");
  });
});

describe("the token after it", () => {
  it("is asked for at two thirds, and the old one given back when what was asked with it is answered", async () => {
    const { vault, advance, get } = await open();
    await advance((HOUR * 2) / 3 - 1);
    expect(vault.asked).toHaveLength(1);
    await advance(1);
    expect(vault.asked).toHaveLength(2);
    expect([...vault.tokens.keys()]).toEqual(["token-1", "token-2"]);
    await get();
    expect(vault.redeemed.at(-1)?.token).toBe("token-2");
    await advance(5_000);
    expect([...vault.tokens.keys()]).toEqual(["token-2"]);
    await advance(4 * HOUR);
    expect(await get()).toBe("one");
    expect(vault.tokens.size).toBe(1);
    expect(vault.calls.filter((call) => call === "enrol")).toHaveLength(1);
  });

  it("is tried for while the vault is away, to the end of the old one and past it", async () => {
    const { vault, advance, source } = await open();
    await advance(HOUR / 2);
    vault.fault = fault("unreachable");
    await advance(HOUR / 2 - 1);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    await advance(1);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("SOURCE_UNAVAILABLE");
    vault.fault = undefined;
    await advance(2_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });

  it("comes soon after a vault that was away for long, also when its first word is that it is not ready", async () => {
    const stage = createSessionStage();
    stage.vault.fault = fault("unreachable");
    const source = await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    await stage.advance(10 * 60_000);
    stage.vault.fault = fault("busy");
    await stage.advance(1_500);
    stage.vault.fault = undefined;
    await stage.advance(2_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });

  it("is not asked for often of a vault that goes on asking for time", async () => {
    const stage = createSessionStage();
    stage.vault.fault = fault("busy");
    await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    await stage.advance(10 * 60_000);
    expect(stage.vault.calls.length).toBeLessThan(40);
  });

  it("is asked for once when the vault does not take the old one, and tried once", async () => {
    const { vault, get } = await open();
    vault.tokens.clear();
    expect(await Promise.all([get(), get(), get()])).toEqual(["one", "one", "one"]);
    expect(vault.asked).toHaveLength(2);
  });

  it("is the last when the vault does not take it either", async () => {
    const { vault, get } = await open();
    vault.redeemFault = fault("unauthorized");
    expect(await codeOf(get)).toBe("SOURCE_FORBIDDEN");
    expect(vault.asked).toHaveLength(2);
    for (let n = 0; n < 20; n += 1) expect(await codeOf(get)).toBe("SOURCE_FORBIDDEN");
    expect(vault.asked).toHaveLength(2);
  });

  it("is given back at the end, with the one that was on its way out", async () => {
    const { vault, advance, source } = await open();
    await advance((HOUR * 2) / 3);
    expect(vault.tokens.size).toBe(2);
    await source.close();
    expect(vault.tokens.size).toBe(0);
    expect(vault.streams).toBe(0);
  });
});

describe("the token of a sidecar that lasts as long as one program", () => {
  const MINUTE = 60_000;

  const openBrief = async (staleMs?: number) => {
    const stage = createSessionStage();
    stage.vault.secrets.set(PATH, { value: "one", version: 1 });
    const use = { ...useOf(PATH), ...(staleMs !== undefined && { staleMs }) };
    const source = await createMintedSource({ ...stage.parts, isBrief: true }, stage.place, [use]);
    await settle();
    return { ...stage, source };
  };

  it("ends within ten minutes, and is renewed before", async () => {
    const { vault, advance, source } = await openBrief(2 * MINUTE);
    expect(vault.asked.map(({ ttlMs, approvedTtlMs }) => [ttlMs, approvedTtlMs])).toEqual([[10 * MINUTE, HOUR]]);
    await advance(3 * HOUR);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    expect(vault.asked).toHaveLength(1 + (3 * HOUR * 3) / (20 * MINUTE));
    await advance(5_000);
    expect(vault.tokens.size).toBe(1);
  });

  it.each([
    [2, 10],
    [5, 15],
    [15, 45],
    [60, 60],
  ])("outlives an outage as long as its routes may (%i min: it is for %i)", async (stale, asked) => {
    const { vault, advance, source } = await openBrief(stale * MINUTE);
    const [{ ttlMs = 0 } = {}] = vault.asked;
    expect(Math.round(ttlMs / MINUTE)).toBe(asked);
    await advance((ttlMs * 2) / 3 - 1);
    vault.fault = fault("unreachable");
    // Just before it would have been renewed.
    await advance(Math.min(stale * MINUTE, ttlMs / 3));
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    await advance(2 * HOUR);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("SOURCE_UNAVAILABLE");
    vault.fault = undefined;
    await advance(2_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });
});

describe("a revocation", () => {
  it("of a token that was replaced a moment ago means the one after it too", async () => {
    const { vault, source, advance } = await open();
    await advance((HOUR * 2) / 3);
    vault.say({ type: "token.revoked", id: "id-token-1" });
    await settle();
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    await advance(HOUR);
    expect(vault.asked).toHaveLength(2);
    expect(vault.tokens.size).toBe(0);
  });

  it("by ourselves, of a token that was replaced, is none", async () => {
    const { vault, source, advance } = await open();
    await advance((HOUR * 2) / 3 + 5_000);
    vault.say({ type: "token.revoked", id: "id-token-1" });
    await settle();
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });

  it.each([
    ["of the token", { type: "token.revoked", id: "id-token-1" }],
    ["of the sidecar", { type: "sidecar.revoked", jkt: "our-thumbprint" }],
  ] as const)("%s refuses the next request, and nothing is asked for again", async (_, signal) => {
    const { vault, source, advance } = await open();
    vault.say(signal);
    await settle();
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    await advance(3 * HOUR);
    expect(vault.asked).toHaveLength(1);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("of another's is not ours", async () => {
    const { vault, source } = await open();
    vault.say({ type: "token.revoked", id: "id-token-2" });
    vault.say({ type: "sidecar.revoked", jkt: "another" });
    await settle();
    expect(source.authorize(refOf(PATH))).toBeUndefined();
  });

  it("that nobody heard of is looked up before another token is asked for, and told at once", async () => {
    const { vault, source, get } = await open();
    vault.tokens.clear();
    vault.takenBack.add("id-token-1");
    expect(await codeOf(get)).toBe("IDENTITY_TOKEN_REVOKED");
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    expect(vault.asked).toHaveLength(1);
  });

  it("that cannot be looked up now is not taken for none", async () => {
    const { vault, source, get, advance } = await open();
    vault.tokens.clear();
    vault.takenBack.add("id-token-1");
    vault.listFault = fault("busy");
    expect(await codeOf(get)).toBe("SOURCE_FORBIDDEN");
    expect(vault.asked).toHaveLength(1);
    vault.listFault = undefined;
    await advance(1_000);
    await codeOf(get);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    expect(vault.asked).toHaveLength(1);
  });

  it("that is heard of only when the token is used is one too", async () => {
    const { vault, source, get } = await open();
    vault.redeemFault = fault("revoked");
    expect(await codeOf(get)).toBe("IDENTITY_TOKEN_REVOKED");
    expect(vault.asked).toHaveLength(1);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
  });
});

describe("events", () => {
  it("make a cached value stale: that of their path, and all when nobody knows which", async () => {
    const { vault, source } = await open([PATH, "production/y/key"]);
    const [x, y] = [refOf(PATH), refOf("production/y/key")];
    const before = { x: source.generation(x), y: source.generation(y) };
    vault.say({ type: "secret.updated", path: PATH });
    await settle();
    expect(source.generation(x)).not.toBe(before.x);
    expect(source.generation(y)).toBe(before.y);
    vault.say({ type: "reset" });
    await settle();
    expect(source.generation(y)).not.toBe(before.y);
  });

  it("are heard while the stream stands, and a second longer", async () => {
    const { vault, source, advance, clock } = await open();
    expect(source.isHeard()).toBe(true);
    await advance(60_000);
    expect(source.lastHeard()).toBe(clock.monotonic());
    vault.say({ type: "lost" });
    await settle();
    const lost = clock.monotonic();
    await advance(999);
    expect(source.isHeard()).toBe(true);
    await advance(1);
    expect(source.isHeard()).toBe(false);
    expect(source.lastHeard()).toBe(lost);
    vault.say({ type: "ready" });
    await settle();
    expect(source.isHeard()).toBe(true);
  });

  it("are not heard once a stream that promises signs of life is quiet, and heard again with the next", async () => {
    const stage = createSessionStage();
    stage.vault.beatMs = 500;
    stage.vault.secrets.set(PATH, { value: "one", version: 1 });
    const source = await createMintedSource(stage.parts, stage.place, [useOf(PATH)]);
    await settle();
    for (let n = 0; n < 20; n += 1) {
      await stage.advance(900);
      expect(source.isHeard()).toBe(true);
      stage.vault.alive();
    }
    const last = stage.clock.monotonic();
    await stage.advance(999);
    expect(source.isHeard()).toBe(true);
    await stage.advance(1);
    expect([source.isHeard(), source.lastHeard()]).toEqual([false, last]);
    await stage.advance(3_000);
    expect(source.lastHeard()).toBe(last);
    stage.vault.say({ type: "lost" });
    await settle();
    expect([source.isHeard(), source.lastHeard()]).toEqual([false, last]);
    stage.vault.say({ type: "ready", beatMs: 500 });
    await settle();
    expect(source.isHeard()).toBe(true);
  });

  it("of a vault that promises none are heard while the stream stands", async () => {
    const { source, advance } = await open();
    await advance(7_000);
    expect(source.isHeard()).toBe(true);
  });

  it("are listened to again after an end, and everything is asked for anew then", async () => {
    const { vault, source, advance } = await open();
    const before = source.generation(refOf(PATH));
    vault.cut();
    await settle();
    expect(vault.streams).toBe(0);
    await advance(100);
    expect(vault.streams).toBe(1);
    expect(source.generation(refOf(PATH))).not.toBe(before);
  });

  it("are listened to with the token that is good", async () => {
    const { vault, advance } = await open();
    await advance((HOUR * 2) / 3 + 10_000);
    expect(vault.streams).toBe(1);
    expect(vault.calls.filter((call) => call === "events")).toHaveLength(2);
  });
});

describe("a redemption", () => {
  it("says for whom, for what and why, and asks only for what is new", async () => {
    const { vault, source } = await open();
    const authority = parseAuthority("api.test:8443");
    if (authority === undefined) throw new Error("no authority");
    const context = { ...CONTEXT, authority, reason: "route api, request r1" };
    const known = await source.fetch(refOf(PATH), context);
    expect(vault.redeemed[0]).toEqual({
      token: "token-1",
      path: PATH,
      authority: "api.test:8443",
      agentName: "research",
      reason: "route api, request r1",
    });
    expect(await source.fetch(refOf(PATH), { ...context, known })).toBe(known);
    expect(vault.redeemed[1]?.ifVersion).toBe(1);
    vault.secrets.set(PATH, { value: "two", version: 2 });
    expect((await source.fetch(refOf(PATH), { ...context, known })).value.lend(String)).toBe("two");
  });

  it("goes to the route's host where nobody asks for a request", async () => {
    const { vault, get } = await open();
    await get();
    expect(vault.redeemed[0]?.authority).toBe("api.test:443");
  });

  it.each([
    ["missing", "SOURCE_SECRET_MISSING"],
    ["denied", "IDENTITY_SCOPE_DENIED"],
    ["unapproved", "IDENTITY_SCOPE_DENIED"],
    ["host", "POLICY_SECRET_HOST"],
    ["busy", "SOURCE_UNAVAILABLE"],
    ["garbage", "SOURCE_UNAVAILABLE"],
    ["unreachable", "SOURCE_UNAVAILABLE"],
    ["expired", "IDENTITY_TOKEN_EXPIRED"],
  ] as const)("that fails as %s is %s", async (kind, code) => {
    const { vault, get } = await open();
    vault.redeemFault = fault(kind, 7);
    const error = await errorOf(get);
    expect(error.code).toBe(code);
    if (code === "SOURCE_UNAVAILABLE") expect(error.retryAfter).toBe(7);
  });

  it("of a name goes to what the vault says that it leads to", async () => {
    const stage = createSessionStage();
    stage.vault.names.set("openai-key", "acme/search/openai-key");
    stage.vault.secrets.set("acme/search/openai-key", { value: "one", version: 1 });
    const source = await createMintedSource(stage.parts, stage.place, [useOf("openai-key")]);
    await settle();
    expect(stage.vault.asked[0]).toMatchObject({ scopes: [], names: ["openai-key"] });
    expect((await source.fetch(refOf("openai-key"), CONTEXT)).value.lend(String)).toBe("one");
    expect(stage.vault.redeemed[0]?.path).toBe("acme/search/openai-key");
    const before = source.generation(refOf("openai-key"));
    stage.vault.say({ type: "secret.updated", path: "acme/search/openai-key" });
    await settle();
    expect(source.generation(refOf("openai-key"))).not.toBe(before);
  });

  it("of a name that leads nowhere yet is missing, and found when it is there", async () => {
    const stage = createSessionStage();
    const source = await createMintedSource(stage.parts, stage.place, [useOf("openai-key")]);
    expect(await codeOf(() => source.authorize(refOf("openai-key")))).toBe("SOURCE_SECRET_MISSING");
    stage.vault.names.set("openai-key", "acme/openai-key");
    stage.vault.secrets.set("acme/openai-key", { value: "one", version: 1 });
    await stage.advance(30_000);
    expect((await source.fetch(refOf("openai-key"), CONTEXT)).value.lend(String)).toBe("one");
  });
});

describe("a reload", () => {
  it("with other paths gets other tokens first, then gives the old ones back", async () => {
    const { vault, source, get, advance } = await open();
    vault.secrets.set("production/y/key", { value: "other", version: 1 });
    expect(await source.repermit([PATH], [useOf(PATH, "renamed")])).toBeUndefined();
    const change = await source.repermit([], [useOf("production/y/key")]);
    expect(await get()).toBe("one");
    change?.commit();
    await settle();
    expect(await get("production/y/key")).toBe("other");
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_SCOPE_DENIED");
    expect([...vault.tokens.keys()]).toEqual(["token-1", "token-2"]);
    await advance(5_000);
    expect([...vault.tokens.keys()]).toEqual(["token-2"]);
  });

  it("that comes just before the end leaves no token behind", async () => {
    const { vault, source } = await open();
    (await source.repermit([], [useOf("production/y/key")]))?.commit();
    await source.close();
    expect(vault.tokens.size).toBe(0);
    expect(vault.streams).toBe(0);
  });

  it("fails no redemption that is under way", async () => {
    const { vault, source } = await open();
    vault.secrets.set("production/y/key", { value: "other", version: 1 });
    const change = await source.repermit([], [useOf(PATH), useOf("production/y/key")]);
    let goOn = (): void => {};
    vault.beforeRedemption = new Promise((resolve) => {
      goOn = resolve;
    });
    const asked = source.fetch(refOf(PATH), CONTEXT);
    await settle();
    change?.commit();
    await settle();
    goOn();
    expect((await asked).value.lend(String)).toBe("one");
  });

  it.each([
    ["denied", "IDENTITY_SCOPE_DENIED"],
    ["unreachable", "SOURCE_UNAVAILABLE"],
  ] as const)("is refused when the vault is %s, and changes nothing", async (kind, code) => {
    const { vault, source, get } = await open();
    if (kind === "denied") vault.allowed = new Set([PATH]);
    else vault.fault = fault(kind);
    expect(await codeOf(() => source.repermit([], [useOf("production/y/key")]))).toBe(code);
    vault.fault = undefined;
    expect(await get()).toBe("one");
  });

  it("does not ask again for what was revoked", async () => {
    const { vault, source } = await open();
    vault.say({ type: "token.revoked", id: "id-token-1" });
    await settle();
    expect(await source.repermit([], [useOf("production/y/key")])).toBeUndefined();
    expect(vault.asked).toHaveLength(1);
  });
});

describe("another agent key in the place of the first", () => {
  it("is taken without a restart, and the old tokens are given back", async () => {
    const { vault, advance, get, putKey, lines } = await open();
    putKey("ast_agent_second");
    await advance(1_000);
    expect(await get()).toBe("one");
    expect(vault.redeemed.at(-1)?.token).toBe("token-2");
    await advance(5_000);
    expect([...vault.tokens.keys()]).toEqual(["token-2"]);
    expect(lines.filter((line) => line.includes("another agent key"))).toHaveLength(1);
    expect(lines.join("\n")).not.toContain("ast_agent_");
  });

  it("mends what an operator revoked", async () => {
    const { vault, source, advance, get, putKey } = await open();
    vault.say({ type: "token.revoked", id: "id-token-1" });
    await advance(60_000);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    putKey("ast_agent_second");
    await advance(1_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    expect(await get()).toBe("one");
  });

  it("that the vault does not take changes nothing, is told once, and is tried again", async () => {
    const { vault, advance, get, putKey, lines } = await open();
    vault.badKeys.add("ast_agent_second");
    putKey("ast_agent_second");
    await advance(10 * 60_000);
    expect(await get()).toBe("one");
    expect(vault.redeemed.at(-1)?.token).toBe("token-1");
    expect(lines.filter((line) => line.includes("cannot be taken"))).toHaveLength(1);
    vault.badKeys.clear();
    await advance(16_000);
    await get();
    expect(vault.redeemed.at(-1)?.token).toBe("token-2");
  });

  it("is taken by a reload at once, also where its token was revoked", async () => {
    const { vault, source, get, putKey } = await open();
    vault.say({ type: "token.revoked", id: "id-token-1" });
    await settle();
    putKey("ast_agent_second");
    (await source.repermit([PATH], [useOf(PATH)]))?.commit();
    expect(await get()).toBe("one");
  });

  it("does not come between a reload and its end", async () => {
    const { vault, source, advance, get, putKey } = await open();
    vault.secrets.set("production/y/key", { value: "other", version: 1 });
    const change = await source.repermit([], [useOf("production/y/key")]);
    putKey("ast_agent_second");
    await advance(3_000);
    expect(await get()).toBe("one");
    change?.commit();
    await advance(20_000);
    expect(await get("production/y/key")).toBe("other");
    expect(vault.tokens.size).toBe(1);
    await source.close();
    expect([vault.tokens.size, vault.streams]).toEqual([0, 0]);
  });
});
