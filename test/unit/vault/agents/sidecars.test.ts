import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import type { AgentInfo, Vault } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault, START } from "../support.ts";

const JKT = "A".repeat(43);
const newAgent = async (vault: Vault, name = "research"): Promise<AgentInfo> =>
  (await vault.agents.create({ name, scopes: parseScopes("secrets:use:*") })).info;

describe("vault.sidecars", () => {
  it("knows an enrolled sidecar by its agent and its thumbprint, also in another process", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const agent = await newAgent(one.vault);
    const stranger = await newAgent(one.vault, "stranger");
    const info = await one.vault.sidecars.enroll({ agentId: agent.id, name: "host-1", jkt: JKT });
    expect(info).toMatchObject({ agentId: agent.id, name: "host-1", jkt: JKT, createdAt: START });
    expect(await other.vault.sidecars.find(agent.id, JKT)).toEqual(info);
    expect(await other.vault.sidecars.find(stranger.id, JKT)).toBeUndefined();
    expect(await other.vault.sidecars.find(agent.id, "B".repeat(43))).toBeUndefined();
    for (const odd of ["", "../x", `${JKT}A`, "a:b"]) {
      expect(await other.vault.sidecars.find(agent.id, odd)).toBeUndefined();
    }
  });

  it("takes the thumbprint from a public key, and only from a P-256 one", async () => {
    const { vault } = await openTestVault();
    const agent = await newAgent(vault);
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = pair.publicKey.export({ format: "jwk" });
    const { jkt } = await vault.sidecars.enroll({ agentId: agent.id, name: "a", jwk });
    expect(jkt).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(await vault.sidecars.enroll({ agentId: agent.id, name: "a", jwk, jkt })).toMatchObject({ jkt });
    const wrong = { agentId: agent.id, name: "a", jwk, jkt: JKT };
    expect(await codeOf(() => vault.sidecars.enroll(wrong))).toBe("CONFIG_USAGE");
    const secret = pair.privateKey.export({ format: "jwk" });
    const curve = generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey.export({ format: "jwk" });
    for (const bad of [secret, curve, { ...jwk, x: "A".repeat(43) }, null, "x", [], {}]) {
      const failed = await codeOf(() => vault.sidecars.enroll({ agentId: agent.id, name: "a", jwk: bad }));
      expect(failed).toBe("IDENTITY_PROOF_INVALID");
    }
    expect(await vault.sidecars.list()).toHaveLength(1);
  });

  it("enrols one once, however often and from wherever it asks", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const agent = await newAgent(one.vault);
    const enrolled = await Promise.all(
      [one, other, one, other].map(({ vault }) => vault.sidecars.enroll({ agentId: agent.id, name: "x", jkt: JKT })),
    );
    expect(new Set(enrolled.map(({ id }) => id)).size).toBe(1);
    expect(await one.vault.sidecars.list({ agentId: agent.id })).toHaveLength(1);
  });

  it("gives an agent as many as it may have, each agent its own, and one more for each that is revoked", async () => {
    const { vault } = await openTestVault(undefined, { sidecars: { perAgent: 3 } });
    const [a, b] = [await newAgent(vault, "a"), await newAgent(vault, "b")];
    const enrol = (n: number, agentId = a.id) =>
      vault.sidecars.enroll({ agentId, name: `s${n}`, jkt: String(n).padStart(43, "K") });
    const [first] = [await enrol(1), await enrol(2), await enrol(3)];
    expect(await codeOf(() => enrol(4))).toBe("IDENTITY_SIDECAR_LIMIT");
    // Those that are there are, and other agents have their own.
    expect(await enrol(1)).toEqual(first);
    expect(await enrol(4, b.id)).toMatchObject({ agentId: b.id });
    await vault.sidecars.revoke(first.id);
    expect(await enrol(4)).toMatchObject({ name: "s4" });
    expect(await codeOf(() => enrol(5))).toBe("IDENTITY_SIDECAR_LIMIT");
    expect(await codeOf(() => enrol(1))).toBe("IDENTITY_SIDECAR_REVOKED");
  });

  it("remembers as many revoked ones, the last of them, so that nobody fills the store", async () => {
    const { vault, clock } = await openTestVault(undefined, { sidecars: { perAgent: 3 } });
    const { id: agentId } = await newAgent(vault);
    for (let n = 1; n <= 20; n += 1) {
      clock.advance(1000);
      const { id } = await vault.sidecars.enroll({ agentId, name: `s${n}`, jkt: String(n).padStart(43, "K") });
      await vault.sidecars.revoke(id);
    }
    const left = await vault.sidecars.list({ agentId });
    expect(left.length).toBeLessThanOrEqual(4);
    expect(left.map(({ name }) => name)).toEqual(expect.arrayContaining(["s18", "s19", "s20"]));
    const again = { agentId, name: "s20", jkt: "20".padStart(43, "K") };
    expect(await codeOf(() => vault.sidecars.enroll(again))).toBe("IDENTITY_SIDECAR_REVOKED");
  });

  it("does not take back a revoked one, tells of each revocation once, and goes by id or thumbprint", async () => {
    const { vault } = await openTestVault();
    const [a, b] = [await newAgent(vault, "a"), await newAgent(vault, "b")];
    const first = await vault.sidecars.enroll({ agentId: a.id, name: "x", jkt: JKT });
    const second = await vault.sidecars.enroll({ agentId: b.id, name: "x", jkt: JKT });
    const before = await vault.changes.current();
    expect(await vault.sidecars.revoke(first.id)).toEqual([{ ...first, revokedAt: START }]);
    expect(await vault.sidecars.find(a.id, JKT)).toEqual({ ...first, revokedAt: START });
    expect(await vault.sidecars.find(b.id, JKT)).toEqual(second);
    expect(await vault.sidecars.revoke(JKT)).toHaveLength(2);
    await vault.sidecars.revoke(JKT);
    expect((await vault.changes.since(before))?.flatMap(({ changes }) => changes)).toEqual([
      { type: "sidecar.revoked", jkt: JKT },
      { type: "sidecar.revoked", jkt: JKT },
    ]);
    const again = { agentId: a.id, name: "x", jkt: JKT };
    expect(await codeOf(() => vault.sidecars.enroll(again))).toBe("IDENTITY_SIDECAR_REVOKED");
    expect(await codeOf(() => vault.sidecars.revoke("unknown"))).toBe("IDENTITY_SIDECAR_UNKNOWN");
    expect((await vault.sidecars.list()).map(({ id }) => id)).toEqual([first.id, second.id]);
  });

  it("refuses a name that is no line, and an agent that is none", async () => {
    const { vault } = await openTestVault();
    const agent = await newAgent(vault);
    for (const name of ["", "a\nb", "x".repeat(129), "\u2028"]) {
      expect(await codeOf(() => vault.sidecars.enroll({ agentId: agent.id, name, jkt: JKT }))).toBe("CONFIG_USAGE");
    }
    expect(await codeOf(() => vault.sidecars.enroll({ agentId: agent.id, name: "x" }))).toBe("CONFIG_USAGE");
    const nobody = { agentId: "nobody", name: "x", jkt: JKT };
    expect(await codeOf(() => vault.sidecars.enroll(nobody))).toBe("IDENTITY_AGENT_UNKNOWN");
  });
});
