import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { type AgentRequest, checkAgentScopes } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault, START, withRows } from "../support.ts";

const request: AgentRequest = {
  name: "research",
  scopes: parseScopes("secrets:use:production/* secrets:read:staging/*"),
};
const operator: AgentRequest = { name: "ann", kind: "operator" };

describe("vault.agents", () => {
  it("gives an agent and an operator each a key of their kind, by which they are known", async () => {
    const { vault } = await openTestVault();
    const agent = await vault.agents.create({ ...request, description: "looks things up", place: "acme/search" });
    expect(agent.key).toMatch(/^ast_agent_[A-Za-z0-9_-]{43}$/);
    expect(agent.info).toMatchObject({
      name: "research",
      kind: "agent",
      scopes: request.scopes,
      namespaces: [],
      reads: "value",
      place: "acme/search",
      keyPrefix: agent.key.slice(0, 14),
      createdAt: START,
    });
    const person = await vault.agents.create(operator);
    expect(person.key).toMatch(/^ask_op_[A-Za-z0-9_-]{43}$/);
    expect(await vault.agents.authenticate(agent.key)).toEqual({ ...agent.info, lastActiveAt: START });
    expect(await vault.agents.authenticate(person.key)).toMatchObject({ name: "ann", kind: "operator" });
    expect(person.info.scopes.map(({ text }) => text)).toEqual(["secrets:*:*"]);
    expect(await vault.agents.list()).toEqual([await vault.agents.find("research"), await vault.agents.find("ann")]);
    expect(await vault.agents.find(agent.info.id)).toEqual(await vault.agents.find("research"));
  });

  it("keeps a key nowhere, sealed or not, and tells it only once", async () => {
    const at = await openTestVault();
    const { key } = await at.vault.agents.create(request);
    const shown = inspect([await at.vault.agents.list(), await at.vault.agents.authenticate(key)], { depth: 10 });
    expect(shown).not.toContain(key.slice(20));
    await at.vault.close();
    await withRows(at, async (storage, { barrier }) => {
      for (const { key: name, value } of storage.readNow((tx) => tx.range("agent"))) {
        const text = barrier.open({ path: name, version: 0 }, value).toString("latin1");
        expect(name + text).not.toContain(key.slice(20));
      }
    });
  });

  it("refuses any other key in the same words", async () => {
    const { vault } = await openTestVault();
    const empty = await codeOf(() => vault.agents.authenticate(`ast_agent_${"A".repeat(43)}`));
    expect(empty).toBe("IDENTITY_KEY_INVALID");
    const { key, info } = await vault.agents.create(request);
    const changed = `${key.slice(0, -1)}${key.endsWith("A") ? "E" : "A"}`;
    const tries = ["", "x", changed, `${key}x`, key.replace("ast_agent_", "ask_op_"), key.toUpperCase(), `${key}\0`];
    tries.push(`ast_agent_${info.id}`, "a".repeat(100_000), `ast_agent_${"\u{1f511}".repeat(43)}`);
    for (const text of tries) expect(await codeOf(() => vault.agents.authenticate(text))).toBe("IDENTITY_KEY_INVALID");
    await vault.agents.revoke(info.id);
    expect(await codeOf(() => vault.agents.authenticate(key))).toBe("IDENTITY_KEY_INVALID");
  });

  it("remembers when a key was used last, to the minute", async () => {
    const { vault, clock } = await openTestVault();
    const { key } = await vault.agents.create(request);
    await vault.agents.authenticate(key);
    const generation = vault.generation();
    clock.advance(59_999);
    expect(await vault.agents.authenticate(key)).toMatchObject({ lastActiveAt: START });
    expect(vault.generation()).toBe(generation);
    clock.advance(1);
    expect(await vault.agents.authenticate(key)).toMatchObject({ lastActiveAt: START + 60_000 });
  });

  it("has one live agent of a name, whoever is first; a revoked one's name is free", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const made = await Promise.allSettled([one, other, one, other].map(({ vault }) => vault.agents.create(request)));
    expect(made.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of made) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "IDENTITY_AGENT_EXISTS" });
    }
    const first = await one.vault.agents.revoke("research");
    const second = await other.vault.agents.create(request);
    expect((await one.vault.agents.find("research")).id).toBe(second.info.id);
    expect(await one.vault.agents.find(first.id)).toMatchObject({ name: "research", revokedAt: START });
    expect(await one.vault.agents.list()).toHaveLength(2);
  });

  it("refuses what an agent cannot be", async () => {
    const { vault } = await openTestVault();
    const bad: readonly Partial<AgentRequest>[] = [
      { name: "" },
      { name: "two words" },
      { name: "a:b" },
      { name: "x".repeat(65) },
      { description: "two\nlines" },
      { description: "" },
      { description: "\u001b[31mred" },
      { namespaces: ["/production"] },
      { namespaces: ["production/.."] },
      { namespaces: ["production/*"] },
      { namespaces: [""] },
      { place: "a/b/c/d" },
      { place: "a//b" },
      { kind: "operator" },
    ];
    for (const one of bad) {
      expect(await codeOf(() => vault.agents.create({ ...request, ...one })), JSON.stringify(one)).toBe("CONFIG_USAGE");
    }
    expect(await codeOf(() => vault.agents.create({ name: "research" }))).toBe("IDENTITY_BAD_SCOPE");
    expect(await vault.agents.list()).toEqual([]);
    for (const name of ["", "nobody", "../x", "a:b", "x".repeat(2000)]) {
      expect(await codeOf(() => vault.agents.find(name))).toBe("IDENTITY_AGENT_UNKNOWN");
      expect(await codeOf(() => vault.agents.revoke(name))).toBe("IDENTITY_AGENT_UNKNOWN");
    }
  });

  it("is changed as it is told, keeps its key and its name, and loses the tokens that reach too far", async () => {
    const { vault } = await openTestVault();
    const wide = parseScopes("secrets:use:a/* secrets:use:b/*");
    const { info, key } = await vault.agents.create({ name: "research", scopes: wide, description: "old", place: "a" });
    const issue = async (scope: string, agent = info) =>
      (await vault.tokens.issue({ agent, scopes: parseScopes(scope) })).claims.id;
    const [kept, lost] = [await issue("secrets:use:a/x"), await issue("secrets:use:b/*")];
    const before = await vault.changes.current();
    const changed = await vault.agents.update("research", {
      scopes: parseScopes("secrets:use:a/*"),
      description: null,
    });
    expect(changed.revokedTokens).toEqual([lost]);
    expect(changed.info).toMatchObject({ id: info.id, name: "research", place: "a", reads: "value" });
    expect(changed.info.description).toBeUndefined();
    expect(await vault.agents.authenticate(key)).toMatchObject({ scopes: parseScopes("secrets:use:a/*") });
    expect((await vault.tokens.find(lost))?.revokedAt).toBe(START);
    expect((await vault.tokens.find(kept))?.revokedAt).toBeUndefined();
    expect((await vault.changes.since(before))?.flatMap(({ changes }) => changes)).toEqual([
      { type: "token.revoked", id: lost },
    ]);
    // Whoever asked for one before, and gets it now.
    expect(await codeOf(() => issue("secrets:use:b/*", info))).toBe("IDENTITY_SCOPE_DENIED");
    expect((await vault.agents.update(info.id, { namespaces: ["a/y"] })).revokedTokens).toEqual([kept]);
    const reader = await issue("secrets:use:a/y/z", await vault.agents.find("research"));
    const stale = await vault.agents.find("research");
    expect((await vault.agents.update("research", { reads: "placeholder" })).revokedTokens).toEqual([reader]);
    expect(await codeOf(() => issue("secrets:use:a/y/z", stale))).toBe("IDENTITY_SCOPE_DENIED");
  });

  it("is not changed into what none can be, nor once it is revoked; an operator keeps its scopes", async () => {
    const { vault } = await openTestVault();
    const { info } = await vault.agents.create(request);
    await vault.agents.create(operator);
    expect(await codeOf(() => vault.agents.update("research", { scopes: [] }))).toBe("IDENTITY_BAD_SCOPE");
    expect(await codeOf(() => vault.agents.update("research", { place: "a//b" }))).toBe("CONFIG_USAGE");
    expect(await codeOf(() => vault.agents.update("ann", { scopes: info.scopes }))).toBe("CONFIG_USAGE");
    expect((await vault.agents.update("ann", { description: "on call" })).info).toMatchObject({
      kind: "operator",
      description: "on call",
      scopes: parseScopes("secrets:*:*"),
    });
    expect(await vault.agents.find("research")).toEqual(info);
    await vault.agents.revoke("research");
    expect(await codeOf(() => vault.agents.update(info.id, { description: "x" }))).toBe("IDENTITY_AGENT_UNKNOWN");
  });

  it("is found by its id before anybody who took that for a name", async () => {
    const { vault } = await openTestVault();
    const { info } = await vault.agents.create(request);
    const { info: other } = await vault.agents.create({ ...request, name: info.id });
    expect((await vault.agents.find(info.id)).id).toBe(info.id);
    expect((await vault.agents.find(other.id)).name).toBe(info.id);
  });

  it("never revokes the last operator, also when two processes revoke the last two at once", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    expect(await one.vault.agents.hasOperator()).toBe(false);
    await one.vault.agents.create(operator);
    expect(await other.vault.agents.hasOperator()).toBe(true);
    expect(await codeOf(() => one.vault.agents.revoke("ann"))).toBe("IDENTITY_LAST_OPERATOR");
    await one.vault.agents.create({ ...operator, name: "bob" });
    const outcomes = await Promise.allSettled([one.vault.agents.revoke("ann"), other.vault.agents.revoke("bob")]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(await one.vault.agents.hasOperator()).toBe(true);
  });

  it("takes back with an agent its tokens, sidecars and requests, and tells of it", async () => {
    const { vault } = await openTestVault();
    const { info } = await vault.agents.create(request);
    const bystander = await vault.agents.create({ ...request, name: "other" });
    const issue = (agent: typeof info) =>
      vault.tokens.issue({ agent, scopes: parseScopes("secrets:use:production/a") });
    const mine = [await issue(info), await issue(info)];
    const hers = await issue(bystander.info);
    const jkt = "A".repeat(43);
    await vault.sidecars.enroll({ agentId: info.id, name: "here", jkt });
    await vault.sidecars.enroll({ agentId: bystander.info.id, name: "here", jkt });
    const wanted = { scopes: info.scopes, tier: "critical", terms: "t" } as const;
    const { id } = await vault.approvals.request({ agent: info, ...wanted });
    const before = await vault.changes.current();

    await vault.agents.revoke("research");
    for (const { token } of mine) expect(await codeOf(() => vault.tokens.verify(token))).toBe("IDENTITY_TOKEN_REVOKED");
    expect(await vault.tokens.verify(hers.token)).toMatchObject({ agentId: bystander.info.id });
    expect((await vault.sidecars.find(info.id, jkt))?.revokedAt).toBeDefined();
    expect(await vault.sidecars.find(bystander.info.id, jkt)).toBeDefined();
    expect(await vault.approvals.get(id)).toMatchObject({ status: "expired" });
    expect((await vault.changes.since(before))?.flatMap(({ changes }) => changes)).toEqual([
      ...mine.map(({ claims }) => ({ type: "token.revoked", id: claims.id })),
      { type: "sidecar.revoked", jkt },
    ]);

    const generation = vault.generation();
    expect(await vault.agents.revoke(info.id)).toMatchObject({ revokedAt: START });
    expect((await vault.changes.since(generation))?.length).toBe(0);
    expect(await codeOf(() => issue(info))).toBe("IDENTITY_AGENT_UNKNOWN");
    expect(await codeOf(() => vault.sidecars.enroll({ agentId: info.id, name: "here", jkt }))).toBe(
      "IDENTITY_AGENT_UNKNOWN",
    );
    expect(await codeOf(() => vault.approvals.request({ agent: info, ...wanted }))).toBe("IDENTITY_AGENT_UNKNOWN");
  });
});

describe("what an agent may ask for", () => {
  const agentWith = async (scopes: string, namespaces: readonly string[]) => {
    const { vault } = await openTestVault();
    return (await vault.agents.create({ name: "a", scopes: parseScopes(scopes), namespaces })).info;
  };

  it("lies within its scopes and, where it has namespaces, within one of them", async () => {
    const agent = await agentWith("secrets:*:* secrets:use:*", ["production/openai", "staging"]);
    const denied = (text: string) => codeOf(() => checkAgentScopes(agent, parseScopes(text)));
    for (const text of [
      "secrets:use:production/openai/key",
      "secrets:read:staging/*",
      "secrets:*:staging/a*/b",
      "secrets:use:staging/x secrets:read:production/openai/*",
    ]) {
      expect(() => checkAgentScopes(agent, parseScopes(text))).not.toThrow();
    }
    for (const text of [
      "secrets:use:production/openai",
      "secrets:use:production/openai2/key",
      "secrets:use:production/*",
      "secrets:read:*",
      "secrets:read:stag*",
      "secrets:use:staging/x secrets:use:other/x",
    ]) {
      expect(await denied(text), text).toBe("IDENTITY_SCOPE_DENIED");
    }
  });
});
