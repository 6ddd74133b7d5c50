/** What a token of a vault's agent is held to: its agent, its uses, its addresses, its signing key. */
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import type { AgentInfo, Vault } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault } from "../support.ts";

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
