/**
 * What a vault and its client do together, as one suite over any vault: the one in memory that follows the agreed protocol
 * word by word, and the real server.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { calculateJwkThumbprint, type JWK } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  AgentVault,
  ApprovalRequiredError,
  AuthError,
  ConflictError,
  NotFoundError,
  type ProofKey,
  type Redeemed,
  ScopeError,
  SecretNotFoundError,
  ValidationError,
  VaultClientError,
  type VaultEvent,
} from "../../src/client/index.ts";

export interface VaultSubject {
  readonly address: string;
  readonly operatorKey: string;
  /** PEM, when it has TLS. */
  readonly ca?: string;
  close(): Promise<void>;
}

const MARK = "sk-CANARY-conformance-5f1d77";

const createProofKey = (): ProofKey => {
  // Read, not just made: Node 20 can lock itself up over a JWK of a key just made.
  const { privateKey } = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const key = createPrivateKey(privateKey);
  return { privateKey: key, publicJwk: createPublicKey(key).export({ format: "jwk" }) };
};

export const describeVaultClient = (name: string, create: () => Promise<VaultSubject>): void => {
  describe(`the client over ${name}`, () => {
    let subject: VaultSubject;
    let operator: AgentVault;
    let count = 0;
    beforeAll(async () => {
      subject = await create();
      operator = connect({ operatorKey: subject.operatorKey });
    });
    afterAll(async () => {
      operator?.close();
      await subject?.close();
    });

    const connect = (options: object): AgentVault =>
      new AgentVault({
        address: subject.address,
        retries: 0,
        ...(subject.ca !== undefined && { ca: subject.ca }),
        ...options,
      });
    /** A namespace of its own for each test. */
    const fresh = (): string => `conformance/t${++count}`;
    const createAgent = async (
      scopes: readonly string[],
      more: object = {},
    ): Promise<{ name: string; key: string }> => {
      const name = `agent-${++count}`;
      const { key } = await operator.agents.create({ name, scopes, ...more });
      return { name, key };
    };

    it("is healthy", async () => {
      expect(await operator.health()).toMatchObject({ status: "ok" });
    });

    it("stores, reads, lists and removes a secret", async () => {
      const namespace = fresh();
      const path = `${namespace}/key`;
      expect(
        await operator.setSecret(path, `${MARK}-1`, { type: "api_key", hosts: ["api.x.test"], metadata: { a: "b" } }),
      ).toMatchObject({
        path,
        version: 1,
        type: "api_key",
      });
      expect((await operator.setSecret(path, `${MARK}-ü"\\\n2`, { type: "custom" })).version).toBe(2);
      const record = await operator.getSecretRecord(path);
      expect(record).toMatchObject({ path, version: 2, tier: "standard", hosts: ["api.x.test"], metadata: { a: "b" } });
      expect(record.value.lend((bytes) => bytes.toString())).toBe(`${MARK}-ü"\\\n2`);
      expect(await operator.getSecret(path, { version: 1 })).toBe(`${MARK}-1`);
      const listed = await operator.listSecrets(namespace);
      expect(listed.map((one) => [one.path, one.version])).toEqual([[path, 2]]);
      expect(JSON.stringify(listed)).not.toContain(MARK);
      await operator.deleteSecret(path);
      await expect(operator.getSecret(path)).rejects.toBeInstanceOf(SecretNotFoundError);
      await expect(operator.deleteSecret(path)).rejects.toBeInstanceOf(NotFoundError);
      expect(await operator.listSecrets(namespace)).toEqual([]);
    });

    it("creates a secret only where there is none", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK, { create: true });
      await expect(operator.setSecret(path, "other", { create: true })).rejects.toBeInstanceOf(ConflictError);
      expect(await operator.getSecret(path)).toBe(MARK);
    });

    it("rotates with and without grace, rolls back, and tells the history", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, "one");
      expect((await operator.rotateSecret(path, "two", { graceSeconds: 600 })).version).toBe(2);
      expect(await operator.getSecret(path)).toBe("two");
      expect(await operator.getSecret(path, { version: 1 })).toBe("one");
      expect((await operator.rollback(path, 1)).version).toBe(3);
      expect(await operator.getSecret(path)).toBe("one");
      const history = await operator.history(path);
      expect(history.map(({ version }) => version).sort()).toEqual([1, 2, 3]);
      expect(JSON.stringify(history)).not.toMatch(/one|two/);
      await operator.rotateSecret(path, "four");
      await expect(operator.getSecret(path, { version: 2 })).rejects.toBeInstanceOf(NotFoundError);
    });

    it("has the vault make a value, for a secret of type custom alone", async () => {
      const namespace = fresh();
      await operator.setSecret(`${namespace}/own`, "first-value", { type: "custom" });
      await operator.rotateSecret(`${namespace}/own`);
      expect(await operator.getSecret(`${namespace}/own`)).not.toBe("first-value");
      await operator.setSecret(`${namespace}/theirs`, "sk-theirs-0001", { type: "api_key" });
      await expect(operator.rotateSecret(`${namespace}/theirs`)).rejects.toBeInstanceOf(ValidationError);
    });

    it("imports the lines of a .env file, and says first what it would", async () => {
      const namespace = fresh();
      const content = "FIRST=one-value\nSECOND='two values'\n";
      await operator.importEnv({ namespace, content, dryRun: true });
      expect(await operator.listSecrets(namespace)).toEqual([]);
      expect((await operator.importEnv({ namespace, content })).imported).toHaveLength(2);
      expect(await operator.getSecret(`${namespace}/SECOND`)).toBe("two values");
    });

    it("pages through more than one page", async () => {
      const namespace = fresh();
      for (let n = 0; n < 5; n += 1) await operator.setSecret(`${namespace}/k${n}`, `value-${n}`);
      const pages = await Promise.all([1, 2, 3].map((page) => operator.listSecrets({ namespace, page, limit: 2 })));
      expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
      expect(new Set(pages.flat().map(({ path }) => path)).size).toBe(5);
    });

    it("lets an agent do what its scopes cover, through tokens, and nothing else", async () => {
      const namespace = fresh();
      await operator.setSecret(`${namespace}/mine`, MARK);
      await operator.setSecret(`${namespace}/other`, "other-value");
      const { key } = await createAgent([`secrets:read:${namespace}/mine`]);
      const agent = connect({ agentKey: key });
      expect(await agent.getSecret(`${namespace}/mine`)).toBe(MARK);
      await expect(agent.getSecret(`${namespace}/other`)).rejects.toBeInstanceOf(ScopeError);
      await expect(agent.setSecret(`${namespace}/mine`, "x")).rejects.toBeInstanceOf(ScopeError);
      await expect(agent.agents.list()).rejects.toBeInstanceOf(ScopeError);
      await expect(agent.audit()).rejects.toBeInstanceOf(ScopeError);

      const token = await agent.requestToken({ scopes: [`secrets:read:${namespace}/mine`], ttl: 60 });
      expect(token.expiresAt).toBeGreaterThan(Date.now());
      expect(token.expiresAt).toBeLessThanOrEqual(Date.now() + 61_000);
      const holder = connect({ token: token.token });
      expect(await holder.getSecret(`${namespace}/mine`)).toBe(MARK);
      const { items } = await agent.tokens.list();
      expect(items.map(({ id }) => id)).toContain(token.id);
      await agent.revoke(token.id);
      await expect(holder.getSecret(`${namespace}/mine`)).rejects.toBeInstanceOf(AuthError);
    });

    it("lets a token end itself, and counts its uses", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { key } = await createAgent([`secrets:read:${path}`]);
      const agent = connect({ agentKey: key });
      const scopes = [`secrets:read:${path}`];
      const once = connect({ token: (await agent.requestToken({ scopes, maxUses: 1 })).token });
      expect(await once.getSecret(path)).toBe(MARK);
      await expect(once.getSecret(path)).rejects.toBeInstanceOf(AuthError);
      const { token } = await agent.requestToken({ scopes });
      const ended = connect({ token });
      await ended.tokens.revokeOwn();
      await expect(ended.getSecret(path)).rejects.toBeInstanceOf(AuthError);
    });

    it("takes no key or token that it does not know, and ends an agent with all it had", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      for (const options of [
        { operatorKey: `ask_op_${"A".repeat(43)}` },
        { agentKey: `ast_agent_${"A".repeat(43)}` },
        { token: "a.b.c" },
      ]) {
        await expect(connect(options).getSecret(path)).rejects.toBeInstanceOf(AuthError);
      }
      const { name, key } = await createAgent([`secrets:read:${path}`]);
      const agent = connect({ agentKey: key });
      const { token } = await agent.requestToken({ scopes: [`secrets:read:${path}`] });
      await expect(operator.agents.create({ name, scopes: ["secrets:read:a/b"] })).rejects.toBeInstanceOf(
        ConflictError,
      );
      const listed = (await operator.agents.list({ limit: 100 })).items.find((one) => one.name === name);
      expect(listed).toMatchObject({ active: true, operator: false, scopes: [`secrets:read:${path}`] });
      expect(key.startsWith(listed?.keyPrefix ?? "?")).toBe(true);
      const scopes = ["secrets:read:a/c"];
      expect(await operator.agents.update(name, { scopes, description: "changed" })).toMatchObject({
        name,
        scopes,
        description: "changed",
      });
      await operator.agents.revoke(name);
      await expect(agent.requestToken({ scopes: [`secrets:read:${path}`] })).rejects.toBeInstanceOf(AuthError);
      await expect(connect({ token }).getSecret(path)).rejects.toBeInstanceOf(AuthError);
      await expect(operator.agents.revoke("no-such-agent")).rejects.toBeInstanceOf(NotFoundError);
    });

    it("waits for a person where a secret is sensitive, and goes on when she said yes", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK, { tier: "sensitive" });
      const { key } = await createAgent([`secrets:read:${path}`]);
      const agent = connect({ agentKey: key });
      const request = { scopes: [`secrets:read:${path}`], ttl: 60, reason: "for the report" };
      const error: unknown = await agent.requestToken(request).catch((failure: unknown) => failure);
      if (!(error instanceof ApprovalRequiredError)) throw error;
      const { approvalId } = error;
      const { items } = await operator.approvals.list({ status: "pending" });
      expect(items.find(({ id }) => id === approvalId)).toMatchObject({ tier: "sensitive", reason: "for the report" });
      await expect(agent.requestToken(request)).rejects.toMatchObject({ approvalId });
      await operator.approvals.approve(approvalId, { reason: "fine" });
      const { token } = await agent.requestToken(request);
      expect(await connect({ token }).getSecret(path)).toBe(MARK);
      await expect(operator.approvals.deny(approvalId, { reason: "late" })).rejects.toBeInstanceOf(ConflictError);
      await expect(operator.approvals.get("00000000-none")).rejects.toBeInstanceOf(NotFoundError);
    });

    it("lets an agent follow its own approvals, and nobody else's", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK, { tier: "sensitive" });
      const [asker, other] = await Promise.all([1, 2].map(() => createAgent([`secrets:read:${path}`])));
      const agent = connect({ agentKey: asker?.key });
      const request = { scopes: [`secrets:read:${path}`] };
      const error: unknown = await agent.requestToken(request).catch((failure: unknown) => failure);
      if (!(error instanceof ApprovalRequiredError)) throw error;
      expect((await agent.approvals.mine(error.approvalId)).status).toBe("pending");
      await operator.approvals.deny(error.approvalId, { reason: "not today" });
      expect(await agent.approvals.mine(error.approvalId)).toMatchObject({
        status: "denied",
        decisionReason: "not today",
      });
      const stranger = connect({ agentKey: other?.key });
      await expect(stranger.approvals.mine(error.approvalId)).rejects.toBeInstanceOf(NotFoundError);
    });

    const redeemer = async (
      path: string,
    ): Promise<{
      readonly vault: AgentVault;
      readonly agent: AgentVault;
      readonly key: ProofKey;
      readonly jkt: string;
    }> => {
      const { key: agentKey } = await createAgent([`secrets:use:${path}`]);
      const agent = connect({ agentKey });
      const key = createProofKey();
      const jkt = await calculateJwkThumbprint(key.publicJwk as JWK);
      expect(await agent.sidecars.enroll({ name: "sidecar", jwk: key.publicJwk })).toMatchObject({ jkt });
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${path}`] });
      return { vault: connect({ token, sidecarKey: key }), agent, key, jkt };
    };
    const redeemed = (answer: Awaited<ReturnType<AgentVault["redeem"]>>): Redeemed => {
      if (answer.unchanged) throw new Error("unchanged");
      return answer;
    };

    it("redeems for an enrolled sidecar, for the secret's hosts alone, and says when nothing changed", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK, { hosts: ["api.x.test"] });
      const { vault } = await redeemer(path);
      const authority = "api.x.test:443";
      const first = redeemed(await vault.redeem({ path, authority, agentName: "r", reason: "a test" }));
      expect(first.value.lend(String)).toBe(MARK);
      expect(first).toMatchObject({ path, version: 1 });
      expect(await vault.redeem({ path, authority, ifVersion: 1 })).toEqual({ unchanged: true, version: 1 });
      await operator.setSecret(path, `${MARK}-2`);
      const second = redeemed(await vault.redeem({ path, authority, ifVersion: 1 }));
      expect([second.version, second.value.lend(String)]).toEqual([2, `${MARK}-2`]);
      expect(second.replaced.map(({ value }) => value.lend(String))).toContain(MARK);
      await expect(vault.redeem({ path, authority: "evil.test:443" })).rejects.toBeInstanceOf(ScopeError);
      await expect(vault.redeem({ path: `${path}-other`, authority })).rejects.toBeInstanceOf(ScopeError);
    });

    it("redeems by a name, from the agent's place outwards", async () => {
      const place = `org${++count}`;
      await operator.setSecret(`${place}/model`, `${MARK}-org`);
      await operator.setSecret(`${place}/core/mail`, `${MARK}-team`);
      await operator.setSecret(`${place}/mail`, `${MARK}-everybody`);
      const { key: agentKey } = await createAgent([`secrets:use:${place}/*`], { place: `${place}/core` });
      const agent = connect({ agentKey });
      const key = createProofKey();
      await agent.sidecars.enroll({ name: "sidecar", jwk: key.publicJwk });
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${place}/*`] });
      const vault = connect({ token, sidecarKey: key });
      const values = await Promise.all(
        ["model", "mail"].map(async (name) => redeemed(await vault.redeem({ name, authority: "a.test:443" }))),
      );
      expect(values.map(({ path, value }) => [path, value.lend(String)])).toEqual([
        [`${place}/model`, `${MARK}-org`],
        [`${place}/core/mail`, `${MARK}-team`],
      ]);
      await expect(vault.redeem({ name: "none", authority: "a.test:443" })).rejects.toBeInstanceOf(SecretNotFoundError);
    });

    it("gives a placeholder to an agent that is to see no value, and redeems it for its sidecar", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const scopes = [`secrets:read:${path}`, `secrets:use:${path}`];
      const { key: agentKey } = await createAgent(scopes, { reads: "placeholder" });
      const agent = connect({ agentKey });
      const record = await agent.getSecretRecord(path);
      expect(record.isPlaceholder).toBe(true);
      const placeholder = record.value.lend(String);
      expect(placeholder).not.toContain("CANARY");
      const key = createProofKey();
      await agent.sidecars.enroll({ name: "sidecar", jwk: key.publicJwk });
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${path}`] });
      const vault = connect({ token, sidecarKey: key });
      const found = redeemed(await vault.redeem({ placeholder, authority: "a.test:443" }));
      expect([found.path, found.value.lend(String)]).toEqual([path, MARK]);
      await expect(vault.redeem({ placeholder: `${placeholder}x`, authority: "a.test:443" })).rejects.toBeInstanceOf(
        VaultClientError,
      );
    });

    it("redeems for no key that is not enrolled, and reads nothing with a token for use", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { agent, vault } = await redeemer(path);
      await expect(vault.getSecret(path)).rejects.toBeInstanceOf(ScopeError);
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${path}`] });
      const stranger = connect({ token, sidecarKey: createProofKey() });
      await expect(stranger.redeem({ path, authority: "a.test:443" })).rejects.toBeInstanceOf(ScopeError);
    });

    it("redeems with a token that is bound to a key for that key alone", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { agent, vault, jkt } = await redeemer(path);
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${path}`], dpopJkt: jkt });
      expect(redeemed(await vault.redeem({ path, authority: "a.test:443", token })).value.lend(String)).toBe(MARK);
      const thief = connect({ token, sidecarKey: createProofKey() });
      await expect(thief.redeem({ path, authority: "a.test:443" })).rejects.toBeInstanceOf(AuthError);
    });

    it("redeems for a sidecar whose clock is wrong, by the time that the vault gives it", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { agent, key } = await redeemer(path);
      const { token } = await agent.requestToken({ scopes: [`secrets:use:${path}`] });
      for (const ms of [-3_600_000, 3_600_000]) {
        const clock = { now: () => Date.now() + ms };
        const tls = subject.ca === undefined ? {} : { ca: subject.ca };
        const vault = new AgentVault(
          { address: subject.address, token, sidecarKey: key, retries: 0, ...tls },
          { clock },
        );
        expect(redeemed(await vault.redeem({ path, authority: "a.test:443" })).value.lend(String)).toBe(MARK);
        vault.close();
      }
    });

    it("redeems no more for a sidecar that was taken back", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { vault, jkt } = await redeemer(path);
      await vault.redeem({ path, authority: "a.test:443" });
      const { items } = await operator.sidecars.list({ limit: 500 });
      const listed = items.find((one) => one.jkt === jkt);
      expect(listed).toMatchObject({ name: "sidecar" });
      await operator.sidecars.revoke(listed?.id ?? "");
      await expect(vault.redeem({ path, authority: "a.test:443" })).rejects.toBeInstanceOf(VaultClientError);
      await expect(operator.sidecars.revoke("no-such-sidecar")).rejects.toBeInstanceOf(NotFoundError);
    });

    it("ends the stream of events with the token", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { agent, key } = await redeemer(path);
      const { token, id } = await agent.requestToken({ scopes: [`secrets:use:${path}`] });
      const vault = connect({ token, sidecarKey: key });
      const seen: string[] = [];
      const reading = (async () => {
        for await (const { type } of vault.events()) {
          seen.push(type);
          if (type === "ready") await operator.revoke(id);
        }
      })();
      await expect(reading).rejects.toBeInstanceOf(AuthError);
      expect(seen[0]).toBe("ready");
    });

    it("tells what happens to what a token covers, as it happens", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      const { vault } = await redeemer(path);
      const seen: VaultEvent[] = [];
      const controller = new AbortController();
      const reading = (async () => {
        for await (const event of vault.events({ signal: controller.signal })) seen.push(event);
      })();
      await expect.poll(() => seen.map(({ type }) => type)).toContain("ready");
      await operator.setSecret(`${path}-other`, "not-covered");
      await operator.setSecret(path, `${MARK}-2`);
      await expect.poll(() => seen).toContainEqual({ type: "secret.updated", path, version: 2 });
      await operator.deleteSecret(path);
      await expect.poll(() => seen.map(({ type }) => type)).toContain("secret.deleted");
      controller.abort();
      await reading;
      expect(JSON.stringify(seen)).not.toContain("-other");
    });

    it("keeps on record who did what, and no value", async () => {
      const path = `${fresh()}/key`;
      await operator.setSecret(path, MARK);
      await operator.getSecret(path, { reason: "look" });
      await expect
        .poll(async () => (await operator.audit({ secret: path })).events.map(({ event }) => event))
        .toContain("secret.read");
      const { events } = await operator.audit({ secret: path });
      expect(events.every(({ resourceId }) => resourceId === path)).toBe(true);
      expect(JSON.stringify(events)).not.toContain(MARK);
      expect((await operator.audit({ limit: 1 })).events).toHaveLength(1);
    });
  });
};
