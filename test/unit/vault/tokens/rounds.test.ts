import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { createBarrier } from "../../../../src/vault/barrier/barrier.ts";
import { generateFernetKey, parseFernetKey } from "../../../../src/vault/barrier/fernet.ts";
import { createIntegrity } from "../../../../src/vault/barrier/integrity.ts";
import { createKeptAnswers } from "../../../../src/vault/kept-answers.ts";
import type { VaultStorage } from "../../../../src/vault/storage/storage.ts";
import { DEFAULT_TOKEN_LIMITS } from "../../../../src/vault/tokens/request.ts";
import { createSigningKeys } from "../../../../src/vault/tokens/signing-keys.ts";
import { createVaultTokens } from "../../../../src/vault/tokens/tokens.ts";
import { createFarStorage } from "../far-storage.ts";
import { createTestClock } from "../support.ts";

const openFar = async () => {
  const key = parseFernetKey(generateFernetKey());
  if (key === undefined) throw new Error("no key");
  const still = createTestClock();
  /** Another time at each look, as clocks of slow machines have it. */
  const clock = {
    ...still,
    now() {
      still.advance(1);
      return still.now();
    },
  };
  const far = createFarStorage();
  const barrier = createBarrier({ keys: [key] }, clock);
  const integrity = createIntegrity(barrier, clock);
  await far.storage.write((tx) => integrity.create(tx));
  // What a write puts is accounted for: rows that it only puts are looked at as well.
  const storage: VaultStorage = {
    ...far.storage,
    write: (use, options) => far.storage.write((tx) => integrity.tracked(tx, use), options),
  };
  const keys = createSigningKeys(storage, barrier, clock);
  const tokens = createVaultTokens({ storage, barrier, clock, keys, limits: DEFAULT_TOKEN_LIMITS });
  return { far, tokens, clock, answers: createKeptAnswers(storage, barrier, clock) };
};

const request = { agent: "bot", scopes: parseScopes("secrets:read:*") };

describe("tokens in a store at the other end of a wire", () => {
  it("are spent under an Idempotency-Key in few rounds, while time goes on", async () => {
    const { far, tokens } = await openFar();
    const { claims } = await tokens.issue({ ...request, maxUses: 2 });
    const retry = { idempotencyKey: "k", request: "GET /v1/secrets/a/b", version: 1 };
    expect(await far.roundsOf(() => tokens.spend(claims.id, retry))).toBeLessThanOrEqual(7);
    expect(await tokens.find(claims.id)).toMatchObject({ uses: 1 });
  });

  it("are answered under one in few rounds, while time goes on", async () => {
    const { far, answers } = await openFar();
    const keyed = { credential: "c", idempotencyKey: "k", request: "r" };
    let run = "";
    const begin = async (): Promise<void> => {
      const begun = await answers.begin(keyed);
      run = begun.kind === "first" ? begun.run : "";
    };
    expect(await far.roundsOf(begin)).toBeLessThanOrEqual(5);
    expect(await far.roundsOf(() => answers.keep(keyed, run, "the answer"))).toBeLessThanOrEqual(5);
    expect(await answers.begin(keyed)).toEqual({ kind: "answered", answer: "the answer" });
  });

  it("are listed by the page: of the others nothing is fetched", async () => {
    const { far, tokens, clock } = await openFar();
    const scopes = parseScopes("secrets:read:*");
    for (let n = 0; n < 200; n += 1) {
      clock.advance(10);
      await tokens.issue({ ...request, scopes, agent: n % 2 === 0 ? "bot" : "other" });
    }
    for (const of of [{}, { agent: { name: "bot" } }]) {
      const total = "agent" in of ? 100 : 200;
      for (const page of [1, 5]) {
        const list = async (): Promise<void> => {
          expect(await tokens.page({ ...of, page, limit: 10 })).toMatchObject({ total, items: { length: 10 } });
        };
        expect(await far.rowsOf(list), `page ${page}`).toBeLessThanOrEqual(30);
      }
    }
  });

  it("are issued in few rounds, also where many are over", async () => {
    const { far, tokens, clock } = await openFar();
    for (let n = 0; n < 15; n += 1) await tokens.issue({ ...request, agent: `bot${n}`, ttlMs: 1000 });
    clock.advance(2000);
    const rounds = await far.roundsOf(() => tokens.issue(request));
    expect(rounds).toBeLessThanOrEqual(20);
    expect((await tokens.page({ page: 1, limit: 10 })).total).toBe(1);
  });
});
