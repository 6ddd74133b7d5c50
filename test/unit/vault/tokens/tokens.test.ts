import { describe, expect, it } from "vitest";
import { parseScope, parseScopes } from "../../../../src/identity/scope.ts";
import { DEFAULT_TOKEN_TTL_MS, MAX_TOKEN_TTL_MS } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault, START } from "../support.ts";

const scopes = parseScopes("secrets:use:production/* secrets:read:staging/x");
const request = { scopes, agent: "research" };
/** What the store adds to a token that was issued to a name, and of which nothing more was asked. */
const SAYS_NOTHING = { agentId: undefined, approvedTier: "standard", reads: "value", usesLeft: undefined };

describe("vault.tokens", () => {
  it("issues a token that it verifies, for an hour when nothing is said", async () => {
    const { vault } = await openTestVault();
    const { token, claims } = await vault.tokens.issue(request);
    expect(await vault.tokens.verify(token)).toEqual({ ...claims, ...SAYS_NOTHING });
    expect(claims).toMatchObject({
      agent: "research",
      issuedAt: START,
      expiresAt: START + DEFAULT_TOKEN_TTL_MS,
      scopes,
    });
  });

  it("carries the limits that were asked for", async () => {
    const { vault } = await openTestVault();
    const limits = { maxUses: 1, reads: "placeholder", jkt: "thumb" } as const;
    const ips = ["10.0.0.0/8", "fd00::/8"];
    const { token } = await vault.tokens.issue({ ...request, ...limits, ips });
    expect(await vault.tokens.verify(token)).toMatchObject({ ...limits, ip: "10.0.0.0/8 fd00::/8", usesLeft: 1 });
  });

  it("refuses lives out of bounds, uses that are none, odd names, and no scope", async () => {
    const { vault } = await openTestVault();
    for (const ttlMs of [0, 999, -1, Number.NaN, Number.POSITIVE_INFINITY, MAX_TOKEN_TTL_MS + 1000]) {
      expect(await codeOf(() => vault.tokens.issue({ ...request, ttlMs }))).toBe("CONFIG_USAGE");
    }
    for (const maxUses of [0, -1, 1.5, Number.NaN]) {
      expect(await codeOf(() => vault.tokens.issue({ ...request, maxUses }))).toBe("CONFIG_USAGE");
    }
    for (const agent of ["", "two words", "a\nb", "x".repeat(65)]) {
      expect(await codeOf(() => vault.tokens.issue({ ...request, agent }))).toBe("CONFIG_USAGE");
    }
    expect(await codeOf(() => vault.tokens.issue({ ...request, scopes: [] }))).toBe("IDENTITY_BAD_SCOPE");
    const forged = { ...parseScope("secrets:use:a/b"), text: "secrets:use:a/b secrets:read:*" };
    const { claims } = await vault.tokens.issue({ ...request, scopes: [forged] });
    expect(claims.scopes.map(({ text }) => text)).toEqual(["secrets:use:a/b", "secrets:read:*"]);
    expect(await vault.tokens.list()).toHaveLength(1);
  });

  it("refuses a revoked token, also in another process that has the store open", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const { token, claims } = await one.vault.tokens.issue(request);
    expect(await other.vault.tokens.verify(token)).toMatchObject(claims);
    await other.vault.tokens.revoke(claims.id);
    expect(await codeOf(() => one.vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
    expect(one.vault.tokens.state(claims.id)).toBe("revoked");
    expect(await one.vault.tokens.list()).toMatchObject([{ id: claims.id, revokedAt: START }]);
    await other.vault.tokens.revoke(claims.id);
    expect(await one.vault.tokens.list()).toHaveLength(1);
  });

  it("refuses a token of another store, whose key is another", async () => {
    const one = await openTestVault();
    const other = await openTestVault();
    const { token } = await one.vault.tokens.issue(request);
    expect(await codeOf(() => other.vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_INVALID");
  });

  it("does not revoke what it does not know", async () => {
    const { vault } = await openTestVault();
    for (const id of ["", "unknown", "../x", "a".repeat(2000)]) {
      expect(await codeOf(() => vault.tokens.revoke(id))).toBe("IDENTITY_TOKEN_INVALID");
    }
  });

  it("refuses an expired token, forgets it at the next issue, and can still inspect it", async () => {
    const { vault, clock } = await openTestVault();
    const { token, claims } = await vault.tokens.issue({ ...request, ttlMs: 30_000 });
    clock.advance(91_000);
    expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_EXPIRED");
    expect(vault.tokens.state(claims.id)).toBe("active");
    const next = await vault.tokens.issue(request);
    expect((await vault.tokens.list()).map(({ id }) => id)).toEqual([next.claims.id]);
    expect(vault.tokens.state(claims.id)).toBe("unknown");
    expect(await vault.tokens.inspect(token)).toEqual(claims);
  });

  it("refuses a token before its time, also one that it verified before its clock was set back", async () => {
    const { vault, clock } = await openTestVault();
    const { token } = await vault.tokens.issue(request);
    await vault.tokens.verify(token);
    clock.setWall(START - 60 * 60 * 1000);
    expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_INVALID");
    clock.setWall(START);
    await vault.tokens.verify(token);
  });

  it("refuses a token whose row is gone though its time is not over", async () => {
    const { vault, clock } = await openTestVault();
    const { token, claims } = await vault.tokens.issue({ ...request, ttlMs: 60_000 });
    clock.advance(61_000);
    await vault.tokens.issue(request);
    clock.advance(-30_000);
    expect(vault.tokens.state(claims.id)).toBe("unknown");
    expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("makes its signing key once, whoever asks first, and keeps it", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const issued = await Promise.all([one, other, one, other].map(({ vault }) => vault.tokens.issue(request)));
    const later = await openTestVault(one);
    for (const { token, claims } of issued) {
      for (const { vault } of [one, other, later]) expect(await vault.tokens.verify(token)).toMatchObject(claims);
    }
  });
});
