import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { requireTier } from "../../../../src/identity/tier.ts";
import {
  type AgentInfo,
  type ApprovalRequest,
  DEFAULT_APPROVALS,
  openVault,
  type Vault,
} from "../../../../src/vault/index.ts";
import { afterTest, codeOf, openTestVault, START, type TestClock, temporaryDirectory } from "../support.ts";

const HOUR = 3_600_000;
const scopes = parseScopes("secrets:use:production/*");

interface Stage {
  readonly vault: Vault;
  readonly clock: TestClock;
  readonly agent: AgentInfo;
  readonly wanted: ApprovalRequest;
}

const open = async (approvals: Partial<typeof DEFAULT_APPROVALS> = {}): Promise<Stage> => {
  const { clock } = await openTestVault();
  const state = await temporaryDirectory();
  const vault = await openVault({
    directory: join(state, "vault"),
    keys: { file: join(state, "vault.key") },
    clock,
    identity: { approvals: { ...DEFAULT_APPROVALS, ...approvals } },
  });
  afterTest(async () => vault.close());
  const { info: agent } = await vault.agents.create({ name: "research", scopes });
  return { vault, clock, agent, wanted: { agent, scopes, tier: "critical", reason: "monthly report", terms: "terms" } };
};

describe("vault.approvals", () => {
  it("keeps who asked for what and why, and who allowed it, when and why", async () => {
    const { vault, clock, agent, wanted } = await open();
    const { id, isNew } = await vault.approvals.request(wanted);
    expect(isNew).toBe(true);
    expect(await vault.approvals.get(id)).toMatchObject({
      agentId: agent.id,
      agent: "research",
      status: "pending",
      tier: "critical",
      scopes,
      reason: "monthly report",
      createdAt: START,
      expiresAt: START + 24 * HOUR,
      needed: 1,
      approvedBy: [],
      decidedBy: undefined,
    });
    clock.advance(1000);
    const approved = await vault.approvals.approve(id, { by: "op-1", reason: "checked" });
    expect(approved).toMatchObject({
      status: "approved",
      approvedBy: ["op-1"],
      decidedBy: "op-1",
      decidedAt: START + 1000,
      decisionReason: "checked",
    });
    expect(await vault.approvals.get(id)).toEqual(approved);
  });

  it("returns the request that is open already, whatever reason comes with it", async () => {
    const { vault, wanted } = await open();
    const first = await vault.approvals.request(wanted);
    expect(await vault.approvals.request({ ...wanted, reason: "now" })).toEqual({ ...first, isNew: false });
    await vault.approvals.approve(first.id, { by: "op-1" });
    expect(await vault.approvals.request(wanted)).toMatchObject({ id: first.id, status: "approved", isNew: false });
    const other = await vault.approvals.request({ ...wanted, terms: "others" });
    expect(other.id).not.toBe(first.id);
    expect((await vault.approvals.list()).map(({ id }) => id)).toEqual([other.id, first.id]);
    expect((await vault.approvals.list({ status: "pending" })).map(({ id }) => id)).toEqual([other.id]);
  });

  it("makes one token of an approval, on its terms and for its agent, of all who claim it at once", async () => {
    const { vault, agent, wanted } = await open();
    const { info: stranger } = await vault.agents.create({ name: "stranger", scopes });
    const { id } = await vault.approvals.request(wanted);
    expect(await vault.approvals.claim(agent.id, "terms")).toBeUndefined();
    await vault.approvals.approve(id, { by: "op-1" });
    expect(await vault.approvals.claim(agent.id, "other terms")).toBeUndefined();
    expect(await vault.approvals.claim(stranger.id, "terms")).toBeUndefined();
    const claimed = await Promise.all(Array.from({ length: 8 }, () => vault.approvals.claim(agent.id, "terms")));
    expect(claimed.filter((one) => one !== undefined)).toMatchObject([{ id, status: "approved", usedAt: START }]);
    expect(await vault.approvals.get(id)).toMatchObject({ status: "approved", usedAt: START });
    const next = await vault.approvals.request(wanted);
    expect(next).toMatchObject({ status: "pending", isNew: true });
    expect(next.id).not.toBe(id);
  });

  it("is decided once: whoever comes later is told that it is", async () => {
    const { vault, wanted } = await open();
    const again = async (id: string): Promise<void> => {
      const by = "op-2";
      expect(await codeOf(() => vault.approvals.approve(id, { by }))).toBe("IDENTITY_APPROVAL_DECIDED");
      expect(await codeOf(() => vault.approvals.deny(id, { by, reason: "no" }))).toBe("IDENTITY_APPROVAL_DECIDED");
    };
    const first = await vault.approvals.request(wanted);
    await vault.approvals.approve(first.id, { by: "op-1" });
    await again(first.id);
    const second = await vault.approvals.request({ ...wanted, terms: "2" });
    await vault.approvals.deny(second.id, { by: "op-1", reason: "not on Sundays" });
    expect(await vault.approvals.get(second.id)).toMatchObject({
      status: "denied",
      decidedBy: "op-1",
      decisionReason: "not on Sundays",
    });
    await again(second.id);
    const third = await vault.approvals.request({ ...wanted, terms: "3" });
    const words = await Promise.allSettled([
      vault.approvals.approve(third.id, { by: "op-1" }),
      vault.approvals.deny(third.id, { by: "op-2", reason: "no" }),
    ]);
    expect(words.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("needs two different operators where the file says so", async () => {
    const { vault, agent, wanted } = await open({ critical: 2 });
    const { id } = await vault.approvals.request(wanted);
    expect(await vault.approvals.approve(id, { by: "op-1" })).toMatchObject({ status: "pending", needed: 2 });
    expect(await codeOf(() => vault.approvals.approve(id, { by: "op-1" }))).toBe("IDENTITY_APPROVAL_DECIDED");
    expect(await vault.approvals.claim(agent.id, "terms")).toBeUndefined();
    const approved = await vault.approvals.approve(id, { by: "op-2" });
    expect(approved).toMatchObject({ status: "approved", approvedBy: ["op-1", "op-2"], decidedBy: "op-2" });
    const other = await vault.approvals.request({ ...wanted, terms: "2" });
    await vault.approvals.approve(other.id, { by: "op-1" });
    const denied = await vault.approvals.deny(other.id, { by: "op-2", reason: "no" });
    expect(denied).toMatchObject({ status: "denied", approvedBy: ["op-1"] });
  });

  it("is over with its time, and that is told once, of all who ask", async () => {
    const { vault, clock, agent, wanted } = await open({ expireMs: HOUR });
    const { id } = await vault.approvals.request(wanted);
    expect(await vault.approvals.expire()).toEqual([]);
    clock.advance(HOUR);
    expect(await vault.approvals.get(id)).toMatchObject({ status: "expired" });
    expect(await codeOf(() => vault.approvals.approve(id, { by: "op-1" }))).toBe("IDENTITY_APPROVAL_DECIDED");
    // The same request once more, before anybody has marked the first.
    const next = await vault.approvals.request(wanted);
    expect(next).toMatchObject({ status: "pending", isNew: true });
    const told = await Promise.all([vault.approvals.expire(), vault.approvals.expire(), vault.approvals.expire()]);
    expect(told.flat().map((one) => one.id)).toEqual([id]);
    expect(await vault.approvals.expire()).toEqual([]);
    expect(await vault.approvals.claim(agent.id, "terms")).toBeUndefined();
    expect(await vault.approvals.get(next.id)).toMatchObject({ status: "pending" });
  });

  it("can be claimed for an hour when it was approved at the last moment, and is told of once then too", async () => {
    const { vault, clock, agent, wanted } = await open({ expireMs: HOUR });
    const { id } = await vault.approvals.request(wanted);
    clock.advance(HOUR - 1);
    await vault.approvals.approve(id, { by: "op-1" });
    clock.advance(HOUR);
    expect(await vault.approvals.get(id)).toMatchObject({ status: "expired" });
    expect(await vault.approvals.claim(agent.id, "terms")).toBeUndefined();
    expect(await vault.approvals.expire()).toEqual([]);
    clock.advance(-1);
    expect(await vault.approvals.claim(agent.id, "terms")).toMatchObject({ id });
  });

  it("lets one agent not flood the operators: open requests and lately denied ones count", async () => {
    const { vault, clock, wanted } = await open({ perAgent: 3 });
    const ask = (terms: string) => vault.approvals.request({ ...wanted, terms });
    const first = await ask("1");
    await ask("2");
    await vault.approvals.deny(first.id, { by: "op-1", reason: "no" });
    await ask("3");
    expect(await codeOf(() => ask("4"))).toBe("IDENTITY_APPROVAL_LIMIT");
    expect(await ask("3")).toMatchObject({ isNew: false });
    const { info: other } = await vault.agents.create({ name: "other", scopes });
    expect(await vault.approvals.request({ ...wanted, agent: other })).toMatchObject({ isNew: true });
    clock.advance(HOUR);
    expect(await ask("4")).toMatchObject({ isNew: true });
  });

  it("forgets what is long over, some at a time", async () => {
    const { vault, clock, wanted } = await open();
    const { id } = await vault.approvals.request(wanted);
    await vault.approvals.deny(id, { by: "op-1", reason: "no" });
    clock.advance(7 * 24 * HOUR);
    await vault.approvals.request({ ...wanted, terms: "2" });
    expect(await vault.approvals.get(id)).toMatchObject({ status: "denied" });
    clock.advance(24 * HOUR);
    const last = await vault.approvals.request({ ...wanted, terms: "3" });
    expect(await codeOf(() => vault.approvals.get(id))).toBe("VAULT_APPROVAL_UNKNOWN");
    expect((await vault.approvals.list({ agentId: wanted.agent.id })).map((one) => one.id)).toContain(last.id);
  });

  it("knows what needs nobody's word", async () => {
    const { vault } = await open({ sensitive: 0, critical: 2 });
    expect(["standard", "sensitive", "critical"].map((tier) => vault.approvals.needed(tier as "critical"))).toEqual([
      0, 0, 2,
    ]);
    expect(vault.approvals.freeTier()).toBe("sensitive");
    expect((await open()).vault.approvals.freeTier()).toBe("standard");
    expect((await open({ sensitive: 0, critical: 0 })).vault.approvals.freeTier()).toBe("critical");
  });

  it("refuses reasons that are no line, and ids that are none", async () => {
    const { vault, wanted } = await open();
    const { id } = await vault.approvals.request(wanted);
    for (const reason of ["", "two\nlines", "x".repeat(513), "\u001b[2J"]) {
      expect(await codeOf(() => vault.approvals.request({ ...wanted, terms: "x", reason }))).toBe("CONFIG_USAGE");
      expect(await codeOf(() => vault.approvals.approve(id, { by: "op-1", reason }))).toBe("CONFIG_USAGE");
      expect(await codeOf(() => vault.approvals.deny(id, { by: "op-1", reason }))).toBe("CONFIG_USAGE");
    }
    for (const unknown of ["", "unknown", "../x", "a:b", "x".repeat(2000)]) {
      expect(await codeOf(() => vault.approvals.get(unknown))).toBe("VAULT_APPROVAL_UNKNOWN");
      expect(await codeOf(() => vault.approvals.approve(unknown, { by: "op-1" }))).toBe("VAULT_APPROVAL_UNKNOWN");
    }
    expect(await vault.approvals.get(id)).toMatchObject({ status: "pending" });
  });
});

describe("a decision beside the servers", () => {
  it("lies in the store until one of them has put it on record, and is given to one at a time", async () => {
    const { vault, clock, wanted } = await open({ critical: 2 });
    const { unrecorded } = vault.approvals;
    const first = await vault.approvals.request(wanted);
    const other = await vault.approvals.request({ ...wanted, terms: "other" });
    expect(await unrecorded.take()).toEqual([]);
    await vault.approvals.approve(first.id, { by: "root", isUnrecorded: true, reason: "checked" });
    clock.advance(1000);
    await vault.approvals.approve(first.id, { by: "op-1" });
    await vault.approvals.deny(other.id, { by: "root", isUnrecorded: true, reason: "no" });
    const taken = await Promise.all([unrecorded.take(), unrecorded.take()]);
    expect(taken.flat()).toMatchObject([
      {
        approvalId: first.id,
        verdict: "granted",
        by: "root",
        at: START,
        reason: "checked",
        row: { status: "pending" },
      },
      {
        approvalId: other.id,
        verdict: "denied",
        by: "root",
        at: START + 1000,
        reason: "no",
        row: { status: "denied" },
      },
    ]);
    expect(taken.flat()).toHaveLength(2);
    await unrecorded.told(taken.flat().slice(0, 1));
    clock.advance(59_999);
    expect(await unrecorded.take()).toEqual([]);
    clock.advance(1);
    const again = await unrecorded.take();
    expect(again.map(({ approvalId }) => approvalId)).toEqual([other.id]);
    await unrecorded.told(again);
    clock.advance(HOUR);
    expect(await unrecorded.take()).toEqual([]);
  });

  it("that fails leaves nothing to tell", async () => {
    const { vault, wanted } = await open();
    const { id } = await vault.approvals.request(wanted);
    await vault.approvals.deny(id, { by: "op-1", reason: "no" });
    const failed = () => vault.approvals.approve(id, { by: "root", isUnrecorded: true });
    expect(await codeOf(failed)).toBe("IDENTITY_APPROVAL_DECIDED");
    expect(await vault.approvals.unrecorded.take()).toEqual([]);
  });
});

describe("requireTier", () => {
  it("lets a token reach its tier and those below, and no higher", async () => {
    for (const [approved, tier] of [
      ["standard", "standard"],
      ["sensitive", "standard"],
      ["sensitive", "sensitive"],
      ["critical", "critical"],
    ] as const) {
      expect(() => requireTier(approved, tier)).not.toThrow();
    }
    expect(await codeOf(() => requireTier("standard", "sensitive"))).toBe("IDENTITY_APPROVAL_REQUIRED");
    expect(await codeOf(() => requireTier("sensitive", "critical"))).toBe("IDENTITY_APPROVAL_REQUIRED");
  });
});
