import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nodeAuditFs } from "../../src/audit/file-access.ts";
import { openAudit, verifyAudit } from "../../src/audit/index.ts";
import { readAuditKey } from "../../src/audit/key.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { createVaultAudit } from "../../src/vault/audit.ts";
import { startTestVault } from "../support/vault/test-vault.ts";

/** Puts `count` reads and denials of two agents on record, in files of their own. */
const recordMany =
  (count: number) =>
  async (state: string): Promise<void> => {
    const broker = await openAudit({
      path: join(state, "vault-audit.jsonl"),
      keyPath: join(state, "audit.key"),
      sync: "never",
      maxSize: 30_000,
      keep: 100,
      clock: systemClock,
      log: silentLog,
      agent: "vault",
      lock: true,
    });
    const audit = createVaultAudit({ broker, clock: systemClock, log: silentLog });
    for (let i = 0; i < count; i++) {
      await audit.record({
        event: "secret.read",
        actor: { type: "token", id: `t${i % 3}`, agent: i % 2 === 0 ? "researcher" : "writer" },
        secret: `production/service-${i % 5}/key`,
        requestId: `r${i}`,
      });
    }
    await audit.close();
  };

describe("GET /v1/audit", () => {
  it("gives an operator page by page what matches, and nobody else anything", async () => {
    const vault = await startTestVault({ prepare: recordMany(200) });
    const all = (await vault.call("GET", "/v1/audit?limit=1000")).json;
    expect(all.total).toBe(all.events.length);
    const ids = all.events.map(({ id }: { id: string }) => Number(id));
    expect(ids).toEqual(ids.toSorted((a: number, b: number) => b - a));

    const { json } = await vault.call("GET", "/v1/audit?agent=researcher&secret=production/service-1/*&limit=7&page=2");
    expect(json).toMatchObject({ total: 20, page: 2, limit: 7 });
    expect(json.events).toHaveLength(7);
    for (const event of json.events)
      expect(event).toMatchObject({ resource_id: "production/service-1/key", metadata: { agent: "researcher" } });
    expect((await vault.call("GET", "/v1/audit?event=secret.*&actor=t1")).json.total).toBe(67);
    expect((await vault.call("GET", "/v1/audit?event=token.issued")).json).toMatchObject({ total: 0, events: [] });
    expect((await vault.call("GET", "/v1/audit?since=1h&event=secret.read")).json.total).toBe(200);
    expect((await vault.call("GET", "/v1/audit?until=1h&event=secret.read")).json.total).toBe(0);
    expect((await vault.call("GET", "/v1/audit?since=2001-01-01T00:00:00%2B02:00&event=secret.read")).json.total).toBe(
      200,
    );

    for (const path of ["/v1/audit", "/v1/audit/export"]) {
      expect((await vault.call("GET", path, { as: null })).status).toBe(401);
      expect((await vault.call("GET", path, { as: "ask_op_wrong" })).status).toBe(401);
      for (const query of ["since=yesterday", "since=9999999999999d&page=0", "event=", "limit=1.5"])
        expect([query, (await vault.call("GET", `${path}?${query}`)).status]).toEqual([query, 400]);
    }
    expect((await vault.call("GET", "/v1/audit?since=99999999d&event=secret.read")).json.total).toBe(200);
  });

  it("exports the very lines, which verify", async () => {
    const vault = await startTestVault({ prepare: recordMany(200) });
    const { text, headers, status } = await vault.call("GET", "/v1/audit/export");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("application/x-ndjson");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-request-id")).toMatch(/./);
    const file = join(vault.state, "exported.ndjson");
    writeFileSync(file, text);
    const key = readAuditKey(nodeAuditFs, join(vault.state, "audit.key"));
    expect(await verifyAudit({ files: [file], key })).toMatchObject({ ok: true, records: text.split("\n").length - 1 });

    const part = (await vault.call("GET", "/v1/audit/export?event=secret.read&agent=writer&limit=3&after=10")).text;
    const records = part
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records).toHaveLength(3);
    for (const { seq, agent } of records) expect([seq > 10, agent]).toEqual([true, "writer"]);
  });

  it("is empty, not an error, where there is nothing", async () => {
    const vault = await startTestVault();
    for (const name of ["vault-audit.jsonl", "vault-audit.head"]) rmSync(join(vault.state, name), { force: true });
    const { status, text } = await vault.call("GET", "/v1/audit/export?event=nothing");
    expect([status, text]).toEqual([200, ""]);
  });
});
