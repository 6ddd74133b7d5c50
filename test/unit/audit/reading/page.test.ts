import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { filesOfLog } from "../../../../src/audit/log-files.ts";
import { exportAudit } from "../../../../src/audit/reading/export.ts";
import { createAuditPages } from "../../../../src/audit/reading/page.ts";
import type { RecordFilter } from "../../../../src/audit/reading/record-filter.ts";
import { verifyAudit } from "../../../../src/audit/reading/verify.ts";
import type { AuditEvent } from "../../../../src/audit/record.ts";
import { KEY, type LogOptions, openLog, tempDir } from "../support.ts";

const EVENTS = ["secret.read", "secret.read.denied", "token.issued", "agent.created"];

const eventOf = (i: number): AuditEvent => ({
  type: i % 4 === 1 ? "refusal" : "secret",
  event: EVENTS[i % 4],
  agent: `agent-${i % 3}`,
  actor: `t${i % 5}`,
  actorType: "token",
  secret: i % 2 === 0 ? `production/service-${i % 7}/key` : 'staging/é"x',
  // What an agent says must not pass for what the record says.
  reason: '"event":"secret.deleted","agent":"root"',
  metadata: JSON.stringify({ event: "secret.deleted", n: i, pad: "x".repeat(i % 50) }),
});

/** A log over several files, its clock going on between records. */
const writeMany = async (count: number, options: LogOptions = {}): Promise<string> => {
  const { path, broker, time } = openLog({ maxSize: 40_000, keep: 100, ...options });
  for (let i = 0; i < count; i++) {
    const stored = broker.record(eventOf(i));
    time.advance(7);
    await stored;
  }
  await broker.close();
  return path;
};

interface Stored {
  readonly line: string;
  readonly record: Readonly<Record<string, unknown>>;
}

/** All records that are there, oldest first, read in the plainest way. */
const all = (path: string): Stored[] =>
  filesOfLog(path).flatMap((file) =>
    readFileSync(file, "latin1")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => ({ line, record: JSON.parse(line) })),
  );

const wanted = (stored: readonly Stored[], filter: RecordFilter): string[] =>
  stored
    .filter(({ record }) =>
      (["event", "agent", "actor", "secret"] as const).every((name) => {
        const text = filter[name];
        const value = record[name];
        if (text === undefined) return true;
        if (typeof value !== "string") return false;
        return text.endsWith("*") ? value.startsWith(text.slice(0, -1)) : value === text;
      }),
    )
    .filter(({ record }) => filter.since === undefined || String(record["time"]) >= filter.since)
    .filter(({ record }) => filter.until === undefined || String(record["time"]) < filter.until)
    .map(({ line }) => line);

const exported = async (...args: Parameters<typeof exportAudit>): Promise<string> => {
  let text = "";
  for await (const piece of exportAudit(...args)) text += piece;
  return text;
};

const FILTERS: readonly RecordFilter[] = [
  {},
  { event: "secret.read" },
  { event: "secret.*" },
  { event: "secret.deleted" },
  { agent: "agent-1" },
  { agent: "root" },
  { actor: "t2", event: "token.issued" },
  { secret: "production/service-2/key" },
  { secret: "production/*" },
  { secret: 'staging/é"x' },
  { secret: 'staging/é"*' },
];

// Smaller files than a reader's piece, and one that takes several.
describe.each([40_000, 1e9])("a page of a log whose files have up to %i bytes", async (maxSize) => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-audit-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const path = await writeMany(900, { path: join(directory, "audit.jsonl"), maxSize });
  const stored = all(path);
  const times = stored.map(({ record }) => String(record["time"]));
  const filters: readonly RecordFilter[] = [
    ...FILTERS,
    { since: times[600] },
    { until: times[300] },
    { since: times[200], until: times[700], event: "secret.read" },
  ];

  it("is over several files or pieces, or the next tests say little", () => {
    expect(filesOfLog(path).length).toBeGreaterThan(maxSize < 1e9 ? 5 : 0);
    expect(stored.map(({ line }) => line).join("\n").length).toBeGreaterThan(300_000);
  });

  it.each(filters)("has what a plain search finds, newest first, for %o", async (filter) => {
    const expected = wanted(stored, filter).reverse();
    const pages = createAuditPages(path);
    for (const limit of [1, 33, 1000]) {
      for (const page of [1, 2, Math.max(1, Math.ceil(expected.length / limit)), 5000]) {
        const answer = await pages.read({ page, limit, filter });
        expect(answer.total).toBe(expected.length);
        expect(answer.lines).toEqual(expected.slice((page - 1) * limit, page * limit));
      }
    }
  });

  it.each(filters)("is exported as the very lines, oldest first, for %o", async (filter) => {
    const expected = wanted(stored, filter);
    expect((await exported(path, { filter, limit: 100_000 })).split("\n").slice(0, -1)).toEqual(expected);
    expect((await exported(path, { filter, limit: 17 })).split("\n").slice(0, -1)).toEqual(expected.slice(0, 17));
  });

  it("is exported in parts that make the whole, which verifies", async () => {
    let text = "";
    for (let after = 0; ; ) {
      const part = await exported(path, { filter: {}, after, limit: 211 });
      if (part === "") break;
      text += part;
      after = JSON.parse(part.split("\n").at(-2) ?? "").seq;
    }
    expect(text).toBe(stored.map(({ line }) => `${line}\n`).join(""));
    const file = join(tempDir(), "exported.ndjson");
    writeFileSync(file, text, "latin1");
    expect(await verifyAudit({ files: [file], key: KEY })).toMatchObject({ ok: true, records: stored.length });
  });
});

describe("a page", () => {
  it("counts only what rotation left", async () => {
    const path = await writeMany(600, { keep: 2 });
    const stored = all(path);
    expect(stored[0]?.record["seq"]).toBeGreaterThan(1);
    const pages = createAuditPages(path);
    expect(await pages.read({ page: 1, limit: 5, filter: {} })).toEqual({
      lines: stored
        .map(({ line }) => line)
        .slice(-5)
        .reverse(),
      total: stored.length,
    });
    const last = await pages.read({ page: stored.length, limit: 1, filter: {} });
    expect(last.lines).toEqual([stored[0]?.line]);
  });

  it("is empty where there is no log, or nothing in it", async () => {
    const path = join(tempDir(), "audit.jsonl");
    const empty = { lines: [], total: 0 };
    expect(await createAuditPages(path).read({ page: 1, limit: 5, filter: {} })).toEqual(empty);
    writeFileSync(path, "");
    expect(await createAuditPages(path).read({ page: 1, limit: 5, filter: {} })).toEqual(empty);
    expect(await createAuditPages(path).read({ page: 1, limit: 5, filter: { event: "x" } })).toEqual(empty);
  });

  it("sees what came since the one before, in a file whose like it has counted", async () => {
    const { path, broker, time } = openLog({ maxSize: 20_000, keep: 100 });
    const pages = createAuditPages(path);
    const filter = { event: "secret.read" };
    for (let i = 0; i < 300; i++) {
      const stored = broker.record({ ...eventOf(0), requestId: `r${i}` });
      time.advance(7);
      await stored;
      if (i % 50 !== 49) continue;
      const { total, lines } = await pages.read({ page: 1, limit: 1, filter });
      expect(total).toBe(i + 1);
      expect(lines[0]).toContain(`"request_id":"r${i}"`);
    }
    await broker.close();
  });

  it("leaves out what is torn, and the end of a line that is being written", async () => {
    const { path, broker, time } = openLog();
    const stored = broker.record(eventOf(0));
    time.turn();
    await stored;
    appendFileSync(path, '{"seq":3,"time":"2026-01-01T00:00:00.000Z","type":"secret","event":"secret.read","ag');
    for (const filter of [{}, { event: "secret.*" }]) {
      const { lines } = await createAuditPages(path).read({ page: 1, limit: 10, filter });
      expect(lines[0]).toContain('"seq":2');
    }
    expect(await exported(path, { filter: {}, limit: 10 })).toBe(
      readFileSync(path, "latin1")
        .split("\n")
        .slice(0, 2)
        .map((line) => `${line}\n`)
        .join(""),
    );
    await broker.close();
  });

  it("goes past a line that is longer than any record", async () => {
    const { path, broker, time } = openLog();
    appendFileSync(path, `${"x".repeat(1_000_000)}\n`);
    // The log sees that somebody changed its file, and repairs it.
    time.advance(1000);
    const stored = broker.record(eventOf(0));
    time.turn();
    await stored;
    await broker.close();
    const expected = readFileSync(path, "latin1")
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .reverse();
    const { lines, total } = await createAuditPages(path).read({ page: 1, limit: 10, filter: {} });
    expect(lines).toEqual(expected);
    expect(total).toBe(expected.length);
    const read = await createAuditPages(path).read({ page: 1, limit: 10, filter: { event: "secret.read" } });
    expect(read.total).toBe(1);
  });

  it("is given up when nobody waits for it any more", async () => {
    const path = await writeMany(50);
    const signal = AbortSignal.abort();
    await expect(
      createAuditPages(path).read({ page: 1, limit: 5, filter: { event: "secret.read" } }, signal),
    ).rejects.toMatchObject({ name: "AbortError" });
  });
});
