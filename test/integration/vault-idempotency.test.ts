/** Changes that come with an Idempotency-Key: made once, and answered as often as they are asked for within a minute. */
import { describe, expect, it, vi } from "vitest";
import { nodeAuditFs } from "../../src/audit/file-access.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createProofKey } from "../support/proofs.ts";
import { type CallOptions, startTestVault, type TestAnswer, type TestVault } from "../support/vault/test-vault.ts";

const codeOf = ({ status, json }: { status: number; json: { error?: { code?: string } } }): string =>
  `${status} ${json?.error?.code}`;

const named = (vault: TestVault, event: string) => vault.audit().filter((line) => line["event"] === event);

let keys = 0;
const newKey = (): string => {
  keys += 1;
  return `key-${keys}`;
};

/** Makes a call under a key. */
const keyed =
  (vault: TestVault, key: string) =>
  (method: string, path: string, { headers = {}, ...options }: CallOptions = {}): Promise<TestAnswer> =>
    vault.call(method, path, { ...options, headers: { "idempotency-key": key, ...headers } });

describe("the same request with the same Idempotency-Key", () => {
  it("gets the same answer, whatever it changes, and changes it once", { timeout: 120_000 }, async () => {
    const vault = await startTestVault();
    const put = (path: string, more: object = {}) =>
      vault.call("PUT", `/v1/secrets/${path}`, { body: { value: "one", ...more } });
    for (const path of ["a/key", "a/key", "a/gone", "a/back", "a/back"]) await put(path);
    await put("a/guarded", { access_tier: "critical" });
    const agentKey = await vault.agent("bot", { allowed_scopes: ["secrets:read:a/*", "secrets:use:a/*"] });
    const as = { as: agentKey };
    const issue = async (fields: object) => (await vault.call("POST", "/v1/tokens", { ...as, body: fields })).json;
    const guarded = async (ttl: number): Promise<string> =>
      `/v1/approvals/${(await issue({ scopes: ["secrets:read:a/guarded"], ttl })).approval_id}`;
    const idOf = async () => (await issue({ scopes: ["secrets:read:a/key"] })).token_id;
    const side = (name: string) => ({ agent: "bot", name, jwk: createProofKey().jwk });
    const { json: sidecar } = await vault.call("POST", "/v1/sidecars", { body: side("one") });
    await vault.agent("other", { allowed_scopes: ["secrets:use:a/*"] });
    const calls: Readonly<Record<string, readonly [string, string, CallOptions?]>> = {
      issueToken: ["POST", "/v1/tokens", { ...as, body: { scopes: ["secrets:read:a/key"] } }],
      deleteToken: ["DELETE", `/v1/tokens/${await idOf()}`],
      revokeToken: ["POST", `/v1/tokens/${await idOf()}/revoke`],
      rotateSigningKey: ["POST", "/v1/keys/rotate"],
      putSecret: ["PUT", "/v1/secrets/a/key", { body: { value: "two" } }],
      patchSecret: ["PATCH", "/v1/secrets/a/key", { body: { value: "three", grace_period_seconds: 60 } }],
      deleteSecret: ["DELETE", "/v1/secrets/a/gone"],
      createSecret: ["POST", "/v1/secrets", { body: { path: "a/new", value: "new" } }],
      rotateSecret: ["POST", "/v1/secrets/a/key/rotate", { body: {} }],
      rollBackSecret: ["POST", "/v1/secrets/a/back/rollback", { body: { version: 1 } }],
      importSecrets: ["POST", "/v1/secrets/import", { body: { namespace: "b", content: "ONE=1\nTWO=2\n" } }],
      createAgent: ["POST", "/v1/agents", { body: { name: "made", allowed_scopes: ["secrets:read:a/*"] } }],
      updateAgent: ["PATCH", "/v1/agents/other", { body: { description: "another" } }],
      revokeAgent: ["DELETE", "/v1/agents/other"],
      enrolSidecar: ["POST", "/v1/sidecars", { body: side("two") }],
      revokeSidecar: ["DELETE", `/v1/sidecars/${sidecar.id}`],
      approve: ["POST", `${await guarded(61)}/approve`, { body: {} }],
      deny: ["POST", `${await guarded(62)}/deny`, { body: { reason: "no" } }],
    };
    const { json: document } = await vault.call("GET", "/v1/openapi.json", { as: null });
    const changing = Object.values<Record<string, { operationId: string }>>(document.paths).flatMap((methods) =>
      Object.entries(methods).flatMap(([method, { operationId }]) => (method === "get" ? [] : [operationId])),
    );
    // A token that took itself back is nobody's any more; a use is read like a value.
    expect(Object.keys(calls).sort()).toEqual(
      changing.filter((name) => name !== "redeem" && name !== "revokeOwnToken").sort(),
    );
    for (const [name, [method, path, options]] of Object.entries(calls)) {
      const make = keyed(vault, newKey());
      const first = await make(method, path, options);
      expect([name, first.status, first.headers.get("idempotent-replayed")]).toEqual([
        name,
        expect.toSatisfy((status: number) => status >= 200 && status < 300),
        null,
      ]);
      const events = vault.audit().length;
      const again = await make(method, path, options);
      expect([name, again.status, again.text]).toEqual([name, first.status, first.text]);
      expect([name, again.headers.get("idempotent-replayed")]).toEqual([name, "true"]);
      const told = vault.audit().slice(events);
      expect([name, told.map(({ event }) => event)]).toEqual([name, ["answer.repeated"]]);
      expect(JSON.parse(String(told[0]?.["metadata"]))).toEqual({
        call: name,
        first_request_id: first.headers.get("x-request-id"),
      });
    }
    expect((await vault.call("GET", "/v1/secrets/a/key")).json.version).toBe(5);
    expect((await vault.call("GET", "/v1/secrets/a/back")).json.version).toBe(3);
    expect(
      (await vault.call("GET", "/v1/agents")).json.items.filter((one: { name: string }) => one.name === "made"),
    ).toHaveLength(1);
  });

  it("is made once when several come at once, and all hear of the one", async () => {
    const vault = await startTestVault();
    const agentKey = await vault.agent("bot", { allowed_scopes: ["secrets:read:a/*"] });
    const make = keyed(vault, newKey());
    const body = { scopes: ["secrets:read:a/*"] };
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => make("POST", "/v1/tokens", { as: agentKey, body })),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]?.status).toBe(201);
    expect((await vault.call("GET", "/v1/tokens")).json.total).toBe(1);
    expect(named(vault, "token.issued")).toHaveLength(1);
  });

  it("gets its answer also when the one use of its token was spent on it", async () => {
    const vault = await startTestVault();
    const agentKey = await vault.agent("bot", { allowed_scopes: ["secrets:*:p/*"] });
    const as = await vault.token(agentKey, { scopes: ["secrets:*:p/*"], max_uses: 1 });
    const make = keyed(vault, newKey());
    const first = await make("PUT", "/v1/secrets/p/a", { as, body: { value: "one" } });
    expect(first.status).toBe(201);
    const again = await make("PUT", "/v1/secrets/p/a", { as, body: { value: "one" } });
    expect([again.status, again.text]).toEqual([201, first.text]);
    expect((await vault.call("GET", "/v1/secrets/p/a")).json.version).toBe(1);
    expect(codeOf(await keyed(vault, newKey())("PUT", "/v1/secrets/p/a", { as, body: { value: "one" } }))).toBe(
      "401 UNAUTHORIZED",
    );
  });

  it("is refused where it is another request, and is another caller's own", async () => {
    const vault = await startTestVault();
    const make = keyed(vault, newKey());
    const put = (path: string, value: string, more: CallOptions = {}) =>
      make("PUT", `/v1/secrets/${path}`, { body: { value }, ...more });
    expect((await put("a/one", "v")).status).toBe(201);
    for (const other of [
      () => put("a/one", "w"),
      () => put("a/two", "v"),
      () => make("DELETE", "/v1/secrets/a/one"),
      () => make("POST", "/v1/secrets", { body: { path: "a/one", value: "v" } }),
    ]) {
      expect(codeOf(await other())).toBe("422 IDEMPOTENCY_KEY_REUSED");
    }
    expect((await vault.call("GET", "/v1/secrets")).json.total).toBe(1);
    const writer = await vault.agent("bot", { allowed_scopes: ["secrets:write:a/*"] });
    const as = await vault.token(writer, { scopes: ["secrets:write:a/*"] });
    expect((await put("a/one", "w", { as })).json.version).toBe(2);
    // Spelled otherwise it is the same: fields in another order, a slash as %2F.
    const same = await make("PUT", "/v1/secrets/a%2Fone", { body: { value: "v" } });
    expect([same.status, same.json.version]).toEqual([201, 1]);
    for (const bad of ["", " ", "a b", "ä", "x".repeat(257)]) {
      const headers = { "idempotency-key": Buffer.from(bad).toString("latin1") };
      const { status } = await vault.call("PUT", "/v1/secrets/a/bad", { body: { value: "v" }, headers });
      expect([bad, status]).toEqual([bad, 400]);
    }
  });

  it("runs again where it was refused, or waits for somebody: nothing was done", async () => {
    const vault = await startTestVault();
    await vault.call("PUT", "/v1/secrets/a/one", { body: { value: "v", access_tier: "critical" } });
    const make = keyed(vault, newKey());
    const create = () => make("POST", "/v1/secrets", { body: { path: "a/one", value: "w" } });
    expect(codeOf(await create())).toBe("409 CONFLICT");
    await vault.call("DELETE", "/v1/secrets/a/one");
    expect((await create()).status).toBe(201);
    await vault.call("PUT", "/v1/secrets/a/guarded", { body: { value: "v", access_tier: "critical" } });
    const agentKey = await vault.agent("bot", { allowed_scopes: ["secrets:read:a/*"] });
    const ask = keyed(vault, newKey());
    const wish = { as: agentKey, body: { scopes: ["secrets:read:a/guarded"] } };
    const waiting = await ask("POST", "/v1/tokens", wish);
    expect(waiting.status).toBe(202);
    await vault.call("POST", `/v1/approvals/${waiting.json.approval_id}/approve`, { body: {} });
    const granted = await ask("POST", "/v1/tokens", wish);
    expect(granted.status).toBe(201);
    // The approval is used up, and the token is there still for who did not hear of it.
    expect((await ask("POST", "/v1/tokens", wish)).text).toBe(granted.text);
  });

  it("is a new one after a minute, when nothing is kept of the first", async () => {
    // It stands still, so that no second of a slow machine counts.
    const [wall, monotonic] = [systemClock.now(), systemClock.monotonic()];
    let later = 0;
    const clock = { now: () => wall + later, monotonic: () => monotonic + later };
    const vault = await startTestVault({ clock });
    const make = keyed(vault, newKey());
    const put = () => make("PUT", "/v1/secrets/a/one", { body: { value: "v" } });
    expect([(await put()).json.version, (await put()).json.version]).toEqual([1, 1]);
    later = 59_999;
    expect((await put()).json.version).toBe(1);
    later = 60_000;
    expect((await put()).json.version).toBe(2);
  });

  it("is not made again when nobody knows what became of the first, and says so", async () => {
    const vault = await startTestVault();
    const make = keyed(vault, newKey());
    const put = () => make("PUT", "/v1/secrets/a/one", { body: { value: "v" } });
    const write = nodeAuditFs.writeSync;
    const disk = vi.spyOn(nodeAuditFs, "writeSync").mockImplementation((fd, bytes) => {
      if (Buffer.from(bytes).includes("secret.created")) throw Object.assign(new Error("full"), { code: "ENOSPC" });
      return write(fd, bytes);
    });
    expect(codeOf(await put())).toBe("503 AUDIT_UNAVAILABLE");
    disk.mockRestore();
    await expect
      .poll(async () => (await vault.call("GET", "/v1/health", { as: null })).status, { timeout: 20_000 })
      .toBe(200);
    expect(codeOf(await put())).toBe("409 IDEMPOTENCY_UNSETTLED");
    expect((await vault.call("GET", "/v1/secrets/a/one")).json.version).toBe(1);
  });
});

describe("a token of few uses that reads under an Idempotency-Key", () => {
  it("gets what its use was spent on, and no newer value, and nothing where that is closed", async () => {
    const vault = await startTestVault();
    const put = (value: string) => vault.call("PUT", "/v1/secrets/p/a", { body: { value } });
    await put("one");
    const agentKey = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const as = await vault.token(agentKey, { scopes: ["secrets:read:p/*"], max_uses: 1 });
    const read = () => keyed(vault, "once")("GET", "/v1/secrets/p/a", { as });
    const first = await read();
    expect(first.json.value).toBe("one");
    await put("two");
    expect((await read()).json).toMatchObject({ value: "one", version: 1 });
    await vault.call("POST", "/v1/secrets/p/a/rotate", { body: { new_value: "three" } });
    expect(codeOf(await read())).toBe("404 SECRET_NOT_FOUND");
  });
});
