/** No secret, key, token, proof or placeholder gets into the audit, whatever is called and wherever it is put. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { auditOf, canary, newKey, type Stage, setAuditedVault } from "../support/vault/audited-vault.ts";
import type { TestAnswer } from "../support/vault/test-vault.ts";

interface Canaries {
  /** A new one, remembered. */
  next(): string;
}

type Calls = Readonly<Record<string, (stage: Stage, canaries: Canaries) => Promise<TestAnswer | undefined>>>;

/** By operationId. Canaries stand in every field that may hold a secret, and in some that may not. */
const CALLS: Calls = {
  getHealth: ({ vault }) => vault.call("GET", "/v1/health", { as: null }),
  getDocument: ({ vault }) => vault.call("GET", "/v1/openapi.json", { as: null }),
  getSigningKeys: ({ vault }) => vault.call("GET", "/v1/jwks.json", { as: null }),
  getWellKnownSigningKeys: ({ vault }) => vault.call("GET", "/.well-known/jwks.json", { as: null }),
  getMe: ({ vault, agentKey }) => vault.call("GET", "/v1/me", { as: agentKey }),
  getStatus: ({ vault, agentKey }) => vault.call("GET", "/v1/me/status", { as: agentKey }),
  putSecret: ({ vault }, { next }) =>
    vault.call("PUT", "/v1/secrets/a/one", { body: { value: next(), metadata: { note: next() } } }),
  createSecret: ({ vault }, { next }) =>
    vault.call("POST", "/v1/secrets", { body: { path: "a/two", value: next(), metadata: { [next()]: 1 } } }),
  patchSecret: ({ vault }, { next }) =>
    vault.call("PATCH", "/v1/secrets/a/one", { body: { value: next(), metadata: { note: next() } } }),
  rotateSecret: ({ vault }, { next }) =>
    vault.call("POST", "/v1/secrets/a/one/rotate", { body: { new_value: next(), grace_period_seconds: 60 } }),
  rollBackSecret: ({ vault }) => vault.call("POST", "/v1/secrets/a/one/rollback", { body: { version: 1 } }),
  importSecrets: ({ vault }, { next }) =>
    vault.call("POST", "/v1/secrets/import", { body: { namespace: "i", content: `ONE=${next()}\nTWO='${next()}'\n` } }),
  getSecret: async ({ vault, token }) => {
    const as = await token({ scopes: ["secrets:read:a/*"], max_uses: 5 });
    await vault.call("GET", "/v1/secrets/a/one", { as, headers: { "idempotency-key": "k1" } });
    await vault.call("GET", "/v1/secrets/b/denied", { as });
    return undefined;
  },
  listSecrets: ({ vault }) => vault.call("GET", "/v1/secrets?namespace=a"),
  getSecretHistory: ({ vault }) => vault.call("GET", "/v1/secrets/a/one/history"),
  listNamespaces: ({ vault }) => vault.call("GET", "/v1/namespaces"),
  issueToken: ({ issue }, { next }) => issue({ scopes: ["secrets:read:a/*"], description: next() }),
  listTokens: ({ vault }) => vault.call("GET", "/v1/tokens"),
  revokeToken: async ({ vault, issue }) => {
    const { json } = await issue({ scopes: ["secrets:read:a/*"] });
    await vault.call("POST", `/v1/tokens/${json.token_id}/revoke`);
    return undefined;
  },
  deleteToken: async ({ vault, issue }) => {
    const { json } = await issue({ scopes: ["secrets:read:a/*"] });
    await vault.call("DELETE", `/v1/tokens/${json.token_id}`);
    return undefined;
  },
  revokeOwnToken: async ({ vault, token }) => {
    const as = await token({ scopes: ["secrets:read:a/*"] });
    await vault.call("POST", "/v1/tokens/revoke", { as });
    await vault.call("GET", "/v1/secrets/a/one", { as });
    return undefined;
  },
  rotateSigningKey: ({ vault }) => vault.call("POST", "/v1/keys/rotate"),
  listAudit: ({ vault }) => vault.call("GET", "/v1/audit?secret=a/*"),
  exportAudit: ({ vault }) => vault.call("GET", "/v1/audit/export"),
  listAgents: ({ vault }) => vault.call("GET", "/v1/agents"),
  createAgent: async ({ vault, credentials }, { next }) => {
    const body = { name: "other", description: next(), allowed_scopes: ["secrets:read:a/*"] };
    credentials.push((await vault.call("POST", "/v1/agents", { body })).json.api_key);
    return undefined;
  },
  updateAgent: ({ vault }, { next }) => vault.call("PATCH", "/v1/agents/other", { body: { description: next() } }),
  revokeAgent: ({ vault }) => vault.call("DELETE", "/v1/agents/other"),
  listSidecars: ({ vault }) => vault.call("GET", "/v1/sidecars"),
  enrolSidecar: async ({ vault, agentKey }, { next }) => {
    const { kty, crv, x, y } = newKey().publicJwk;
    // Somebody sends the private part as well, which is refused.
    const secret = { name: "second", jwk: { kty, crv, x, y, d: next() } };
    expect((await vault.call("POST", "/v1/sidecars", { as: agentKey, body: secret })).status).not.toBe(201);
    const body = { name: "second", jwk: { kty, crv, x, y } };
    return vault.call("POST", "/v1/sidecars", { as: agentKey, body });
  },
  revokeSidecar: ({ vault, sidecarId }) => vault.call("DELETE", `/v1/sidecars/${sidecarId}`),
  redeem: async ({ vault, token, proven, jkt, credentials }) => {
    const bound = await token({ scopes: ["secrets:use:a/*"], dpop_jkt: jkt });
    const authority = "api.example.test";
    await proven("POST", "/v1/redeem", bound, { path: "a/one", authority });
    await proven("POST", "/v1/redeem", bound, { path: "b/denied", authority });
    // A placeholder is worth something as well, to the agent's own sidecar.
    const as = await token({ scopes: ["secrets:use:a/*"], reads: "placeholder" });
    const { json } = await vault.call("GET", "/v1/secrets/a/one", { as });
    expect(json.placeholder).toBe(true);
    credentials.push(json.value);
    await proven("POST", "/v1/redeem", bound, { placeholder: json.value, authority });
    return undefined;
  },
  streamEvents: async ({ vault, token, jkt }) => {
    const bound = await token({ scopes: ["secrets:use:a/*"], dpop_jkt: jkt });
    await vault.call("GET", "/v1/events", { as: bound });
    return undefined;
  },
  listApprovals: async ({ vault, issue }, { next }) => {
    await vault.call("PUT", "/v1/secrets/c/raised", { body: { value: next(), access_tier: "critical" } });
    await issue({ scopes: ["secrets:read:c/*"], description: next() });
    await vault.call("GET", "/v1/approvals");
    return undefined;
  },
  getApproval: async ({ vault, issue }) => {
    const { json } = await issue({ scopes: ["secrets:read:c/*"], ttl: 61 });
    await vault.call("GET", `/v1/approvals/${json.approval_id}`);
    return undefined;
  },
  getOwnApproval: async ({ vault, issue, agentKey }) => {
    const { json } = await issue({ scopes: ["secrets:read:c/*"], ttl: 61 });
    await vault.call("GET", `/v1/approvals/agent/${json.approval_id}`, { as: agentKey });
    return undefined;
  },
  approve: async ({ vault, issue }) => {
    const wish = { scopes: ["secrets:read:c/*"], ttl: 62 };
    const { json } = await issue(wish);
    await vault.call("POST", `/v1/approvals/${json.approval_id}/approve`, { body: {} });
    const { status, json: issued } = await issue(wish);
    expect(status).toBe(201);
    await vault.call("GET", "/v1/secrets/c/raised", { as: issued.token });
    return undefined;
  },
  deny: async ({ vault, issue }) => {
    const { json } = await issue({ scopes: ["secrets:read:c/*"], ttl: 63 });
    await vault.call("POST", `/v1/approvals/${json.approval_id}/deny`, { body: { reason: "no" } });
    return undefined;
  },
  deleteSecret: ({ vault }) => vault.call("DELETE", "/v1/secrets/a/two"),
};

describe("the audit of a vault", () => {
  it("holds no secret after every call there is, with secrets in every field", async () => {
    const stage = await setAuditedVault();
    const { vault, credentials } = stage;
    const canaries: string[] = [];
    const next = (): string => {
      const made = canary();
      canaries.push(made);
      return made;
    };
    const { json: document } = await vault.call("GET", "/v1/openapi.json");
    const operations = Object.values(
      document.paths as Record<string, Record<string, { operationId?: string }>>,
    ).flatMap((methods) => Object.values(methods).map(({ operationId }) => operationId ?? ""));
    // One that is new must be made here as well.
    expect(operations.filter((id) => CALLS[id] === undefined)).toEqual([]);

    await vault.call("PUT", "/v1/secrets/b/denied", { body: { value: next() } });
    for (const [id, call] of Object.entries(CALLS)) {
      const answer = await call(stage, { next });
      if (answer !== undefined) expect([id, answer.status < 300]).toEqual([id, true]);
    }

    // What is sent as a key or token, and is none.
    for (const authorization of [`Bearer ${next()}`, `Bearer ask_op_${next()}`, `DPoP ${next()}`, `Basic ${next()}`]) {
      const headers = { authorization, dpop: next(), "idempotency-key": next() };
      for (const path of ["/v1/secrets/a/one", "/v1/audit", "/v1/tokens"]) {
        expect((await vault.call("GET", path, { as: null, headers })).status).toBe(401);
      }
    }
    // What is no request that is understood.
    await vault.call("PUT", "/v1/secrets/a/one", { body: { value: 1, extra: next() } });
    await vault.call("POST", "/v1/redeem", { body: { path: "a/one", authority: "x", value: next() } });

    const log = auditOf(vault);
    expect(log.trim().split("\n").length).toBeGreaterThan(40);
    expect(canaries.length).toBeGreaterThan(25);
    expect(credentials.length).toBeGreaterThan(15);
    for (const secret of [...canaries, ...credentials]) expect(log.includes(secret), secret.slice(0, 24)).toBe(false);
    // Nor a part of a token: its claims or its signature.
    for (const part of credentials.flatMap((text) => text.split("."))) expect(log.includes(part)).toBe(false);
    expect(log).not.toContain(readFileSync(`${vault.state}/vault.key`, "utf8").trim());
  });
});
