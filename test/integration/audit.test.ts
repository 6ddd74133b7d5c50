/** R15: the audit log on a real file system that fails. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import {
  type AuditBroker,
  loadAuditKey,
  type OpenAuditOptions,
  openAudit,
  verifyAudit,
  verifyLog,
} from "../../src/audit/index.ts";
import { systemSchedule } from "../../src/audit/schedule.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { createTestTime, recordsOf, type TestTime, tempDir } from "../unit/audit/support.ts";

const open = async (overrides: Partial<OpenAuditOptions> = {}) => {
  const state = tempDir();
  const time = createTestTime();
  const path = join(state, "audit.jsonl");
  const options: OpenAuditOptions = {
    path,
    keyPath: join(state, "audit.key"),
    sync: 1000,
    maxSize: 1e8,
    keep: 10,
    clock: time,
    log: silentLog,
    agent: "default",
    lock: true,
    schedule: time,
    ...overrides,
  };
  return { state, time, path: options.path, options, broker: await openAudit(options) };
};

const record = (broker: AuditBroker, time: TestTime, requestId: string) => {
  const receipt = broker.record({ type: "intent", requestId });
  time.turn();
  return receipt;
};

const refused = { code: "AUDIT_UNAVAILABLE" };

describe("an audit log", () => {
  it("keeps its files to itself and lets go of its lock", async () => {
    const { state, broker, time, path, options } = await open();
    expect(readdirSync(state).sort()).toEqual([
      "audit.jsonl",
      "audit.jsonl.lock",
      expect.stringMatching(/^audit\.jsonl\.lock\.[0-9a-f]{16}\.sock$/),
      "audit.key",
    ]);
    await expect(openAudit(options)).rejects.toMatchObject({ code: "AUDIT_LOCKED" });
    expect((await record(broker, time, "a")).seq).toBe(2);
    await broker.close();
    expect(readdirSync(state).sort()).toEqual(["audit.head", "audit.jsonl", "audit.key"]);
    const log = { path, headPath: join(state, "audit.head"), run: undefined };
    expect(await verifyLog(log, loadAuditKey(join(state, "audit.key")))).toMatchObject({
      ok: true,
      records: 3,
      anchored: true,
    });
  });

  it("is not opened, locked or given a new key when its key is gone", async () => {
    const { state, broker, options } = await open();
    await broker.close();
    rmSync(join(state, "audit.key"));
    await expect(openAudit(options)).rejects.toMatchObject({ code: "AUDIT_KEY_UNREADABLE" });
    expect(readdirSync(state).sort()).toEqual(["audit.head", "audit.jsonl"]);
  });

  it("of a run makes no new key where another log of the lost one is left, and one where none is", async () => {
    const { state, broker, options } = await open();
    await broker.close();
    rmSync(join(state, "audit.key"));
    const ofRun = { ...options, path: join(state, "audit-0123.jsonl"), lock: false };
    await expect(openAudit(ofRun)).rejects.toMatchObject({ code: "AUDIT_KEY_UNREADABLE" });
    expect(readdirSync(state).sort()).toEqual(["audit.head", "audit.jsonl"]);
    // A log may be left by its head alone.
    rmSync(join(state, "audit.jsonl"));
    await expect(openAudit(ofRun)).rejects.toMatchObject({ code: "AUDIT_KEY_UNREADABLE" });
    rmSync(join(state, "audit.head"));
    await (await openAudit(ofRun)).close();
    expect(readdirSync(state).sort()).toEqual(["audit-0123.head", "audit-0123.jsonl", "audit.key"]);
  });

  it("gets its head from a thread that syncs, with the clock of the system", async () => {
    const { state, broker } = await open({ clock: systemClock, schedule: systemSchedule, sync: 5 });
    const { seq } = await broker.record({ type: "intent", requestId: "a" });
    const head = join(state, "audit.head");
    await vi.waitFor(() => expect(JSON.parse(readFileSync(head, "utf8")).seq).toBe(seq), {
      timeout: 20_000,
      interval: 5,
    });
    await broker.close();
    expect(JSON.parse(readFileSync(head, "utf8")).seq).toBe(seq + 1);
  });

  it("on /dev/full opens, refuses every record with its code, and never becomes healthy", async () => {
    const { state, broker, time } = await open({ path: "/dev/full" });
    expect(broker.healthy()).toBe(false);
    for (let i = 0; i < 5; i++) {
      await expect(record(broker, time, "a")).rejects.toMatchObject(refused);
      time.advance(300);
    }
    expect(broker.healthy()).toBe(false);
    await broker.close();
    expect(readdirSync(state)).toEqual(["audit.key"]);
    expect(existsSync("/dev/full.lock")).toBe(false);
  });

  it("goes on by itself after its file was deleted, and says so", async () => {
    const { broker, time, path } = await open();
    await record(broker, time, "a");
    rmSync(path);
    time.advance(1000);
    await record(broker, time, "b");
    await broker.close();
    expect(recordsOf(path).map(({ seq, type, request_id }) => [seq, type, request_id])).toEqual([
      [3, "admin", undefined],
      [4, "intent", "b"],
      [5, "stop", undefined],
    ]);
  });

  it("on a FIFO writes while someone reads, refuses while nobody does, and resumes", async () => {
    const fifo = join(tempDir(), "fifo");
    execFileSync("mkfifo", [fifo]);
    const early = await open({ path: fifo, lock: false });
    expect(early.broker.healthy()).toBe(false);
    await expect(record(early.broker, early.time, "lost")).rejects.toMatchObject(refused);
    const read = () => openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    let reader = read();
    early.time.advance(500);
    expect(early.broker.healthy()).toBe(true);
    await early.broker.close();
    closeSync(reader);
    reader = read();
    const { broker, time, state } = await open({ path: fifo, lock: false });
    expect((await record(broker, time, "a")).seq).toBe(2);
    closeSync(reader);
    await expect(record(broker, time, "lost")).rejects.toMatchObject(refused);
    time.advance(1000);
    await expect(record(broker, time, "lost")).rejects.toMatchObject(refused);
    reader = read();
    time.advance(1000);
    expect(broker.healthy()).toBe(true);
    expect((await record(broker, time, "b")).seq).toBe(4);
    await broker.close();
    const buffer = Buffer.alloc(1 << 16);
    const text = buffer.toString("latin1", 0, readSync(reader, buffer));
    closeSync(reader);
    expect(
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line).reason ?? JSON.parse(line).type),
    ).toEqual(["resumed after 2 refused records, EPIPE", "intent", "stop"]);
    expect(readdirSync(state)).toEqual(["audit.key"]);
  });

  it("on a full FIFO loses nothing of what it acknowledged and repairs what was cut", async () => {
    const fifo = join(tempDir(), "fifo");
    execFileSync("mkfifo", [fifo]);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const { broker, time, state } = await open({ path: fifo, lock: false });
    let text = "";
    const buffer = Buffer.alloc(1 << 16);
    const drain = (): void => {
      try {
        for (let n = readSync(reader, buffer); n > 0; n = readSync(reader, buffer))
          text += buffer.toString("latin1", 0, n);
      } catch (error) {
        expect(error).toMatchObject({ code: "EAGAIN" });
      }
    };
    const acknowledged: number[] = [];
    let lost = 0;
    for (let turn = 0; turn < 40; turn++) {
      const batch = Array.from({ length: 30 }, (_, i) =>
        broker.record({ type: "intent", requestId: `${turn}-${i}`, path: "/p".repeat(200) }),
      );
      time.turn();
      for (const settled of await Promise.allSettled(batch)) {
        if (settled.status === "fulfilled") acknowledged.push(settled.value.seq);
        else lost += 1;
      }
      if (turn % 9 === 8) {
        drain();
        time.advance(500);
      }
    }
    drain();
    time.advance(500);
    await broker.close();
    drain();
    closeSync(reader);
    expect(lost).toBeGreaterThan(0);
    expect(text).toContain("repaired torn line of ");
    const seqs = new Set(
      text
        .split("\n")
        .filter((line) => line.startsWith('{"seq"') && line.endsWith('"}'))
        .map((line) => JSON.parse(line).seq),
    );
    expect(acknowledged.filter((seq) => !seqs.has(seq))).toEqual([]);
    async function* stream() {
      yield text;
    }
    const key = loadAuditKey(join(state, "audit.key"));
    expect(await verifyAudit({ stream: stream(), key })).toMatchObject({ ok: true, first: 1, tornBytes: 0 });
  });

  it("under a file size limit refuses what does not fit, whole, and verifies", async () => {
    const state = tempDir();
    const writer = new URL("../security/audit-writer.ts", import.meta.url).pathname;
    const { stdout } = spawnSync(
      "bash",
      [
        "-c",
        'ulimit -f 8 && exec "$@"',
        "bash",
        process.execPath,
        "--import",
        "tsx",
        writer,
        state,
        "40",
        "1000000000",
      ],
      { encoding: "utf8", env: { ...process.env, TSX_DISABLE_CACHE: "1" } },
    );
    const lines = stdout.trim().split("\n");
    const stored = lines.filter((line) => line.startsWith("stored ")).map((line) => Number(line.slice(7)));
    expect(stored.length).toBeGreaterThan(5);
    expect(lines.filter((line) => line.startsWith("refused ")).length).toBeGreaterThan(5);
    expect(lines.filter((line) => line.startsWith("failed"))).toEqual([]);
    expect(lines.at(-1)).toBe("closed");
    const path = join(state, "audit.jsonl");
    const text = readFileSync(path, "latin1");
    expect(text.endsWith("}\n")).toBe(true);
    const seqs = new Set(recordsOf(path).map(({ seq }) => seq));
    expect(stored.filter((seq) => !seqs.has(seq))).toEqual([]);
    const log = { path, headPath: join(state, "audit.head"), run: undefined };
    expect(await verifyLog(log, loadAuditKey(join(state, "audit.key")))).toMatchObject({ ok: true, tornBytes: 0 });
  });

  it("cannot be opened where its path is a directory, and leaves no lock", async () => {
    const state = tempDir();
    execFileSync("mkdir", [join(state, "audit.jsonl")]);
    writeFileSync(join(state, "audit.key"), `${"A".repeat(43)}\n`, { mode: 0o600 });
    await expect(open({ path: join(state, "audit.jsonl"), keyPath: join(state, "audit.key") })).rejects.toMatchObject(
      refused,
    );
    expect(readdirSync(state).sort()).toEqual(["audit.jsonl", "audit.key"]);
  });
});
