/** What a token of a vault's agent is held to: its agent, its uses, its addresses, its signing key. */
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { sealJson } from "../../../../src/vault/barrier/barrier.ts";
import type { AgentInfo, Vault } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault, withGuardedRows } from "../support.ts";

/** Its error code; undefined where it did not fail. */
const outcomeOf = (act: () => Promise<unknown>): Promise<string | undefined> =>
  act().then(
    () => undefined,
    (error: unknown) => codeOf(() => Promise.reject(error)),
  );

const scopes = parseScopes("secrets:use:production/*");

const agentOf = async (vault: Vault, more: object = {}): Promise<AgentInfo> =>
  (await vault.agents.create({ name: "research", scopes, ...more })).info;

describe("a token of an agent", () => {
  it("is within what the agent may, and its namespaces", async () => {
    const { vault } = await openTestVault();
    const agent = await agentOf(vault, { namespaces: ["production/search"] });
    for (const [scope, code] of [
      ["secrets:use:production/search/*", undefined],
      ["secrets:use:production/search/key", undefined],
      ["secrets:use:production/*", "IDENTITY_SCOPE_DENIED"],
      ["secrets:use:production/searching/key", "IDENTITY_SCOPE_DENIED"],
      ["secrets:read:production/search/key", "IDENTITY_SCOPE_DENIED"],
      ["secrets:*:production/search/key", "IDENTITY_SCOPE_DENIED"],
      ["secrets:use:*", "IDENTITY_SCOPE_DENIED"],
    ] as const) {
      const issue = () => vault.tokens.issue({ agent, scopes: parseScopes(scope) });
      expect([scope, await outcomeOf(issue)]).toEqual([scope, code]);
    }
  });

  it("reads placeholders where its agent does, whatever is asked", async () => {
    const { vault } = await openTestVault();
    const agent = await agentOf(vault, { reads: "placeholder" });
    for (const reads of [undefined, "placeholder", "value"] as const) {
      const { token } = await vault.tokens.issue({ agent, scopes, ...(reads && { reads }) });
      expect(await vault.tokens.verify(token)).toMatchObject({ reads: "placeholder" });
    }
  });

  it("is listed a page at a time, the newest first, and counted, of all and of each agent", async () => {
    const { vault, clock } = await openTestVault();
    const [a, b] = [await agentOf(vault), (await vault.agents.create({ name: "b", scopes })).info];
    const made: string[] = [];
    for (let n = 0; n < 25; n += 1) {
      clock.advance(1000);
      const { claims } = await vault.tokens.issue({
        agent: n % 5 === 0 ? b : a,
        scopes,
        ttlMs: n < 10 ? 60_000 : 600_000,
      });
      made.unshift(claims.id);
    }
    const pagesOf = async (limit: number, of: object = {}) => {
      const pages: (readonly string[])[] = [];
      for (let page = 1; ; page += 1) {
        const { items, total } = await vault.tokens.page({ ...of, page, limit });
        if (items.length === 0) return { pages, total };
        pages.push(items.map(({ id }) => id));
      }
    };
    for (const limit of [1, 7, 25, 100]) {
      const { pages, total } = await pagesOf(limit);
      expect([limit, pages.flat(), total]).toEqual([limit, made, 25]);
      expect(pages.every((page) => page.length <= limit)).toBe(true);
    }
    const ofB = made.filter((_, at) => at % 5 === 4);
    expect(await pagesOf(2, { agent: { id: b.id } })).toMatchObject({
      total: 5,
      pages: [ofB.slice(0, 2), ofB.slice(2, 4), ofB.slice(4)],
    });
    // An issue removes what is over.
    clock.advance(70_000);
    await vault.tokens.issue({ agent: b, scopes });
    expect((await pagesOf(10)).total).toBe(16);
    expect((await pagesOf(10, { agent: { id: a.id } })).total).toBe(12);
    expect(await vault.tokens.page({ agent: { name: "nobody" }, page: 1, limit: 10 })).toEqual({ items: [], total: 0 });
  });

  it("is listed to the end where the count is of before a Sidekey that does not count", async () => {
    const stage = await openTestVault();
    const { vault, clock, state } = stage;
    const agent = await agentOf(vault);
    for (let n = 0; n < 6; n += 1) await vault.tokens.issue({ agent, scopes });
    await vault.close();
    await withGuardedRows({ state, clock }, async (storage, { barrier }) => {
      await storage.write((tx) => {
        const [all, of] = tx.range("tokencount:").map(({ key }) => key);
        if (all === undefined || of === undefined) throw new Error("nothing is counted");
        tx.put(all, sealJson(barrier, all, { count: 2 }));
        tx.remove(of);
      });
    });
    const { vault: again } = await openTestVault(stage);
    const totals = async (of: object = {}): Promise<readonly number[]> =>
      Promise.all([1, 2, 3].map(async (page) => (await again.tokens.page({ ...of, page, limit: 2 })).total));
    const total = await totals();
    expect([total[0], total[1], total[2]]).toEqual([3, 5, 6]);
    expect(await totals({ agent: { id: agent.id } })).toEqual([6, 6, 6]);
    await again.tokens.issue({ agent, scopes });
    expect((await again.tokens.page({ agent: { id: agent.id }, page: 1, limit: 2 })).total).toBe(7);
  });

  it("ends with its agent", async () => {
    const { vault } = await openTestVault();
    const agent = await agentOf(vault);
    const { token } = await vault.tokens.issue({ agent, scopes });
    await vault.agents.revoke(agent.id);
    expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
    expect(await codeOf(() => vault.tokens.issue({ agent, scopes }))).toBe("IDENTITY_AGENT_UNKNOWN");
  });

  it("is spent as often as it says, and once for one Idempotency-Key of one request", async () => {
    const { vault, clock } = await openTestVault();
    const agent = await agentOf(vault);
    const { claims } = await vault.tokens.issue({ agent, scopes, maxUses: 3 });
    const retry = { idempotencyKey: "k", request: "GET /v1/secrets/a/b", version: 4 };
    expect(await vault.tokens.spend(claims.id, retry)).toBe(4);
    // What it was spent on is what it was spent on, also where there is a newer version by now.
    for (let n = 0; n < 5; n++) expect(await vault.tokens.spend(claims.id, { ...retry, version: 5 })).toBe(4);
    expect(await vault.tokens.find(claims.id)).toMatchObject({ uses: 1, maxUses: 3 });
    const other = { ...retry, request: "GET /v1/secrets/a/c" };
    expect(await codeOf(() => vault.tokens.spend(claims.id, other))).toBe("VAULT_IDEMPOTENCY_REUSED");
    await vault.tokens.spend(claims.id, { ...other, idempotencyKey: "k2" });
    clock.advance(61_000);
    expect(await vault.tokens.spend(claims.id, { ...retry, version: 5 })).toBe(5);
    expect(await codeOf(() => vault.tokens.spend(claims.id))).toBe("IDENTITY_TOKEN_SPENT");
    expect(await vault.tokens.find(claims.id)).toMatchObject({ uses: 3 });
  });

  it("is spent exactly as often as it says, however many ask at once", async () => {
    const { vault } = await openTestVault();
    const agent = await agentOf(vault);
    const { claims } = await vault.tokens.issue({ agent, scopes, maxUses: 7 });
    const codes = await Promise.all(Array.from({ length: 50 }, () => outcomeOf(() => vault.tokens.spend(claims.id))));
    expect(codes.filter((code) => code === undefined)).toHaveLength(7);
    expect(codes.filter((code) => code === "IDENTITY_TOKEN_SPENT")).toHaveLength(43);
  });

  it.each([
    ["10.1.2.3", undefined],
    ["::ffff:10.1.2.3", undefined],
    ["fd00::1", undefined],
    ["11.1.2.3", "IDENTITY_ADDRESS"],
    ["fe80::1", "IDENTITY_ADDRESS"],
    [undefined, "IDENTITY_ADDRESS"],
    ["10.1.2.3, 11.1.2.3", "IDENTITY_ADDRESS"],
    ["", "IDENTITY_ADDRESS"],
  ])("for some addresses, from %s: %s", async (ip, code) => {
    const { vault } = await openTestVault();
    const { token } = await vault.tokens.issue({ agent: "x", scopes, ips: ["10.0.0.0/8", "fd00::/8"] });
    expect(await outcomeOf(() => vault.tokens.verify(token, { ip }))).toBe(code);
  });

  it("is good after a new key signs, for as long as it lives, and the old key goes when it is over", async () => {
    const { vault, clock } = await openTestVault();
    const { token: old } = await vault.tokens.issue({ agent: "x", scopes, ttlMs: 60 * 60_000 });
    const [first] = (await vault.signingKeys.jwks()).keys;
    const kid = await vault.signingKeys.rotate();
    expect(kid).not.toBe(first?.kid);
    const { token: fresh } = await vault.tokens.issue({ agent: "x", scopes });
    expect(headerOf(fresh)).toMatchObject({ alg: "EdDSA", typ: "at+jwt", kid });
    expect(headerOf(old)).toMatchObject({ kid: first?.kid });
    for (const token of [old, fresh]) expect((await vault.tokens.verify(token)).agent).toBe("x");
    expect((await vault.signingKeys.jwks()).keys.map((one) => one.kid).sort()).toEqual([first?.kid, kid].sort());
    for (const one of (await vault.signingKeys.jwks()).keys) expect(Object.keys(one)).not.toContain("d");
    clock.advance(2 * 60 * 60_000);
    await vault.signingKeys.rotate();
    const left = (await vault.signingKeys.jwks()).keys.map((one) => one.kid);
    expect(left).not.toContain(first?.kid);
  });

  it("of thousands that are over is forgotten, and those that are not stay", async () => {
    const { vault, clock } = await openTestVault();
    for (let n = 0; n < 60; n++) await vault.tokens.issue({ agent: "x", scopes, ttlMs: 1_000 });
    const { claims } = await vault.tokens.issue({ agent: "x", scopes });
    clock.advance(10 * 60_000);
    for (let n = 0; n < 5; n++) await vault.tokens.issue({ agent: "y", scopes });
    const left = await vault.tokens.list();
    expect(left.map(({ id }) => id)).toContain(claims.id);
    expect(left.filter(({ expiresAt }) => expiresAt <= clock.now())).toEqual([]);
  });
});

const headerOf = (token: string): unknown => JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString());
