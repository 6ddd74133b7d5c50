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
