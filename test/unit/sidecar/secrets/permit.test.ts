import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { parseScopes, scopesCover } from "../../../../src/identity/scope.ts";
import type { TokenClaims } from "../../../../src/identity/token.ts";
import {
  createMintedPermit,
  createTokenPermit,
  type Permit,
  type TokenStore,
} from "../../../../src/sidecar/secrets/permit.ts";
import type { SecretRef } from "../../../../src/sidecar/secrets/source.ts";
import { afterTest, codeOf, createTestClock, START, type TestClock } from "../../vault/support.ts";

const MINUTE = 60_000;

interface FakeStore extends TokenStore {
  readonly issued: TokenClaims[];
  readonly revoked: Set<string>;
  lookups: number;
  broken: boolean;
}

const createFakeStore = (clock: TestClock): FakeStore => {
  const issued: TokenClaims[] = [];
  const revoked = new Set<string>();
  let generation = 0;
  const store: FakeStore = {
    issued,
    revoked,
    lookups: 0,
    broken: false,
    generation: () => generation,
    state(id) {
      store.lookups += 1;
      if (!issued.some((claims) => claims.id === id)) return "unknown";
      return revoked.has(id) ? "revoked" : "active";
    },
    async issue({ agent, scopes, ttlMs }) {
      if (store.broken) throw new Error("broken");
      generation += 1;
      const now = clock.now();
      const id = `t${issued.length}`;
      const claims = { subject: agent, agent, id, issuedAt: now, notBefore: now, expiresAt: now + ttlMs, scopes };
      issued.push(claims);
      return { claims };
    },
    async revoke(id) {
      generation += 1;
      revoked.add(id);
    },
  };
  return store;
};

const refTo = (path: string): SecretRef => ({
  source: "local",
  path,
  field: [],
  version: undefined,
  text: `local:${path}`,
});
const ref = refTo("production/x/key");

const outcome = async (permit: Permit, of = ref): Promise<string> => {
  try {
    permit.authorize(of);
    return "allowed";
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("createTokenPermit", () => {
  const setUp = async (scope = "secrets:use:production/*") => {
    const clock = createTestClock();
    const store = createFakeStore(clock);
    const { claims } = await store.issue({ agent: "a", scopes: parseScopes(scope), ttlMs: 10 * MINUTE });
    return { clock, store, claims, permit: createTokenPermit(claims, store, clock) };
  };

  it("allows what the scope lets it use, and nothing else", async () => {
    const { permit } = await setUp("secrets:use:production/* secrets:read:staging/* secrets:*:other/*");
    expect(await outcome(permit)).toBe("allowed");
    for (const path of ["staging/x", "other/x", "production", "preproduction/x"]) {
      expect(await outcome(permit, refTo(path))).toBe("IDENTITY_SCOPE_DENIED");
    }
  });

  it("ends at the very moment of its expiry", async () => {
    const { permit, clock } = await setUp();
    clock.advance(10 * MINUTE - 1);
    expect(await outcome(permit)).toBe("allowed");
    clock.advance(1);
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_EXPIRED");
  });

  it("ends early when the clock is set forward, and no later when it is set back", async () => {
    const { permit, clock } = await setUp();
    clock.setWall(START + 3_600_000);
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_EXPIRED");
    clock.setWall(START - 10 * 365 * 86_400_000);
    expect(await outcome(permit)).toBe("allowed");
    clock.advance(10 * MINUTE);
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_EXPIRED");
  });

  it("ends with the next request after a revocation", async () => {
    const { permit, store, claims } = await setUp();
    expect(await outcome(permit)).toBe("allowed");
    await store.revoke(claims.id);
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("asks the store for its row only when the store changed", async () => {
    const { permit, store } = await setUp();
    for (let n = 0; n < 100; n += 1) permit.authorize(ref);
    expect(store.lookups).toBe(1);
    await store.issue({ agent: "b", scopes: parseScopes("secrets:use:b/c"), ttlMs: MINUTE });
    for (let n = 0; n < 100; n += 1) permit.authorize(ref);
    expect(store.lookups).toBe(2);
  });

  it("refuses a token whose limits it cannot keep", async () => {
    const { store, claims, clock } = await setUp();
    for (const limit of [{ maxUses: 1 }, { ip: "10.0.0.0/8" }, { jkt: "thumb" }]) {
      expect(await codeOf(() => createTokenPermit({ ...claims, ...limit }, store, clock))).toBe(
        "IDENTITY_TOKEN_INVALID",
      );
    }
  });
});

describe("createMintedPermit", () => {
  const setUp = async (paths: readonly string[] = ["production/x/key", "production/y"]) => {
    const clock = createTestClock();
    const store = createFakeStore(clock);
    const permit = await createMintedPermit({
      source: "local",
      agent: "research",
      paths,
      store,
      clock,
      log: silentLog,
    });
    afterTest(async () => permit.close());
    return { clock, store, permit };
  };

  it("asks for exactly the paths of the routes, for an hour", async () => {
    const { store, permit } = await setUp();
    expect(store.issued).toHaveLength(1);
    expect(store.issued[0]).toMatchObject({ agent: "research", expiresAt: START + 60 * MINUTE });
    expect(store.issued[0]?.scopes.map(({ text }) => text)).toEqual([
      "secrets:use:production/x/key",
      "secrets:use:production/y",
    ]);
    expect(await outcome(permit)).toBe("allowed");
    expect(await outcome(permit, refTo("production/z"))).toBe("IDENTITY_SCOPE_DENIED");
  });

  it("asks for nothing when no route names a secret here", async () => {
    const { store, permit } = await setUp([]);
    expect(store.issued).toEqual([]);
    expect(await outcome(permit)).toBe("IDENTITY_SCOPE_DENIED");
  });

  it("spreads many paths over tokens of a bearable size", async () => {
    const paths = Array.from({ length: 500 }, (_, n) => `production/service-${n}/key`);
    const { store, permit } = await setUp(paths);
    expect(store.issued.length).toBeGreaterThan(1);
    for (const { scopes } of store.issued) {
      expect(scopes.map(({ text }) => text).join(" ").length).toBeLessThanOrEqual(4096);
    }
    for (const path of paths) {
      expect(await outcome(permit, refTo(path))).toBe("allowed");
      expect(store.issued.filter(({ scopes }) => scopesCover(scopes, "use", path))).toHaveLength(1);
    }
  });

  it("renews at two thirds of its life while requests pass, and gives the old one back", async () => {
    const { clock, store, permit } = await setUp();
    clock.advance(40 * MINUTE - 1);
    permit.authorize(ref);
    await turn();
    expect(store.issued).toHaveLength(1);
    clock.advance(1);
    for (let n = 0; n < 10; n += 1) permit.authorize(ref);
    await turn();
    expect(store.issued).toHaveLength(2);
    expect([...store.revoked]).toEqual(["t0"]);
    clock.advance(30 * MINUTE);
    expect(await outcome(permit)).toBe("allowed");
  });

  it("asks to try again, and renews, after the machine slept through the renewal", async () => {
    const { clock, store, permit } = await setUp();
    clock.advance(24 * 60 * MINUTE);
    expect(await codeOf(() => permit.authorize(ref))).toBe("SOURCE_UNAVAILABLE");
    await turn();
    expect(store.issued).toHaveLength(2);
    expect(await outcome(permit)).toBe("allowed");
  });

  it("goes on until the end of its life while it cannot be renewed", async () => {
    const { clock, store, permit } = await setUp();
    store.broken = true;
    clock.advance(50 * MINUTE);
    expect(await outcome(permit)).toBe("allowed");
    await turn();
    clock.advance(10 * MINUTE);
    expect(await codeOf(() => permit.authorize(ref))).toBe("SOURCE_UNAVAILABLE");
    await turn();
    store.broken = false;
    expect(await codeOf(() => permit.authorize(ref))).toBe("SOURCE_UNAVAILABLE");
    await turn();
    expect(await outcome(permit)).toBe("allowed");
  });

  it("stays revoked when an operator revoked it", async () => {
    const { clock, store, permit } = await setUp();
    await store.revoke("t0");
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_REVOKED");
    for (const minutes of [45, 30, 24 * 60]) {
      clock.advance(minutes * MINUTE);
      await outcome(permit);
      await turn();
      expect(await outcome(permit)).toBe("IDENTITY_TOKEN_REVOKED");
    }
    expect(store.issued).toHaveLength(1);
    // A reload issues none either, so it must not be the advice.
    expect(() => permit.authorize(ref)).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("restart the sidecar") }),
    );
  });

  it("revokes its token when it is closed, and allows nothing after", async () => {
    const { store, permit } = await setUp();
    await permit.close();
    expect([...store.revoked]).toEqual(["t0"]);
    expect(await outcome(permit)).toBe("IDENTITY_TOKEN_REVOKED");
  });
});
