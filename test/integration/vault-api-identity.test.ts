/** Agents, tokens, approvals and what the server says of itself, over real sockets. */
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

const codeOf = ({ status, json }: { status: number; json: { error?: { code?: string } } }): string =>
  `${status} ${json?.error?.code}`;

const store = async (vault: TestVault, path: string, fields: object = {}): Promise<void> => {
  const { status, text } = await vault.call("PUT", `/v1/secrets/${path}`, { body: { value: "v", ...fields } });
  if (status > 201) throw new Error(text);
};

const named = (vault: TestVault, event: string) => vault.audit().filter((record) => record["event"] === event);

describe("agents", () => {
  it("are changed by an operator; their tokens that reach further are worth nothing, and approvals make none", async () => {
    const vault = await startTestVault();
    await vault.call("PUT", "/v1/secrets/b/x", { body: { value: "v", access_tier: "sensitive" } });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:a/*", "secrets:read:b/*"], place: "a/t" });
    const far = await vault.token(key, { scopes: ["secrets:read:a/*"] });
    const wish = { scopes: ["secrets:read:b/x"] };
    const { json: waiting } = await vault.call("POST", "/v1/tokens", { as: key, body: wish });
    expect((await vault.call("POST", `/v1/approvals/${waiting.approval_id}/approve`, { body: {} })).status).toBe(200);
    const update = (body: unknown, as?: string) =>
      vault.call("PATCH", "/v1/agents/bot", { body, ...(as !== undefined && { as }) });
    const { status, json } = await update({ allowed_scopes: ["secrets:read:a/x"], description: "one", place: null });
    expect([status, json]).toMatchObject([
      200,
      { name: "bot", allowed_scopes: ["secrets:read:a/x"], description: "one", active: true },
    ]);
    expect(json).not.toHaveProperty("place");
    expect(json).not.toHaveProperty("api_key");
    expect(codeOf(await vault.call("GET", "/v1/me", { as: far }))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await vault.call("POST", "/v1/tokens", { as: key, body: wish }))).toBe("403 SCOPE_DENIED");
    expect((await vault.call("GET", "/v1/me", { as: key })).status).toBe(200);
    expect(vault.audit().find(({ event }) => event === "agent.updated")).toMatchObject({
      agent: "operator",
      metadata: expect.stringContaining('"revoked_tokens":1'),
    });
    expect(codeOf(await update({}))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await update({ name: "other" }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await update({ operator: true }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await update({ allowed_scopes: [] }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await update({ description: "x" }, key))).toBe("403 SCOPE_DENIED");
    expect(codeOf(await vault.call("PATCH", "/v1/agents/nobody", { body: { description: "x" } }))).toBe(
      "404 NOT_FOUND",
    );
  });

  it("are made with a key that is shown once, listed without it, and taken back with all that they have", async () => {
    const vault = await startTestVault();
    const made = await vault.call("POST", "/v1/agents", {
      body: {
        name: "bot",
        description: "d",
        allowed_scopes: ["read:secrets"],
        allowed_namespaces: ["p"],
        place: "org/team",
      },
    });
    expect([made.status, made.json]).toEqual([
      201,
      {
        id: expect.any(String),
        name: "bot",
        description: "d",
        operator: false,
        allowed_scopes: ["secrets:read:*"],
        allowed_namespaces: ["p"],
        reads: "value",
        place: "org/team",
        api_key_prefix: made.json.api_key.slice(0, 14),
        active: true,
        created_at: expect.any(String),
        api_key: expect.stringMatching(/^ast_agent_[\w-]{43}$/),
      },
    ]);
    const token = await vault.token(made.json.api_key, { scopes: ["secrets:read:p/*"] });
    const list = await vault.call("GET", "/v1/agents");
    expect(list.text).not.toContain(made.json.api_key);
    expect(list.json.items.map((one: { name: string }) => one.name)).toEqual(["operator", "bot"]);
    expect(list.json.items[1].last_active_at).toEqual(expect.any(String));
    expect(
      codeOf(await vault.call("POST", "/v1/agents", { body: { name: "bot", allowed_scopes: ["secrets:read:*"] } })),
    ).toBe("409 CONFLICT");
    expect(codeOf(await vault.call("POST", "/v1/agents", { body: { name: "none" } }))).toBe("400 VALIDATION_ERROR");
    expect(
      codeOf(await vault.call("POST", "/v1/agents", { body: { name: "x", allowed_scopes: ["manage:agents"] } })),
    ).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await vault.call("GET", "/v1/agents", { as: made.json.api_key }))).toBe("403 SCOPE_DENIED");
    expect(codeOf(await vault.call("DELETE", "/v1/agents/nobody"))).toBe("404 NOT_FOUND");
    expect((await vault.call("DELETE", "/v1/agents/bot")).status).toBe(204);
    for (const as of [made.json.api_key, token])
      expect(codeOf(await vault.call("GET", "/v1/me", { as }))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await vault.call("DELETE", "/v1/agents/operator"))).toBe("409 CONFLICT");
    expect(named(vault, "agent.created")).toHaveLength(1);
    expect(named(vault, "agent.revoked")).toHaveLength(1);
  });

  it("who are operators may do what the first one may", async () => {
    const vault = await startTestVault();
    const { json } = await vault.call("POST", "/v1/agents", { body: { name: "second", operator: true } });
    expect(json.api_key).toMatch(/^ask_op_[\w-]{43}$/);
    expect((await vault.call("GET", "/v1/agents", { as: json.api_key })).status).toBe(200);
    expect((await vault.call("DELETE", "/v1/agents/operator", { as: json.api_key })).status).toBe(204);
    expect(codeOf(await vault.call("GET", "/v1/me"))).toBe("401 UNAUTHORIZED");
  });
});

describe("tokens", () => {
  it("are asked for in every way that clients write it, listed and taken back", async () => {
    const vault = await startTestVault();
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*", "secrets:write:p/*"] });
    const other = await vault.agent("other", { allowed_scopes: ["secrets:read:p/*"] });
    const lifeOf = async (body: object): Promise<number> => {
      const before = Math.floor(Date.now() / 1000);
      const { status, json } = await vault.call("POST", "/v1/tokens", {
        as: key,
        body: { scopes: ["secrets:read:p/*"], ...body },
      });
      expect(status).toBe(201);
      expect(json).toMatchObject({ value: json.token, scopes: ["secrets:read:p/*"], scope: "secrets:read:p/*" });
      return Math.round((Date.parse(json.expires_at) / 1000 - before) / 60);
    };
    expect(await lifeOf({})).toBe(60);
    for (const ttl of ["30m", "1800", 1800, "1800s"]) expect([ttl, await lifeOf({ ttl })]).toEqual([ttl, 30]);
    expect(await lifeOf({ ttl_seconds: 1800, max_uses: null, description: "d" })).toBe(30);
    const one = await vault.call("POST", "/v1/tokens", {
      as: key,
      body: { scope: "secrets:read:p/a secrets:write:p/b", max_uses: 2 },
    });
    expect(one.json).toMatchObject({ scopes: ["secrets:read:p/a", "secrets:write:p/b"], max_uses: 2 });
    for (const body of [
      {},
      { scopes: [] },
      { scopes: ["read"] },
      { scopes: ["secrets:read:p/*"], ttl: "48h" },
      { scopes: ["secrets:read:p/*"], ttl: "soon" },
      { scopes: ["secrets:read:p/*"], ip_allowlist: ["10.0.0.1/8"] },
    ]) {
      expect([body, codeOf(await vault.call("POST", "/v1/tokens", { as: key, body }))]).toEqual([
        body,
        "400 VALIDATION_ERROR",
      ]);
    }
    expect(codeOf(await vault.call("POST", "/v1/tokens", { as: key, body: { scopes: ["secrets:delete:p/a"] } }))).toBe(
      "403 SCOPE_DENIED",
    );
    expect(
      codeOf(
        await vault.call("POST", "/v1/tokens", { as: key, body: { scopes: ["secrets:read:p/*"], agent: "other" } }),
      ),
    ).toBe("403 SCOPE_DENIED");
    expect(
      codeOf(await vault.call("POST", "/v1/tokens", { as: one.json.token, body: { scopes: ["secrets:read:p/a"] } })),
    ).toBe("403 SCOPE_DENIED");
    const forOther = await vault.call("POST", "/v1/tokens", { body: { scopes: ["secrets:read:p/*"], agent: "other" } });
    expect(forOther.status).toBe(201);

    expect((await vault.call("GET", "/v1/tokens")).json.total).toBe(8);
    const own = await vault.call("GET", "/v1/tokens?limit=1", { as: key });
    expect(own.json).toMatchObject({
      total: 7,
      page: 1,
      limit: 1,
      items: [{ token_id: one.json.token_id, agent: "bot", max_uses: 2, uses: 0 }],
    });
    expect(own.text).not.toContain(one.json.token.split(".")[2]);
    expect(codeOf(await vault.call("DELETE", `/v1/tokens/${one.json.token_id}`, { as: other }))).toBe("404 NOT_FOUND");
    expect(codeOf(await vault.call("DELETE", "/v1/tokens/none"))).toBe("404 NOT_FOUND");
    expect((await vault.call("DELETE", `/v1/tokens/${one.json.token_id}`, { as: key })).status).toBe(204);
    expect(codeOf(await vault.call("GET", "/v1/me", { as: one.json.token }))).toBe("401 UNAUTHORIZED");
    expect((await vault.call("POST", `/v1/tokens/${forOther.json.token_id}/revoke`)).status).toBe(204);
    const last = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    expect((await vault.call("POST", "/v1/tokens/revoke", { as: last })).status).toBe(204);
    expect(codeOf(await vault.call("GET", "/v1/me", { as: last }))).toBe("401 UNAUTHORIZED");
    expect(named(vault, "token.issued")).toHaveLength(9);
    expect(named(vault, "token.revoked")).toHaveLength(3);
    expect(named(vault, "token.denied").map(({ code }) => code)).toEqual(Array(3).fill("IDENTITY_SCOPE_DENIED"));
  });

  it("with a number of uses are worth that many, and the same request again costs none", async () => {
    const vault = await startTestVault();
    await store(vault, "p/a");
    await store(vault, "p/b");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const once = await vault.token(key, { scopes: ["secrets:read:p/*"], max_uses: 1 });
    const read = (path: string, idempotency?: string) =>
      vault.call("GET", `/v1/secrets/${path}`, {
        as: once,
        headers: idempotency === undefined ? {} : { "idempotency-key": idempotency },
      });
    // What spends nothing may be asked before.
    expect((await vault.call("GET", "/v1/secrets", { as: once })).json.total).toBe(2);
    expect((await read("p/a", "k1")).status).toBe(200);
    expect((await read("p/a", "k1")).status).toBe(200);
    expect(codeOf(await read("p/b", "k1"))).toBe("422 IDEMPOTENCY_KEY_REUSED");
    expect(codeOf(await read("p/b", "k2"))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await read("p/a"))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await vault.call("GET", "/v1/secrets", { as: once }))).toBe("401 UNAUTHORIZED");
    const many = await vault.token(key, { scopes: ["secrets:read:p/*"], max_uses: 5 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => vault.call("GET", "/v1/secrets/p/a", { as: many })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(15);
    expect(named(vault, "token.used").length).toBeGreaterThanOrEqual(6);
  });

  it("with a list of addresses are worth nothing elsewhere, and a proxy is believed only where the file names it", async () => {
    const plain = await startTestVault();
    const behind = await startTestVault({ yaml: "trusted_proxies: [127.0.0.0/8]\n" });
    for (const [vault, fromProxy] of [
      [plain, 401],
      [behind, 200],
    ] as const) {
      await store(vault, "p/a");
      const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
      const local = await vault.token(key, { scopes: ["secrets:read:p/*"], allowed_ips: ["127.0.0.1/32"] });
      const far = await vault.token(key, { scopes: ["secrets:read:p/*"], ip_allowlist: ["203.0.113.0/24"] });
      const from = async (as: string, address?: string): Promise<number> =>
        (
          await vault.call("GET", "/v1/secrets/p/a", {
            as,
            headers: address === undefined ? {} : { "x-forwarded-for": address },
          })
        ).status;
      expect([await from(local), await from(far)]).toEqual([200, 401]);
      expect(await from(far, "203.0.113.7")).toBe(fromProxy);
      expect(await from(far, "203.0.113.7, 198.51.100.1")).toBe(401);
    }
    expect(behind.audit().some(({ ip }) => ip === "203.0.113.7")).toBe(true);
  });

  it("end with their time, though not a moment before", async () => {
    let ahead = 0;
    const vault = await startTestVault({
      clock: { now: () => Date.now() + ahead, monotonic: () => performance.now() },
    });
    await store(vault, "p/a");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const token = await vault.token(key, { scopes: ["secrets:read:p/*"], ttl: 60 });
    expect((await vault.call("GET", "/v1/secrets/p/a", { as: token })).status).toBe(200);
    // A minute is granted to clocks that differ.
    ahead = 110_000;
    expect((await vault.call("GET", "/v1/secrets/p/a", { as: token })).status).toBe(200);
    ahead = 122_000;
    expect(codeOf(await vault.call("GET", "/v1/secrets/p/a", { as: token }))).toBe("401 UNAUTHORIZED");
  });

  it("are signed with a key that can be changed, and those of the one before stay good", async () => {
    const vault = await startTestVault();
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const before = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    const rotated = await vault.call("POST", "/v1/keys/rotate");
    expect(rotated.status).toBe(201);
    const after = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    for (const as of [before, after]) expect((await vault.call("GET", "/v1/me", { as })).status).toBe(200);
    for (const path of ["/v1/jwks.json", "/.well-known/jwks.json"]) {
      const { json } = await vault.call("GET", path, { as: null });
      expect(json.keys).toHaveLength(2);
      expect(json.keys.map((one: { kid: string }) => one.kid)).toContain(rotated.json.kid);
      for (const one of json.keys) expect(Object.keys(one).sort()).toEqual(["alg", "crv", "kid", "kty", "use", "x"]);
    }
    expect(codeOf(await vault.call("POST", "/v1/keys/rotate", { as: key }))).toBe("403 SCOPE_DENIED");
    expect(named(vault, "key.rotated")).toHaveLength(1);
  });
});

describe("approvals", () => {
  const SCOPES = { scopes: ["secrets:read:p/*"], reason: "the quarterly report" };

  it("turn a request into a token, once, when an operator says yes", async () => {
    const vault = await startTestVault();
    await store(vault, "p/a", { access_tier: "sensitive" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const other = await vault.agent("other", { allowed_scopes: ["secrets:read:p/*"] });
    const ask = (body: object = SCOPES) => vault.call("POST", "/v1/tokens", { as: key, body });
    const first = await ask();
    expect([first.status, first.json]).toEqual([
      202,
      {
        requires_approval: true,
        approval_id: expect.any(String),
        status: "pending",
        access_tier: "sensitive",
        expires_at: expect.any(String),
      },
    ]);
    const id = first.json.approval_id;
    expect((await ask()).json.approval_id).toBe(id);
    const own = await vault.call("GET", `/v1/approvals/agent/${id}`, { as: key });
    expect(own.json).toMatchObject({
      id,
      agent: "bot",
      status: "pending",
      requested_scopes: SCOPES.scopes,
      reason: SCOPES.reason,
    });
    expect(codeOf(await vault.call("GET", `/v1/approvals/agent/${id}`, { as: other }))).toBe("404 NOT_FOUND");
    for (const [method, path] of [
      ["GET", ""],
      ["GET", `/${id}`],
      ["POST", `/${id}/approve`],
    ] as const) {
      expect(codeOf(await vault.call(method, `/v1/approvals${path}`, { as: key }))).toBe("403 SCOPE_DENIED");
    }
    expect((await vault.call("GET", "/v1/approvals?status=pending")).json).toMatchObject({ total: 1, items: [{ id }] });
    const yes = await vault.call("POST", `/v1/approvals/${id}/approve`, { body: { reason: "fine" } });
    expect(yes.json).toMatchObject({ status: "approved", decision_reason: "fine", decided_by: expect.any(String) });
    expect(codeOf(await vault.call("POST", `/v1/approvals/${id}/approve`))).toBe("409 CONFLICT");
    // On other terms it is another request.
    expect((await ask({ ...SCOPES, ttl: "2h" })).json.approval_id).not.toBe(id);
    const token = await ask();
    expect(token.status).toBe(201);
    expect((await vault.call("GET", "/v1/secrets/p/a", { as: token.json.token })).json.value).toBe("v");
    expect((await ask()).status).toBe(202);
    expect(named(vault, "approval.requested")).toHaveLength(3);
    expect(named(vault, "approval.granted")).toHaveLength(1);
  });

  it("make tokens that live as long as was asked for in that case, as far as a token may", async () => {
    const vault = await startTestVault({ yaml: "tokens: { default_ttl: 10m, max_ttl: 30m }\n" });
    await store(vault, "p/a", { access_tier: "sensitive" });
    await store(vault, "q/a");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:*"] });
    const lifeOf = async (scope: string): Promise<number> => {
      const body = { scopes: [scope], ttl: "5m", approved_ttl: "1h" };
      const ask = () => vault.call("POST", "/v1/tokens", { as: key, body });
      const first = await ask();
      if (first.status === 202) await vault.call("POST", `/v1/approvals/${first.json.approval_id}/approve`);
      const { json } = first.status === 202 ? await ask() : first;
      const { items } = (await vault.call("GET", "/v1/tokens")).json;
      const { issued_at, expires_at } = items.find((one: { token_id: string }) => one.token_id === json.token_id);
      return Date.parse(expires_at) - Date.parse(issued_at);
    };
    expect(await lifeOf("secrets:read:q/*")).toBe(300_000);
    expect(await lifeOf("secrets:read:p/*")).toBe(1_800_000);
  });

  it("are denied with a reason, or run out, and then there is no token", async () => {
    const vault = await startTestVault({ yaml: "approvals: { expire: 4s }\n" });
    await store(vault, "p/a", { access_tier: "critical" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const ask = async (ttl: string): Promise<string> =>
      (await vault.call("POST", "/v1/tokens", { as: key, body: { ...SCOPES, ttl } })).json.approval_id;
    const id = await ask("1h");
    expect(codeOf(await vault.call("POST", `/v1/approvals/${id}/deny`))).toBe("400 VALIDATION_ERROR");
    const no = await vault.call("POST", `/v1/approvals/${id}/deny`, { body: { reason: "not today" } });
    expect(no.json).toMatchObject({ status: "denied", decision_reason: "not today" });
    expect(codeOf(await vault.call("POST", `/v1/approvals/${id}/approve`))).toBe("409 CONFLICT");
    const late = await ask("2h");
    const status = async (): Promise<string> => (await vault.call("GET", `/v1/approvals/${late}`)).json.status;
    await expect.poll(status).toBe("expired");
    await expect.poll(() => named(vault, "approval.timed_out").length).toBe(1);
    expect(codeOf(await vault.call("GET", "/v1/approvals/none"))).toBe("404 NOT_FOUND");
  });

  it("of tier critical may need two operators", async () => {
    const vault = await startTestVault({ yaml: "approvals: { critical: 2 }\n" });
    await store(vault, "p/a", { access_tier: "critical" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const second = (await vault.call("POST", "/v1/agents", { body: { name: "second", operator: true } })).json.api_key;
    // One operator alone does not get round it by asking himself.
    const direct = await vault.call("POST", "/v1/tokens", { body: { ...SCOPES, agent: "bot" } });
    expect(direct.status).toBe(202);
    const { approval_id: id } = (await vault.call("POST", "/v1/tokens", { as: key, body: SCOPES })).json;
    expect(id).toBe(direct.json.approval_id);
    const approve = (as?: string) => vault.call("POST", `/v1/approvals/${id}/approve`, as === undefined ? {} : { as });
    expect((await approve()).json).toMatchObject({ status: "pending", approvals_needed: 2 });
    expect(codeOf(await approve())).toBe("409 CONFLICT");
    expect((await approve(second)).json.status).toBe("approved");
    expect((await vault.call("POST", "/v1/tokens", { as: key, body: SCOPES })).status).toBe(201);
  });
});

describe("the server", () => {
  it("says who the caller is", async () => {
    const vault = await startTestVault();
    await store(vault, "p/a");
    await store(vault, "q/a");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const token = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    const me = async (as = vault.operatorKey) => (await vault.call("GET", "/v1/me", { as })).json;
    expect(await me()).toMatchObject({
      name: "operator",
      actor_type: "operator",
      email: "",
      secret_count: 2,
      agent_count: 2,
    });
    expect(await me(key)).toMatchObject({ name: "bot", actor_type: "agent", secret_count: 1, agent_count: 1 });
    expect(await me(token)).toMatchObject({ name: "bot", actor_type: "token", secret_count: 1, plan: "self-hosted" });
    expect((await vault.call("GET", "/v1/me/status", { as: key })).json).toEqual({
      has_subscription: true,
      plan: "self-hosted",
      subscription_status: "active",
    });
  });

  it("tells anyone how it is and what it can be asked, and nothing else", async () => {
    const vault = await startTestVault();
    const health = await vault.call("GET", "/v1/health", { as: null });
    expect(health.json).toEqual({ status: "ok", version: expect.any(String), service: "sidekey-vault" });
    const document = await vault.call("GET", "/v1/openapi.json", { as: null });
    expect(document.json.openapi).toBe("3.1.0");
    for (const [path, operations] of Object.entries<Record<string, { security: unknown[] }>>(document.json.paths)) {
      for (const [method, { security }] of Object.entries(operations)) {
        if (security.length === 0) continue;
        const { status } = await vault.call(method.toUpperCase(), path.replaceAll(/\{\w+\}/g, "a"), {
          as: null,
          headers: {},
        });
        expect([method, path, status]).toEqual([method, path, 401]);
      }
    }
  });
});

describe("somebody who is told", () => {
  it("hears of requests and of what came of them, signed, behind the answer", async () => {
    const heard: { type: string; data: Record<string, unknown>; signed: boolean }[] = [];
    const secret = "0123456789abcdef0123456789abcdef";
    const receiver = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => void chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature } = request.headers;
        const wanted = createHmac("sha256", secret).update(`${id}.${time}.${body}`).digest("base64");
        heard.push({ ...JSON.parse(body), signed: signature === `v1,${wanted}` });
        response.writeHead(204).end();
      });
    });
    await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void receiver.close());
    const { port } = receiver.address() as AddressInfo;
    const vault = await startTestVault({
      yaml: `approvals: { webhook: { url: "http://127.0.0.1:${port}/x", secret: { env: HOOK } } }\n`,
      environment: { HOOK: secret },
    });
    await store(vault, "p/a", { access_tier: "sensitive", value: "sk-canary-3b1d" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const ask = async (ttl: string): Promise<string> =>
      (await vault.call("POST", "/v1/tokens", { as: key, body: { scopes: ["secrets:read:p/*"], ttl } })).json
        .approval_id;
    const yes = await ask("1h");
    expect(await ask("1h")).toBe(yes);
    await vault.call("POST", `/v1/approvals/${yes}/approve`);
    const no = await ask("2h");
    await vault.call("POST", `/v1/approvals/${no}/deny`, { body: { reason: "no" } });
    await expect
      .poll(() => heard.map(({ type }) => type).sort())
      .toEqual(["approval.denied", "approval.granted", "approval.requested", "approval.requested"]);
    expect(heard.every(({ signed }) => signed)).toBe(true);
    expect(heard[0]?.data).toMatchObject({
      agent: "bot",
      access_tier: "sensitive",
      requested_scopes: ["secrets:read:p/*"],
    });
    expect(JSON.stringify(heard)).not.toContain("canary");
  });

  it("needs a secret that is one", async () => {
    const yaml = 'approvals: { webhook: { url: "https://x.test/", secret: { env: HOOK } } }\n';
    await expect(startTestVault({ yaml, environment: { HOOK: "short" } })).rejects.toThrow("CONFIG_INVALID");
  });
});
