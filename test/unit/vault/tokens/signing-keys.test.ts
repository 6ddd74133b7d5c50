/** The keys of a store that several processes share, and of one that Sidekey 0.1 made. */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { createSigningKey, signToken, type TokenClaims } from "../../../../src/identity/token.ts";
import { sealJson } from "../../../../src/vault/barrier/barrier.ts";
import { codeOf, openTestVault, START, withGuardedRows } from "../support.ts";

const HOUR = 3_600_000;
const request = { agent: "research", scopes: parseScopes("secrets:use:production/*") };
const kidOf = (token: string): unknown =>
  JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()).kid;

describe("vault.signingKeys", () => {
  it("follow a rotation by another process: it signs with the new key at once, and takes its tokens", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const old = await one.vault.tokens.issue(request);
    await other.vault.tokens.verify(old.token);
    const kid = await other.vault.signingKeys.rotate();
    const mine = await one.vault.tokens.issue(request);
    expect(kidOf(mine.token)).toBe(kid);
    const theirs = await other.vault.tokens.issue(request);
    for (const { token, claims } of [old, mine, theirs]) {
      for (const { vault } of [one, other]) expect(await vault.tokens.verify(token)).toMatchObject(claims);
    }
    expect(await one.vault.tokens.list()).toHaveLength(3);
  });

  it("leave one that signs, however many rotate at once while others issue", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const tasks = Array.from({ length: 6 }, (_, n) => (n % 2 === 0 ? one : other).vault);
    const issued = await Promise.all(
      tasks.map(async (vault, n) => {
        if (n < 3) await vault.signingKeys.rotate();
        return vault.tokens.issue(request);
      }),
    );
    const last = await one.vault.signingKeys.rotate();
    expect(kidOf((await other.vault.tokens.issue(request)).token)).toBe(last);
    for (const { token } of issued) {
      for (const { vault } of [one, other]) expect((await vault.tokens.verify(token)).agent).toBe("research");
    }
  });

  it("publish an old key until its last token is over, the skew granted, and not a moment longer", async () => {
    const { vault, clock } = await openTestVault();
    await vault.tokens.issue({ ...request, ttlMs: HOUR });
    const [first] = (await vault.signingKeys.jwks()).keys;
    const kid = await vault.signingKeys.rotate();
    await vault.tokens.issue({ ...request, ttlMs: 3 * HOUR });
    const kids = async (): Promise<readonly string[]> => (await vault.signingKeys.jwks()).keys.map((one) => one.kid);
    clock.setWall(START + HOUR + 59_999);
    expect([...(await kids())].sort()).toEqual([first?.kid, kid].sort());
    clock.setWall(START + HOUR + 60_000);
    expect(await kids()).toEqual([kid]);
  });

  it("take over the key and the tokens of Sidekey 0.1, which are revoked and purged like others", async () => {
    const at = await openTestVault();
    await at.vault.close();
    const der = generateKeyPairSync("ed25519").privateKey.export({ format: "der", type: "pkcs8" });
    const key = createSigningKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
    const id = "5f0c9f6e-6d0e-4a51-9d0c-2f4d6a3f7f10";
    const times = { issuedAt: START, expiresAt: START + HOUR };
    const claims: TokenClaims = { ...request, id, subject: "research", notBefore: START, ...times };
    const token = await signToken(claims, key);
    await withGuardedRows(at, (storage, { barrier }) =>
      storage.write((tx) => {
        tx.put("signer:ed25519", barrier.seal({ path: "signer:ed25519", version: 0 }, der));
        const row = { agent: "research", scope: "secrets:use:production/*", ...times };
        tx.put(`token:${id}`, sealJson(barrier, `token:${id}`, row));
      }),
    );
    const { vault, clock } = await openTestVault(at);
    expect(await vault.tokens.verify(token)).toMatchObject(claims);
    const next = await vault.tokens.issue(request);
    expect(kidOf(next.token)).toBe(key.kid);
    await vault.signingKeys.rotate();
    expect(await vault.tokens.verify(token)).toMatchObject(claims);
    expect((await vault.tokens.page({ agent: { name: "research" }, page: 1, limit: 10 })).total).toBe(2);
    await vault.tokens.revoke(id);
    expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
    clock.advance(2 * HOUR);
    await vault.tokens.issue(request);
    expect(await vault.tokens.find(id)).toBeUndefined();
  });
});

describe("a token that was verified before", () => {
  it("is looked up again at each use: revoked, and its agent revoked, also within the skew after its end", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const { info } = await one.vault.agents.create({ name: "a", scopes: request.scopes });
    const { token } = await one.vault.tokens.issue({ agent: info, scopes: request.scopes, ttlMs: 30_000 });
    await one.vault.tokens.verify(token);
    one.clock.advance(40_000);
    // A clock that is behind is granted a minute.
    await one.vault.tokens.verify(token);
    await other.vault.agents.revoke(info.id);
    expect(await codeOf(() => one.vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
  });
});
