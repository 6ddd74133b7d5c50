/** A vault whose audit cannot be written: nothing is answered that is not on record, and it recovers by itself. */
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { nodeAuditFs } from "../../src/audit/file-access.ts";
import { auditOf, canary, type Stage, setAuditedVault } from "../support/vault/audited-vault.ts";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

/** The disk is full for records that hold `text`. */
const fillDisk = (text: string) => {
  const write = nodeAuditFs.writeSync;
  return vi.spyOn(nodeAuditFs, "writeSync").mockImplementation((fd, bytes) => {
    if (Buffer.from(bytes).includes(text)) throw Object.assign(new Error("full"), { code: "ENOSPC" });
    return write(fd, bytes);
  });
};

const health = async (vault: TestVault): Promise<number> =>
  (await vault.call("GET", "/v1/health", { as: null })).status;

const REFUSED = { status: 503, json: { error: { code: "AUDIT_UNAVAILABLE" } } };

const eventsOf = (stage: Stage): string[] =>
  auditOf(stage.vault)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).event ?? "");

describe("while no record can be stored", () => {
  it("every call that would change something is refused and changes nothing", async () => {
    const stage = await setAuditedVault();
    const { vault, issue, agentKey, jkt } = stage;
    const put = (path: string, more: object = {}) =>
      vault.call("PUT", `/v1/secrets/${path}`, { body: { value: canary(), ...more } });
    for (const path of ["a/key", "a/key", "a/old"]) await put(path);
    await put("a/guarded", { access_tier: "critical" });
    const { json: token } = await issue({ scopes: ["secrets:read:a/key"] });
    const { json: own } = await issue({ scopes: ["secrets:read:a/key"] });
    const { json: waiting } = await issue({ scopes: ["secrets:read:a/guarded"] });
    const other = { name: "other", allowed_scopes: ["secrets:use:a/*"] };
    await vault.call("POST", "/v1/agents", { body: other });
    const side = { agent: "other", name: "side", jkt };
    const { json: sidecar } = await vault.call("POST", "/v1/sidecars", { body: side });
    const as = { as: agentKey };
    const approval = `/v1/approvals/${waiting.approval_id}`;
    const calls: Readonly<Record<string, readonly [string, string, object?]>> = {
      issueToken: ["POST", "/v1/tokens", { ...as, body: { scopes: ["secrets:read:a/key"] } }],
      deleteToken: ["DELETE", `/v1/tokens/${token.token_id}`],
      revokeToken: ["POST", `/v1/tokens/${token.token_id}/revoke`],
      revokeOwnToken: ["POST", "/v1/tokens/revoke", { as: own.token }],
      rotateSigningKey: ["POST", "/v1/keys/rotate"],
      putSecret: ["PUT", "/v1/secrets/a/key", { body: { value: canary() } }],
      patchSecret: ["PATCH", "/v1/secrets/a/key", { body: { hosts: ["api.test"] } }],
      deleteSecret: ["DELETE", "/v1/secrets/a/key"],
      createSecret: ["POST", "/v1/secrets", { body: { path: "a/new", value: canary() } }],
      rotateSecret: ["POST", "/v1/secrets/a/key/rotate", { body: {} }],
      rollBackSecret: ["POST", "/v1/secrets/a/key/rollback", { body: { version: 1 } }],
      importSecrets: ["POST", "/v1/secrets/import", { body: { namespace: "a", content: `old=${canary()}\n` } }],
      createAgent: ["POST", "/v1/agents", { body: { ...other, name: "new" } }],
      updateAgent: ["PATCH", "/v1/agents/other", { body: { reads: "placeholder" } }],
      revokeAgent: ["DELETE", "/v1/agents/other"],
      enrolSidecar: ["POST", "/v1/sidecars", { body: { ...side, jkt: "A".repeat(43) } }],
      revokeSidecar: ["DELETE", `/v1/sidecars/${sidecar.id}`],
      approve: ["POST", `${approval}/approve`, { body: {} }],
      deny: ["POST", `${approval}/deny`, { body: { reason: "no" } }],
    };
    const { json: document } = await vault.call("GET", "/v1/openapi.json", { as: null });
    const changing = Object.values<Record<string, { operationId: string }>>(document.paths).flatMap((methods) =>
      Object.entries(methods).flatMap(([method, { operationId }]) => (method === "get" ? [] : [operationId])),
    );
    // A use is read like a value, and changes nothing where nothing is counted.
    expect(Object.keys(calls).sort()).toEqual(changing.filter((name) => name !== "redeem").sort());
    const seen = async (): Promise<readonly string[]> => {
      const lists = ["secrets", "secrets/a/key/history", "agents", "tokens", "sidecars", "approvals", "jwks.json"];
      const texts: string[] = [];
      for (const list of lists) texts.push((await vault.call("GET", `/v1/${list}`)).text);
      return texts.map((text) => text.replaceAll(/"last_active_at":"[^"]*"/g, ""));
    };
    const before = await seen();
    const full = fillDisk('"seq"');
    // That it is broken is found by the first record; a change that is under way then is owed its own, as below.
    expect(await vault.call("GET", "/v1/secrets/a/key")).toMatchObject(REFUSED);
    for (const [name, [method, path, options]] of Object.entries(calls)) {
      expect([name, await vault.call(method, path, options)]).toEqual([name, expect.objectContaining({ status: 503 })]);
    }
    full.mockRestore();
    await expect.poll(() => health(vault)).toBe(200);
    expect(await seen()).toEqual(before);
  });

  it("no value, no token and no refusal goes out, nothing is changed, and it is unready until it can", async () => {
    const stage = await setAuditedVault();
    const { vault, token, proven, jkt, agentKey } = stage;
    const value = canary();
    await vault.call("PUT", "/v1/secrets/a/key", { body: { value } });
    const reader = await token({ scopes: ["secrets:read:a/*"] });
    const once = await token({ scopes: ["secrets:read:a/*"], max_uses: 1 });
    const bound = await token({ scopes: ["secrets:use:a/*"], dpop_jkt: jkt });

    const full = fillDisk('"seq"');
    const read = await vault.call("GET", "/v1/secrets/a/key", { as: reader });
    expect(read).toMatchObject(REFUSED);
    expect(read.text).not.toContain(value);
    expect(read.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(await health(vault)).toBe(503);
    const answers = [
      await proven("POST", "/v1/redeem", bound, { path: "a/key", authority: "api.example.test" }),
      await vault.call("GET", "/v1/secrets/a/key", { as: once }),
      await vault.call("GET", "/v1/secrets/b/key", { as: reader }),
      await vault.call("GET", "/v1/secrets/a/key", { as: "ast_agent_wrong" }),
      await stage.issue({ scopes: ["secrets:read:a/*"] }),
      await vault.call("PUT", "/v1/secrets/a/other", { body: { value: canary() } }),
      await vault.call("DELETE", "/v1/secrets/a/key"),
      await vault.call("POST", "/v1/agents", { body: { name: "new", allowed_scopes: ["secrets:read:a/*"] } }),
      await vault.call("POST", "/v1/keys/rotate"),
    ];
    for (const answer of answers) {
      expect(answer).toMatchObject(REFUSED);
      expect(answer.text).not.toContain(value);
    }
    full.mockRestore();

    await expect.poll(() => health(vault)).toBe(200);
    expect((await vault.call("GET", "/v1/secrets/a/key", { as: reader })).json.value).toBe(value);
    // Its one use was not lost, and what was refused did not happen.
    expect((await vault.call("GET", "/v1/secrets/a/key", { as: once })).json.value).toBe(value);
    expect((await vault.call("GET", "/v1/secrets/a/other")).status).toBe(404);
    expect((await vault.call("GET", "/v1/me", { as: agentKey })).status).toBe(200);
    expect((await vault.call("GET", "/v1/agents")).text).not.toContain('"new"');
    expect(auditOf(vault)).toMatch(/resumed after \d+ refused records, ENOSPC/);
  });

  it("the same for a log whose directory is taken away, and put back", async () => {
    const vault = await startTestVault({
      yaml: "audit: { path: logs/vault.jsonl }\n",
      prepare: async (state) => {
        mkdirSync(join(state, "../logs"));
      },
    });
    const logs = join(vault.state, "../logs");
    await vault.call("PUT", "/v1/secrets/a/key", { body: { value: canary() } });
    // As a whole: a thread of the log still writes there.
    renameSync(logs, `${logs}.gone`);
    await expect.poll(() => health(vault)).toBe(503);
    expect(await vault.call("GET", "/v1/secrets/a/key")).toMatchObject(REFUSED);
    mkdirSync(logs);
    await expect.poll(() => health(vault)).toBe(200);
    expect((await vault.call("GET", "/v1/secrets/a/key")).status).toBe(200);
    expect(readFileSync(join(logs, "vault.jsonl"), "utf8")).toContain('"event":"secret.read"');
  });

  it.skipIf(!existsSync("/dev/full"))("the same for a full device", async () => {
    const vault = await startTestVault({ yaml: "audit: { path: /dev/full }\n" });
    expect(await health(vault)).toBe(503);
    expect(await vault.call("PUT", "/v1/secrets/a/key", { body: { value: canary() } })).toMatchObject(REFUSED);
    expect(await vault.call("GET", "/v1/secrets/a/key", { as: "ask_op_wrong" })).toMatchObject(REFUSED);
  });
});

describe("a change that was made and cannot be recorded", () => {
  it("is answered 503, and on record by itself with its time once the log is back", async () => {
    const stage = await setAuditedVault();
    const { vault } = stage;
    const value = canary();
    const full = fillDisk('"event":"secret.created"');
    expect(await vault.call("PUT", "/v1/secrets/a/made", { body: { value } })).toMatchObject(REFUSED);
    expect(await health(vault)).toBe(503);
    expect(await vault.call("PUT", "/v1/secrets/a/later", { body: { value } })).toMatchObject(REFUSED);
    full.mockRestore();

    await expect.poll(() => health(vault)).toBe(200);
    const { json } = await vault.call("GET", "/v1/audit?event=secret.created");
    expect(json).toMatchObject({ total: 1, events: [{ resource_id: "a/made", metadata: { answered: 503 } }] });
    expect(json.events[0].metadata.happened_at).toMatch(/^\d{4}-.*Z$/);
    expect((await vault.call("GET", "/v1/secrets/a/made")).json.value).toBe(value);
    expect(eventsOf(stage).filter((event) => event === "secret.created")).toHaveLength(1);
  });
});
