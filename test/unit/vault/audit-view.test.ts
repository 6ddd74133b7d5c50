import { describe, expect, it } from "vitest";
import { encodeEvent } from "../../../src/audit/record.ts";
import { auditEventOf, type VaultEvent } from "../../../src/vault/audit.ts";
import { viewOf } from "../../../src/vault/audit-view.ts";

const TIME = "2026-01-02T03:04:05.678Z";

const view = (event: VaultEvent) => viewOf(`{"seq":7,${encodeEvent(auditEventOf(event), TIME)},"prev":"","hash":""}`);

describe("a record as clients of Agent Secret Store read it", () => {
  it("of a secret", () => {
    expect(
      view({
        event: "secret.read",
        actor: { type: "token", id: "t1", agent: "researcher" },
        requestId: "r1",
        ip: "192.0.2.7",
        agentName: "planner",
        reason: "web search",
        secret: "production/tavily/api-key",
        version: 3,
      }),
    ).toEqual({
      id: "7",
      event_type: "secret.read",
      actor_id: "t1",
      actor_type: "token",
      resource_type: "secret",
      resource_id: "production/tavily/api-key",
      metadata: {
        agent: "researcher",
        agent_name: "planner",
        reason: "web search",
        version: "3",
        outcome: "ok",
        request_id: "r1",
      },
      ip_address: "192.0.2.7",
      created_at: TIME,
    });
  });

  it("of everything else, by the id of what it is about", () => {
    const actor = { type: "operator", id: "op" } as const;
    const about = (event: VaultEvent) => {
      const { resource_type, resource_id, actor_type } = view(event) ?? {};
      return [resource_type, resource_id, actor_type];
    };
    expect(about({ event: "token.issued", actor, tokenId: "t1" })).toEqual(["token", "t1", "human"]);
    expect(about({ event: "approval.granted", actor, approvalId: "p1" })).toEqual(["approval", "p1", "human"]);
    expect(about({ event: "agent.created", actor, agentId: "a1", name: "n" })).toEqual(["agent", "a1", "human"]);
    expect(about({ event: "sidecar.enrolled", actor, sidecarId: "s1" })).toEqual(["sidecar", "s1", "human"]);
    expect(about({ event: "key.rotated", actor, kid: "k1" })).toEqual(["key", "k1", "human"]);
    expect(
      about({ event: "auth.failed", actor: { type: "anonymous" }, code: "IDENTITY_TOKEN_INVALID", status: 401 }),
    ).toEqual([null, null, "anonymous"]);
    expect(about({ event: "approval.timed_out", actor: { type: "system" }, approvalId: "p1" })).toEqual([
      "approval",
      "p1",
      "system",
    ]);
  });

  it("of the log about itself, and nothing of what is no record", () => {
    expect(viewOf('{"seq":1,"time":"T","type":"start","reason":"new chain","prev":"","hash":""}')).toMatchObject({
      event_type: "log.start",
      actor_type: "system",
      metadata: { reason: "new chain" },
    });
    expect(viewOf("no record")).toBeUndefined();
    expect(viewOf('{"seq":"1"}')).toBeUndefined();
    expect(viewOf('{"seq":1,"time":"T","type":"secret","metadata":"{"')).toBeUndefined();
  });
});
