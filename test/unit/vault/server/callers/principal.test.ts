import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../../src/identity/scope.ts";
import type { AgentInfo } from "../../../../../src/vault/index.ts";
import { type AgentPrincipal, covers, requireScope, sees } from "../../../../../src/vault/server/callers/principal.ts";

const agentIn = (...namespaces: string[]): AgentPrincipal => ({
  kind: "agent",
  agent: { scopes: parseScopes("secrets:read:*"), namespaces } as unknown as AgentInfo,
});

describe("an agent's key", () => {
  it("is bound to its namespaces, by whole segments", () => {
    const agent = agentIn("production/app");
    expect(covers(agent, "read", "production/app/key")).toBe(true);
    for (const path of [
      "production/app",
      "production/app2/key",
      "production/apple",
      "production/x",
      "staging/app/key",
    ]) {
      expect(covers(agent, "read", path), path).toBe(false);
      expect(sees(agent, path), path).toBe(false);
      expect(() => requireScope(agent, "read", path), path).toThrow("IDENTITY_SCOPE_DENIED");
    }
  });

  it("may be in one of several namespaces, and without any has its scopes alone", () => {
    expect(covers(agentIn("a", "b/c"), "read", "b/c/key")).toBe(true);
    expect(covers(agentIn("a", "b/c"), "read", "b/key")).toBe(false);
    expect(covers(agentIn(), "read", "b/key")).toBe(true);
    expect(covers(agentIn(), "write", "b/key")).toBe(false);
  });
});
