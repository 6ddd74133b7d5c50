import { describe, expect, it } from "vitest";
import { type AuditFs, nodeAuditFs } from "../../../src/audit/file-access.ts";
import { silentLog } from "../../../src/core/log.ts";
import {
  auditEventOf,
  createVaultAudit,
  VAULT_EVENTS,
  type VaultAuditOptions,
  type VaultEvent,
} from "../../../src/vault/audit.ts";
import { createTestTime, openLog, recordsOf } from "../audit/support.ts";

const READ: VaultEvent = {
  event: "secret.read",
  actor: { type: "token", id: "t1", agent: "researcher" },
  secret: "production/tavily/api-key",
  version: 3,
  requestId: "r1",
  ip: "192.0.2.7",
  agentName: "planner",
  reason: "web search",
};
const SET: VaultEvent = { ...READ, event: "secret.updated" };

const fullWhen = (disk: { readonly full: boolean }): AuditFs => ({
  ...nodeAuditFs,
  writeSync(fd, bytes) {
    if (disk.full) throw Object.assign(new Error("full"), { code: "ENOSPC" });
    return nodeAuditFs.writeSync(fd, bytes);
  },
});

/** An audit over a log whose disk the test can fill. */
const openAudit = (every?: VaultAuditOptions["every"]) => {
  const disk = { full: false };
  const time = createTestTime();
  const opened = openLog({ time, fs: fullWhen(disk) });
  const audit = createVaultAudit({ broker: opened.broker, clock: time, log: silentLog, every: every ?? time.every });
  return { ...opened, disk, audit };
};

describe("an event of the vault", () => {
  it("is stored before anyone is told, with who, from where, for whom and why", async () => {
    const { audit, path } = openAudit();
    await audit.record(READ);
    expect(recordsOf(path).at(-1)).toMatchObject({
      type: "secret",
      event: "secret.read",
      request_id: "r1",
      agent: "researcher",
      actor: "t1",
      actor_type: "token",
      ip: "192.0.2.7",
      agent_name: "planner",
      secret: "production/tavily/api-key",
      version: "3",
      outcome: "ok",
      reason: "web search",
    });
  });

  it("names what it is about by the names of the API", () => {
    const actor = { type: "operator", id: "op1", agent: "root" } as const;
    expect(auditEventOf({ event: "agent.created", actor, agentId: "a1", name: "researcher" })).toMatchObject({
      type: "admin",
      agent: "root",
      metadata: '{"agent_id":"a1","name":"researcher"}',
    });
    expect(auditEventOf({ event: "token.issued", actor, tokenId: "t1", metadata: { scope: "s" } })).toMatchObject({
      type: "token",
      metadata: '{"token_id":"t1","scope":"s"}',
    });
    expect(
      auditEventOf({ event: "auth.failed", actor: { type: "anonymous" }, code: "IDENTITY_TOKEN_INVALID", status: 401 }),
    ).toMatchObject({ type: "refusal", code: "IDENTITY_TOKEN_INVALID", status: 401, outcome: "refused" });
  });

  it("keeps its metadata valid JSON where it is too long, and says so", () => {
    const { metadata = "" } = auditEventOf({ ...READ, metadata: { note: "x".repeat(5000), keys: ["a"] } });
    expect(JSON.parse(metadata)).toEqual({ truncated: true, keys: ["a"] });
  });

  it("is a refusal exactly where something was denied", () => {
    const refusals = Object.entries(VAULT_EVENTS).filter(([, type]) => type === "refusal");
    expect(refusals.map(([name]) => name)).toEqual([
      "secret.read.denied",
      "secret.use.denied",
      "token.expired",
      "token.denied",
      "auth.failed",
    ]);
  });
});

describe("while the log cannot be written", () => {
  it("a read is refused and leaves nothing to be told later", async () => {
    const { audit, disk, path, time } = openAudit();
    disk.full = true;
    await expect(audit.record(READ)).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    expect(audit.healthy()).toBe(false);
    expect(() => audit.assertWritable()).toThrow(expect.objectContaining({ code: "AUDIT_UNAVAILABLE" }));
    disk.full = false;
    time.advance(2000);
    expect(audit.healthy()).toBe(true);
    expect(recordsOf(path).filter(({ event }) => event === "secret.read")).toEqual([]);
  });

  it("a change that was made is refused, and recorded by itself with its time once the log is back", async () => {
    const { audit, disk, path, time } = openAudit();
    disk.full = true;
    const madeAt = new Date(time.now()).toISOString();
    const recorded = audit.recordAll([SET, { ...SET, secret: "b" }]);
    time.turn();
    await expect(recorded).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    disk.full = false;
    await expect
      .poll(() => {
        time.advance(500);
        return audit.healthy();
      })
      .toBe(true);
    const late = recordsOf(path).filter(({ event }) => event === "secret.updated");
    expect(late.map(({ secret }) => secret)).toEqual([SET.secret, "b"]);
    expect(JSON.parse(String(late[0]?.["metadata"]))).toEqual({ answered: 503, happened_at: madeAt });
    expect(() => audit.assertWritable()).not.toThrow();
  });

  it("what is owed is stored at close where that is possible by then", async () => {
    const { audit, disk, path, time } = openAudit(() => () => undefined);
    disk.full = true;
    await expect(audit.record(SET)).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    disk.full = false;
    // The log is back; nothing was stored in it yet.
    time.advance(500);
    await audit.close();
    expect(recordsOf(path).map(({ event, type }) => event ?? type)).toContain("secret.updated");
  });
});
