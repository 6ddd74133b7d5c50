import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../../../src/core/errors.ts";
import type { Principal } from "../../../../../src/vault/server/callers/principal.ts";
import { requireStanding, type StandingOptions } from "../../../../../src/vault/server/callers/standing.ts";

const NOW = 1_000_000;

interface Rows {
  readonly agent?: object;
  readonly token?: object | undefined;
  readonly sidecar?: object | undefined;
}

const optionsOf = (rows: Rows): StandingOptions =>
  ({
    vault: {
      agents: { find: async () => rows.agent ?? {} },
      tokens: { find: async () => ("token" in rows ? rows.token : {}) },
      sidecars: { find: async () => rows.sidecar },
    },
    clock: { now: () => NOW },
  }) as unknown as StandingOptions;

const verdict = async (principal: object, rows: Rows = {}): Promise<string> => {
  try {
    await requireStanding(optionsOf(rows), principal as Principal);
    return "stands";
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
};

const tokenOf = (expiresAt: number, proof?: string): object => ({
  kind: "token",
  token: { id: "t", agentId: "a", expiresAt },
  proof,
});

describe("whoever began a request", () => {
  it("goes on while the store says nothing against it", async () => {
    expect(await verdict({ kind: "anonymous" })).toBe("stands");
    expect(await verdict({ kind: "agent", agent: { id: "a" } })).toBe("stands");
    expect(await verdict({ kind: "operator", agent: { id: "a" } })).toBe("stands");
    expect(await verdict(tokenOf(NOW + 60_000))).toBe("stands");
    expect(await verdict(tokenOf(NOW + 60_000, "key"), { sidecar: {} })).toBe("stands");
  });

  it.each(["agent", "operator"])("ends as %s with its key", async (kind) => {
    expect(await verdict({ kind, agent: { id: "a" } }, { agent: { revokedAt: NOW } })).toBe("IDENTITY_KEY_INVALID");
  });

  it("ends with its token: revoked, forgotten or expired", async () => {
    expect(await verdict(tokenOf(NOW + 60_000), { token: { revokedAt: NOW } })).toBe("IDENTITY_TOKEN_REVOKED");
    expect(await verdict(tokenOf(NOW + 60_000), { token: undefined })).toBe("IDENTITY_TOKEN_REVOKED");
    expect(await verdict(tokenOf(NOW - 3_600_000))).toBe("IDENTITY_TOKEN_EXPIRED");
  });

  it("ends with the sidecar whose proof came with it", async () => {
    expect(await verdict(tokenOf(NOW + 60_000, "key"), { sidecar: { revokedAt: NOW } })).toBe(
      "IDENTITY_SIDECAR_REVOKED",
    );
  });
});
