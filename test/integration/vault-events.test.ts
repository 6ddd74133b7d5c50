/** Every event of the vault, by the operation that makes it. */
import { describe, expect, it } from "vitest";
import { VAULT_EVENTS } from "../../src/vault/audit.ts";
import { auditOf, canary, newKey, type Stage, setAuditedVault, TOLD } from "../support/vault/audited-vault.ts";

const RAISED = "production/raised/key";

type EventName = keyof typeof VAULT_EVENTS;

/** What is done, and what its record says beside who was told. */
const OPERATIONS: Readonly<Record<EventName, (stage: Stage) => Promise<Readonly<Record<string, unknown>>>>> = {
  async "secret.created"({ vault }) {
    const { status } = await vault.call("PUT", "/v1/secrets/a/new", { body: { value: canary() }, headers: TOLD });
    expect(status).toBe(201);
    return { secret: "a/new", version: "1", actor_type: "operator", agent: "operator", outcome: "ok" };
  },
  async "secret.updated"({ vault }) {
    for (const _ of [1, 2]) await vault.call("PUT", "/v1/secrets/a/old", { body: { value: canary() }, headers: TOLD });
    return { secret: "a/old", version: "2" };
  },
  async "secret.read"({ vault, token }) {
    await vault.call("PUT", "/v1/secrets/a/read", { body: { value: canary() } });
    const as = await token({ scopes: ["secrets:read:a/read"] });
    const { status } = await vault.call("GET", "/v1/secrets/a/read", { as, headers: TOLD });
    expect(status).toBe(200);
    return { secret: "a/read", version: "1", actor_type: "token", agent: "researcher", outcome: "ok" };
  },
  async "secret.used"({ vault, token, proven, jkt }) {
    await vault.call("PUT", "/v1/secrets/a/used", { body: { value: canary() } });
    const bound = await token({ scopes: ["secrets:use:a/used"], dpop_jkt: jkt });
    const { status } = await proven("POST", "/v1/redeem", bound, { path: "a/used", authority: "api.example.test" });
    expect(status).toBe(200);
    return { secret: "a/used", version: "1", actor_type: "sidecar", actor: jkt, authority: "api.example.test" };
  },
  async "secret.rotated"({ vault }) {
    await vault.call("PUT", "/v1/secrets/a/rotated", { body: { value: canary() } });
    await vault.call("POST", "/v1/secrets/a/rotated/rotate", { body: { new_value: canary() }, headers: TOLD });
    return { secret: "a/rotated", version: "2" };
  },
  async "secret.rolled_back"({ vault }) {
    for (const _ of [1, 2]) await vault.call("PUT", "/v1/secrets/a/back", { body: { value: canary() } });
    await vault.call("POST", "/v1/secrets/a/back/rollback", { body: { version: 1 }, headers: TOLD });
    return { secret: "a/back", version: "3" };
  },
  async "secret.imported"({ vault }) {
    const body = { namespace: "imported", content: `ONE=${canary()}\n` };
    await vault.call("POST", "/v1/secrets/import", { body, headers: TOLD });
    return { secret: "imported/ONE", version: "1" };
  },
  async "secret.deleted"({ vault }) {
    await vault.call("PUT", "/v1/secrets/a/deleted", { body: { value: canary() } });
    await vault.call("DELETE", "/v1/secrets/a/deleted", { headers: TOLD });
    return { secret: "a/deleted" };
  },
  async "secret.expired"({ vault }) {
    const body = { value: canary(), expires_at: new Date(Date.now() + 3_000).toISOString() };
    expect((await vault.call("PUT", "/v1/secrets/a/over", { body })).status).toBe(201);
    return { secret: "a/over", version: "1", actor_type: "system" };
  },
  async "secret.read.denied"({ vault, token }) {
    await vault.call("PUT", "/v1/secrets/b/other", { body: { value: canary() } });
    const as = await token({ scopes: ["secrets:read:a/*"] });
    expect((await vault.call("GET", "/v1/secrets/b/other", { as, headers: TOLD })).status).toBe(403);
    return { type: "refusal", secret: "b/other", code: "IDENTITY_SCOPE_DENIED", status: 403, outcome: "refused" };
  },
  async "secret.use.denied"({ token, proven, jkt }) {
    const bound = await token({ scopes: ["secrets:use:a/*"], dpop_jkt: jkt });
    const { status } = await proven("POST", "/v1/redeem", bound, { path: "b/other", authority: "api.example.test" });
    expect(status).toBe(403);
    return { type: "refusal", secret: "b/other", code: "IDENTITY_SCOPE_DENIED", status: 403 };
  },
  async "token.issued"({ token }) {
    await token({ scopes: ["secrets:read:a/*"] });
    return { actor_type: "agent", agent: "researcher" };
  },
  async "token.used"({ vault, token }) {
    await vault.call("PUT", "/v1/secrets/a/once", { body: { value: canary() } });
    const as = await token({ scopes: ["secrets:read:a/once"], max_uses: 1 });
    expect((await vault.call("GET", "/v1/secrets/a/once", { as, headers: TOLD })).status).toBe(200);
    return { actor_type: "token" };
  },
  async "token.revoked"({ vault, issue }) {
    const { json } = await issue({ scopes: ["secrets:read:a/*"] });
    expect((await vault.call("DELETE", `/v1/tokens/${json.token_id}`, { headers: TOLD })).status).toBe(204);
    return { actor_type: "operator" };
  },
  async "token.expired"({ vault, token, later }) {
    const as = await token({ scopes: ["secrets:read:a/*"], ttl: 1 });
    later(120_000);
    expect((await vault.call("GET", "/v1/secrets/a/new", { as, headers: TOLD })).status).toBe(401);
    return { type: "refusal", code: "IDENTITY_TOKEN_EXPIRED", status: 401 };
  },
  async "token.denied"({ vault }) {
    const narrow = await vault.call("POST", "/v1/agents", {
      body: { name: "narrow", allowed_scopes: ["secrets:read:a/*"] },
    });
    const body = { scopes: ["secrets:read:b/*"] };
    const { status } = await vault.call("POST", "/v1/tokens", { as: narrow.json.api_key, body, headers: TOLD });
    expect(status).toBe(403);
    return { type: "refusal", agent: "narrow", actor_type: "agent", status: 403 };
  },
  async "approval.requested"({ issue }) {
    expect((await issue({ scopes: [`secrets:read:${RAISED}`], reason: "a web search" })).status).toBe(202);
    return { actor_type: "agent", agent: "researcher" };
  },
  async "approval.granted"({ vault, issue }) {
    const { json } = await issue({ scopes: [`secrets:read:${RAISED}`], ttl: 61 });
    const path = `/v1/approvals/${json.approval_id}/approve`;
    expect((await vault.call("POST", path, { body: {}, headers: TOLD })).status).toBe(200);
    return { actor_type: "operator" };
  },
  async "approval.denied"({ vault, issue }) {
    const { json } = await issue({ scopes: [`secrets:read:${RAISED}`], ttl: 62 });
    const path = `/v1/approvals/${json.approval_id}/deny`;
    expect((await vault.call("POST", path, { body: { reason: "no" }, headers: TOLD })).status).toBe(200);
    return { actor_type: "operator" };
  },
  async "approval.timed_out"({ issue }) {
    expect((await issue({ scopes: [`secrets:read:${RAISED}`], ttl: 63 })).status).toBe(202);
    return { actor_type: "system" };
  },
  async "agent.created"({ vault }) {
    const body = { name: "created", allowed_scopes: ["secrets:read:a/*"] };
    expect((await vault.call("POST", "/v1/agents", { body, headers: TOLD })).status).toBe(201);
    return { actor_type: "operator", agent: "operator" };
  },
  async "agent.updated"({ vault }) {
    await vault.call("POST", "/v1/agents", { body: { name: "updated", allowed_scopes: ["secrets:read:a/*"] } });
    const body = { allowed_scopes: ["secrets:use:a/*"] };
    expect((await vault.call("PATCH", "/v1/agents/updated", { body, headers: TOLD })).status).toBe(200);
    return { actor_type: "operator", agent: "operator" };
  },
  async "agent.revoked"({ vault }) {
    const body = { name: "revoked", allowed_scopes: ["secrets:read:a/*"] };
    await vault.call("POST", "/v1/agents", { body });
    expect((await vault.call("DELETE", "/v1/agents/revoked", { headers: TOLD })).status).toBe(204);
    return { actor_type: "operator" };
  },
  async "sidecar.enrolled"() {
    return { actor_type: "agent", agent: "researcher" };
  },
  async "sidecar.revoked"({ vault, agentKey }) {
    const { kty, crv, x, y } = newKey().publicJwk;
    const body = { name: "other", jwk: { kty, crv, x, y } };
    const { json } = await vault.call("POST", "/v1/sidecars", { as: agentKey, body });
    expect((await vault.call("DELETE", `/v1/sidecars/${json.id}`, { headers: TOLD })).status).toBe(204);
    return { actor_type: "operator" };
  },
  async "key.rotated"({ vault }) {
    expect((await vault.call("POST", "/v1/keys/rotate", { headers: TOLD })).status).toBeLessThan(300);
    return { actor_type: "operator" };
  },
  async "answer.repeated"({ vault }) {
    const body = { name: "repeated", allowed_scopes: ["secrets:read:a/*"] };
    const headers = { ...TOLD, "idempotency-key": "repeated" };
    for (const n of [1, 2])
      expect([n, (await vault.call("POST", "/v1/agents", { body, headers })).status]).toEqual([n, 201]);
    return { actor_type: "operator", agent: "operator" };
  },
  async "auth.failed"({ vault }) {
    const as = `ast_agent_${"x".repeat(43)}`;
    expect((await vault.call("GET", "/v1/secrets/a/new", { as, headers: TOLD })).status).toBe(401);
    return { type: "refusal", actor_type: "anonymous", status: 401 };
  },
};

/** Nobody asked for these. */
const BY_ITSELF: ReadonlySet<string> = new Set(["secret.expired", "approval.timed_out"]);

describe("an event of the vault", () => {
  it.each(Object.keys(OPERATIONS) as EventName[])("%s is on record, and found", async (event) => {
    const stage = await setAuditedVault(event === "approval.timed_out" ? "approvals: { expire: 1s }\n" : "");
    const { vault } = stage;
    await vault.call("PUT", `/v1/secrets/${RAISED}`, { body: { value: canary(), access_tier: "sensitive" } });
    const expected = await OPERATIONS[event](stage);
    await expect.poll(() => stage.records(event).length, { timeout: 20_000 }).toBeGreaterThan(0);
    const told = BY_ITSELF.has(event)
      ? {}
      : { agent_name: "planner", reason: expect.stringMatching(/^(?:a web search|no)$/), ip: "127.0.0.1" };
    expect(stage.records(event).at(-1)).toMatchObject({ ...expected, ...told, event });

    const { json } = await vault.call("GET", `/v1/audit?event=${event}&limit=1`);
    expect(json.events).toHaveLength(1);
    const [found] = json.events;
    expect(found.event_type).toBe(event);
    expect(["human", "agent", "token", "system", "anonymous"]).toContain(found.actor_type);
    if (!BY_ITSELF.has(event)) expect(found.metadata).toMatchObject({ agent_name: "planner" });
    if (event !== "auth.failed" && event !== "token.denied") expect(found.resource_id).toEqual(expect.any(String));
    for (const credential of stage.credentials) expect(auditOf(vault)).not.toContain(credential);
  });

  it("is one of those that this file makes", () => {
    expect(Object.keys(OPERATIONS).sort()).toEqual(Object.keys(VAULT_EVENTS).sort());
  });
});
