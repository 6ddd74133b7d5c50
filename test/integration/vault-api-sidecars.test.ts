/** What sidecars do: enrol, redeem with a proof, and listen, over real sockets. */
import { describe, expect, it, onTestFinished } from "vitest";
import { createProofKey, makeProof, type ProofKey } from "../support/proofs.ts";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

const CANARY = "sk-canary-52b8d0e1f7934ac6";

const codeOf = ({ status, json }: { status: number; json: { error?: { code?: string } } }): string =>
  `${status} ${json?.error?.code}`;

const store = (vault: TestVault, path: string, fields: object = {}) =>
  vault.call("PUT", `/v1/secrets/${path}`, { body: { value: CANARY, ...fields } });

interface Stage {
  readonly vault: TestVault;
  readonly agentKey: string;
  readonly key: ProofKey;
  readonly token: string;
  redeem(
    body: object,
    as?: { key?: ProofKey; token?: string; headers?: Record<string, string> },
  ): ReturnType<TestVault["call"]>;
}

const stage = async (yaml = "", agentFields: object = {}): Promise<Stage> => {
  const vault = await startTestVault({ yaml });
  const agentKey = await vault.agent("bot", {
    allowed_scopes: ["secrets:use:p/*", "secrets:read:p/*"],
    ...agentFields,
  });
  const key = createProofKey();
  const { status } = await vault.call("POST", "/v1/sidecars", { as: agentKey, body: { name: "side", jwk: key.jwk } });
  expect(status).toBe(201);
  const token = await vault.token(agentKey, { scopes: ["secrets:use:p/*"], reads: "value" });
  return {
    vault,
    agentKey,
    key,
    token,
    redeem: (body, as = {}) =>
      vault.prove(as.key ?? key, as.token ?? token, "POST", "/v1/redeem", {
        body: { authority: "api.test", ...body },
        ...(as.headers !== undefined && { headers: as.headers }),
      }),
  };
};

describe("sidecars", () => {
  it("are enrolled by their agent or an operator, listed, and taken back for good", async () => {
    const { vault, agentKey, key, redeem } = await stage();
    await store(vault, "p/a");
    const again = await vault.call("POST", "/v1/sidecars", { as: agentKey, body: { name: "side", jkt: key.jkt } });
    expect(again.json).toMatchObject({ name: "side", jkt: key.jkt });
    const second = createProofKey();
    const byOperator = (body: object) => vault.call("POST", "/v1/sidecars", { body: { name: "second", ...body } });
    expect((await byOperator({ agent: "bot", jkt: second.jkt })).status).toBe(201);
    expect(codeOf(await byOperator({ jkt: second.jkt }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await byOperator({ agent: "bot" }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await byOperator({ agent: "nobody", jkt: second.jkt }))).toBe("404 NOT_FOUND");
    expect(codeOf(await byOperator({ agent: "bot", jwk: { ...second.jwk, d: "A".repeat(43) } }))).toMatch(/^40[01] /);
    const other = await vault.agent("other", { allowed_scopes: ["secrets:use:p/*"] });
    expect(
      codeOf(
        await vault.call("POST", "/v1/sidecars", { as: other, body: { name: "x", jkt: second.jkt, agent: "bot" } }),
      ),
    ).toBe("403 SCOPE_DENIED");
    expect((await vault.call("GET", "/v1/sidecars")).json.total).toBe(2);
    expect((await vault.call("GET", "/v1/sidecars", { as: other })).json.total).toBe(0);
    expect(codeOf(await vault.call("DELETE", `/v1/sidecars/${key.jkt}`, { as: other }))).toBe("404 NOT_FOUND");
    expect((await redeem({ path: "p/a" })).json.value).toBe(CANARY);
    expect((await vault.call("DELETE", `/v1/sidecars/${key.jkt}`, { as: agentKey })).status).toBe(204);
    expect(codeOf(await redeem({ path: "p/a" }))).toBe("401 UNAUTHORIZED");
    expect((await redeem({ path: "p/a" }, { key: second })).json.value).toBe(CANARY);
  });
});

describe("an agent's sidecars", () => {
  it("have an end, which an operator sets, and which revoking one moves", async () => {
    const { vault, agentKey, key, redeem } = await stage("limits: { sidecars_per_agent: 2 }\n");
    await store(vault, "p/a");
    const enrol = (as: string, body: object = {}) =>
      vault.call("POST", "/v1/sidecars", { as, body: { name: "more", jwk: createProofKey().jwk, ...body } });
    const second = await enrol(agentKey);
    expect(second.status).toBe(201);
    const refused = await enrol(agentKey);
    expect(codeOf(refused)).toBe("409 LIMIT_REACHED");
    expect(codeOf(await enrol(vault.operatorKey, { agent: "bot" }))).toBe("409 LIMIT_REACHED");
    // The one that is there is enrolled at each of its starts, and redeems.
    expect((await enrol(agentKey, { jwk: key.jwk })).status).toBe(201);
    expect((await redeem({ path: "p/a" })).status).toBe(200);
    expect((await vault.call("DELETE", `/v1/sidecars/${second.json.id}`, { as: agentKey })).status).toBe(204);
    expect((await enrol(agentKey)).status).toBe(201);
  });
});

describe("redemption", () => {
  it("gives the value for a place that the secret may go to, and is on record as the sidecar's", async () => {
    const { vault, key, redeem } = await stage();
    await store(vault, "p/a", { hosts: ["api.test"], expires_at: "2099-01-01T00:00:00Z" });
    const told = { agent_name: "planner", reason: "GET https://api.test/" };
    const { status, json } = await redeem({ path: "p/a", authority: "API.test:443", ...told });
    expect([status, json]).toEqual([
      200,
      { value: CANARY, version: 1, path: "p/a", hosts: ["api.test"], not_after: "2099-01-01T00:00:00.000Z" },
    ]);
    expect(vault.audit().find(({ event }) => event === "secret.used")).toMatchObject({
      actor_type: "sidecar",
      actor: key.jkt,
      agent: "bot",
      secret: "p/a",
      version: "1",
      authority: "API.test:443",
      ...told,
    });
    expect(codeOf(await redeem({ path: "p/a", authority: "evil.test" }))).toBe("403 SCOPE_DENIED");
    expect(vault.audit().at(-1)).toMatchObject({
      event: "secret.use.denied",
      code: "POLICY_SECRET_HOST",
      secret: "p/a",
    });
    for (const authority of ["", "a b", "api.test/x", "u@api.test", "api.test:0"]) {
      expect([authority, codeOf(await redeem({ path: "p/a", authority }))]).toEqual([
        authority,
        "400 VALIDATION_ERROR",
      ]);
    }
    for (const body of [{}, { path: "p/a", name: "a" }, { path: "p" }, { path: "p/../a" }]) {
      expect([body, (await redeem(body)).status]).toEqual([body, 400]);
    }
    expect(codeOf(await redeem({ path: "q/a" }))).toBe("403 SCOPE_DENIED");
    expect(codeOf(await redeem({ path: "p/none" }))).toBe("404 SECRET_NOT_FOUND");
  });

  it("says that nothing changed, names what was replaced lately, and finds by name in the agent's place", async () => {
    const { vault, redeem } = await stage("", { place: "p/team", allowed_scopes: ["secrets:use:p/*"] });
    await store(vault, "p/team/a", { value: "first" });
    expect((await redeem({ path: "p/team/a", if_version: 1 })).json).toEqual({
      version: 1,
      path: "p/team/a",
      unchanged: true,
    });
    await store(vault, "p/team/a", { value: "second" });
    const { json } = await redeem({ path: "p/team/a", if_version: 1 });
    expect(json).toMatchObject({
      value: "second",
      version: 2,
      replaced: [{ value: "first", replaced_at: expect.any(String) }],
    });
    await store(vault, "p/b", { value: "wide" });
    expect((await redeem({ name: "a" })).json).toMatchObject({ value: "second", path: "p/team/a" });
    expect((await redeem({ name: "b" })).json).toMatchObject({ value: "wide", path: "p/b" });
    expect(codeOf(await redeem({ name: "c" }))).toBe("404 SECRET_NOT_FOUND");
  });

  it("never says so of a secret that is another under the same version: bound anew, made again, over", async () => {
    const { vault, redeem } = await stage();
    await store(vault, "p/a", { value: "first", hosts: ["api.test"] });
    await vault.call("PATCH", "/v1/secrets/p/a", { body: { hosts: ["api.test", "other.test"] } });
    expect((await redeem({ path: "p/a", if_version: 1 })).json).toMatchObject({
      value: "first",
      hosts: ["api.test", "other.test"],
    });
    await vault.call("DELETE", "/v1/secrets/p/a");
    await store(vault, "p/a", { value: "made again" });
    expect((await redeem({ path: "p/a", if_version: 1 })).json).toMatchObject({ value: "made again", version: 1 });
    const end = new Date(Date.now() + 3_000).toISOString();
    await store(vault, "p/b", { expires_at: end });
    expect((await redeem({ path: "p/b" })).json).toMatchObject({ not_after: end });
    await expect.poll(async () => codeOf(await redeem({ path: "p/b", if_version: 1 }))).toBe("410 SECRET_EXPIRED");
  });

  it("finds by name the narrowest that is there, and no wider one when that is forbidden, over or kept elsewhere", async () => {
    const {
      vault,
      agentKey,
      redeem: redeemAs,
    } = await stage("", {
      place: "org/team/ws",
      allowed_scopes: ["secrets:use:p/*", "secrets:use:org/*"],
    });
    const covered = ["org/open", "org/team/*", "org/over", "org/elsewhere"];
    const token = await vault.token(agentKey, { scopes: covered.map((path) => `secrets:use:${path}`), reads: "value" });
    const redeem = (body: object) => redeemAs(body, { token });
    for (const name of ["open", "over", "elsewhere"]) await store(vault, `org/${name}`, { value: "wide" });
    expect((await redeem({ name: "open" })).json).toMatchObject({ value: "wide", path: "org/open" });
    await store(vault, "org/team/open", { value: "narrower" });
    expect((await redeem({ name: "open" })).json).toMatchObject({ value: "narrower", path: "org/team/open" });
    await store(vault, "org/team/ws/open", { value: "narrowest" });
    expect((await redeem({ name: "open" })).json).toMatchObject({ path: "org/team/ws/open" });
    expect(codeOf(await redeemAs({ name: "open" }))).toBe("403 SCOPE_DENIED");
    const wide = await vault.token(agentKey, { scopes: ["secrets:use:org/open"], reads: "value" });
    expect(codeOf(await redeemAs({ name: "open" }, { token: wide }))).toBe("403 SCOPE_DENIED");
    await store(vault, "org/team/over", { expires_at: new Date(Date.now() + 2_000).toISOString() });
    await expect.poll(async () => codeOf(await redeem({ name: "over" }))).toBe("410 SECRET_EXPIRED");
    await vault.call("PUT", "/v1/secrets/org/team/elsewhere", {
      body: { reference: { backend: "vault", ref: "kv/x" } },
    });
    expect(codeOf(await redeem({ name: "elsewhere" }))).toBe("502 BACKEND_UNAVAILABLE");
  });

  it("is for the holder of an enrolled key, or of the one that the token is bound to, and nobody else", async () => {
    const { vault, agentKey, key, token, redeem } = await stage();
    await store(vault, "p/a");
    const stranger = createProofKey();
    expect(codeOf(await redeem({ path: "p/a" }, { key: stranger }))).toBe("403 SCOPE_DENIED");
    for (const as of [token, agentKey, vault.operatorKey]) {
      const plain = await vault.call("POST", "/v1/redeem", { as, body: { path: "p/a", authority: "api.test" } });
      expect(codeOf(plain)).toBe("403 SCOPE_DENIED");
    }
    const bound = await vault.token(agentKey, { scopes: ["secrets:use:p/*"], dpop_jkt: stranger.jkt });
    expect((await redeem({ path: "p/a" }, { key: stranger, token: bound })).json.value).toBe(CANARY);
    expect(codeOf(await redeem({ path: "p/a" }, { key, token: bound }))).toBe("401 UNAUTHORIZED");
    // One for use alone reads nothing, whoever shows it; of any other it is not even said that there is such a token.
    expect(codeOf(await vault.call("GET", "/v1/me", { as: bound }))).toBe("403 SCOPE_DENIED");
    const reading = await vault.token(agentKey, { scopes: ["secrets:read:p/*"], dpop_jkt: stranger.jkt });
    expect(codeOf(await vault.call("GET", "/v1/me", { as: reading }))).toBe("401 UNAUTHORIZED");
    expect((await vault.prove(stranger, bound, "GET", "/v1/me")).status).toBe(200);
    // A token that may use may not read.
    expect(codeOf(await vault.call("GET", "/v1/secrets/p/a", { as: token }))).toBe("403 SCOPE_DENIED");
    const reads = await vault.token(agentKey, { scopes: ["secrets:read:p/*"] });
    expect(codeOf(await redeem({ path: "p/a" }, { token: reads }))).toBe("403 SCOPE_DENIED");
  });

  it("takes a proof once, for its method, place, token and time, and offers a nonce where the clocks differ", async () => {
    const { vault, key, token } = await stage();
    await store(vault, "p/a");
    const body = { path: "p/a", authority: "api.test" };
    const good = { method: "POST", url: `${vault.url}/v1/redeem`, token };
    const send = (proof: string | undefined) =>
      vault.call("POST", "/v1/redeem", {
        body,
        headers: { authorization: `DPoP ${token}`, ...(proof !== undefined && { dpop: proof }) },
      });
    const proof = makeProof(key, good);
    expect((await send(proof)).status).toBe(200);
    expect(codeOf(await send(proof))).toBe("401 UNAUTHORIZED");
    for (const name of ["localhost", "[::1]"]) {
      const url = `http://${name}:${new URL(vault.url).port}/v1/redeem`;
      expect([name, (await send(makeProof(key, { ...good, url }))).status]).toEqual([name, 200]);
    }
    const wrong: Readonly<Record<string, string | undefined>> = {
      none: undefined,
      text: "x",
      method: makeProof(key, { ...good, method: "GET" }),
      place: makeProof(key, { ...good, url: `${vault.url}/v1/me` }),
      host: makeProof(key, { ...good, url: "http://evil.test/v1/redeem" }),
      token: makeProof(key, { ...good, token: `${token}x` }),
      type: makeProof(key, { ...good, header: { typ: "jwt" } }),
      algorithm: makeProof(key, { ...good, header: { alg: "none" } }),
      "private key": makeProof(key, { ...good, header: { jwk: { ...key.jwk, d: "A".repeat(43) } } }),
      "other key": makeProof(key, { ...good, header: { jwk: createProofKey().jwk } }),
      "no id": makeProof(key, { ...good, claims: { jti: "" } }),
    };
    for (const [what, one] of Object.entries(wrong))
      expect([what, codeOf(await send(one))]).toEqual([what, "401 UNAUTHORIZED"]);
    const late = Math.floor(Date.now() / 1000) - 300;
    const stale = await send(makeProof(key, { ...good, iat: late }));
    expect(codeOf(stale)).toBe("401 USE_DPOP_NONCE");
    expect(stale.headers.get("www-authenticate")).toContain('error="use_dpop_nonce"');
    const nonce = stale.headers.get("dpop-nonce") ?? "";
    expect((await send(makeProof(key, { ...good, iat: late, nonce }))).status).toBe(200);
    expect(codeOf(await send(makeProof(key, { ...good, iat: late, nonce: `${nonce}x` })))).toBe("401 USE_DPOP_NONCE");
  });

  it("swaps the placeholder of an agent's token, as long as that token is good", async () => {
    const { vault, agentKey, key, token, redeem } = await stage();
    await store(vault, "p/a", { value: "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789abcd" });
    const reader = await vault.call("POST", "/v1/tokens", {
      as: agentKey,
      body: { scopes: ["secrets:read:p/*"], reads: "placeholder" },
    });
    const read = await vault.call("GET", "/v1/secrets/p/a", { as: reader.json.token });
    expect(read.json.placeholder).toBe(true);
    expect(read.json.value).toMatch(/SKP[0-9A-Za-z]{24,}/);
    expect(read.text).not.toContain("abcdefghijkl");
    const placeholder = read.json.value;
    expect((await vault.call("GET", "/v1/secrets/p/a", { as: reader.json.token })).json.value).toBe(placeholder);
    expect((await redeem({ placeholder })).json).toMatchObject({
      path: "p/a",
      value: expect.stringContaining("abcdefghijkl"),
    });
    expect(codeOf(await redeem({ placeholder: `${placeholder}x` }))).toBe("404 SECRET_NOT_FOUND");
    const other = await vault.agent("other", { allowed_scopes: ["secrets:use:p/*"] });
    await vault.call("POST", "/v1/sidecars", { as: other, body: { name: "side", jkt: key.jkt } });
    const foreign = await vault.token(other, { scopes: ["secrets:use:p/*"] });
    expect(codeOf(await redeem({ placeholder }, { token: foreign }))).toBe("404 SECRET_NOT_FOUND");
    await vault.call("DELETE", `/v1/tokens/${reader.json.token_id}`);
    expect((await redeem({ placeholder })).status).toBeGreaterThanOrEqual(403);
    expect((await redeem({ path: "p/a" }, { token })).status).toBe(200);
  });
});

interface Heard {
  readonly event: string;
  readonly id?: string;
  readonly data: unknown;
}

/** A stream of events, read as it comes. */
const listen = async (stage: Stage, headers: Record<string, string> = {}, token = stage.token) => {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const proof = makeProof(stage.key, { method: "GET", url: `${stage.vault.url}/v1/events`, token });
  const response = await fetch(`${stage.vault.url}/v1/events`, {
    headers: { authorization: `DPoP ${token}`, dpop: proof, ...headers },
    signal: abort.signal,
  });
  const heard: Heard[] = [];
  const state = { isOver: false, text: "" };
  const read = async (): Promise<void> => {
    for await (const chunk of response.body ?? []) {
      state.text += Buffer.from(chunk).toString();
      for (let end = state.text.indexOf("\n\n"); end !== -1; end = state.text.indexOf("\n\n")) {
        const fields = Object.fromEntries(
          state.text
            .slice(0, end)
            .split("\n")
            .map((line) => line.split(": ", 2)),
        );
        state.text = state.text.slice(end + 2);
        const id = fields["id"] === undefined ? {} : { id: fields["id"] };
        if (fields["event"] !== undefined)
          heard.push({ event: fields["event"], ...id, data: JSON.parse(fields["data"]) });
      }
    }
  };
  read()
    .catch(() => {})
    .finally(() => {
      state.isOver = true;
    });
  return { response, heard, state, close: () => abort.abort() };
};

describe("events", () => {
  it("tell of what the token covers as it happens, and go on where they were left", async () => {
    const at = await stage();
    const first = await listen(at);
    expect([first.response.status, first.response.headers.get("content-type")]).toEqual([
      200,
      "text/event-stream; charset=utf-8",
    ]);
    expect(first.response.headers.get("cache-control")).toBe("no-store");
    await expect.poll(() => first.heard.map(({ event }) => event)).toEqual(["ready"]);
    await store(at.vault, "p/a");
    await store(at.vault, "q/a");
    await at.vault.call("DELETE", "/v1/secrets/p/a");
    await expect.poll(() => first.heard.length).toBe(3);
    expect(first.heard.slice(1)).toEqual([
      { event: "secret.updated", id: expect.any(String), data: { path: "p/a", version: 1 } },
      { event: "secret.deleted", id: expect.any(String), data: { path: "p/a", version: 1 } },
    ]);
    first.close();
    await store(at.vault, "p/b");
    const second = await listen(at, { "last-event-id": first.heard[1]?.id ?? "" });
    await expect.poll(() => second.heard.length).toBe(3);
    expect(second.heard.map(({ event, data }) => [event, data])).toEqual([
      ["secret.deleted", { path: "p/a", version: 1 }],
      ["secret.updated", { path: "p/b", version: 1 }],
      ["ready", { generation: expect.any(Number), beat_ms: 500 }],
    ]);
    const lost = await listen(at, { "last-event-id": "999999999" });
    await expect.poll(() => lost.heard.map(({ event }) => event)).toEqual(["reset", "ready"]);
  });

  it("end with the token and with the sidecar, and say so", async () => {
    const at = await stage();
    const sibling = await at.vault.call("POST", "/v1/tokens", {
      as: at.agentKey,
      body: { scopes: ["secrets:read:p/*"] },
    });
    const own = await listen(at);
    const longer = await listen(at, {}, await at.vault.token(at.agentKey, { scopes: ["secrets:use:p/*"] }));
    await expect.poll(() => own.heard.length + longer.heard.length).toBe(2);
    await at.vault.call("DELETE", `/v1/tokens/${sibling.json.token_id}`);
    await expect
      .poll(() => longer.heard.at(-1))
      .toMatchObject({ event: "token.revoked", data: { jti: sibling.json.token_id } });
    const claims: { jti: string } = JSON.parse(Buffer.from(at.token.split(".")[1] ?? "", "base64url").toString());
    await at.vault.call("DELETE", `/v1/tokens/${claims.jti}`);
    await expect.poll(() => own.state.isOver).toBe(true);
    expect(own.heard.at(-1)).toMatchObject({ event: "token.revoked", data: { jti: claims.jti } });
    expect(longer.state.isOver).toBe(false);
    await at.vault.call("DELETE", `/v1/sidecars/${at.key.jkt}`);
    await expect.poll(() => longer.state.isOver).toBe(true);
    expect(longer.heard.at(-1)).toMatchObject({ event: "sidecar.revoked", data: { jkt: at.key.jkt } });
  });

  it("end with the token's time", async () => {
    const at = await stage();
    const short = await listen(at, {}, await at.vault.token(at.agentKey, { scopes: ["secrets:use:p/*"], ttl: 2 }));
    await expect.poll(() => short.state.isOver).toBe(true);
  });

  it("are for sidecars, and for no more of them than the file says", async () => {
    const at = await stage("limits: { streams: 1 }\n");
    expect(codeOf(await at.vault.call("GET", "/v1/events", { as: at.token }))).toBe("403 SCOPE_DENIED");
    expect(codeOf(await at.vault.call("GET", "/v1/events"))).toBe("403 SCOPE_DENIED");
    const first = await listen(at);
    await expect.poll(() => first.heard.length).toBe(1);
    expect(codeOf(await at.vault.prove(at.key, at.token, "GET", "/v1/events"))).toBe("503 OVERLOADED");
    first.close();
    await expect.poll(async () => (await listen(at)).response.status).toBe(200);
  });

  it("are no agent's alone: one takes half of them, and the others have theirs", async () => {
    const at = await stage("limits: { streams: 4 }\n");
    for (let count = 0; count < 2; count += 1) expect((await listen(at)).response.status).toBe(200);
    expect(codeOf(await at.vault.prove(at.key, at.token, "GET", "/v1/events"))).toBe("503 OVERLOADED");
    const other = await at.vault.agent("other", { allowed_scopes: ["secrets:use:p/*"] });
    const token = await at.vault.token(other, { scopes: ["secrets:use:p/*"], dpop_jkt: at.key.jkt });
    expect((await listen(at, {}, token)).response.status).toBe(200);
  });

  it("end when the server stops, and hold it up for no time", async () => {
    const at = await stage();
    const one = await listen(at);
    await expect.poll(() => one.heard.length).toBe(1);
    await at.vault.stop();
    await expect.poll(() => one.state.isOver).toBe(true);
  });
});
