import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createAuditBroker } from "../../../src/audit/broker.ts";
import { GENESIS } from "../../../src/audit/chain.ts";
import { type AuditFs, nodeAuditFs } from "../../../src/audit/file-access.ts";
import type { AuditEvent } from "../../../src/audit/record.ts";
import type { AuditSink } from "../../../src/audit/sink.ts";
import { SidekeyError } from "../../../src/core/errors.ts";
import { silentLog } from "../../../src/core/log.ts";
import { createTestTime, linesOf, openLog, recordsOf } from "./support.ts";

const intent = (requestId: string): AuditEvent<"intent"> => ({ type: "intent", requestId });

const refusal = (agent: string, code: "POLICY_DENIED" | "POLICY_NO_ROUTE", path: string): AuditEvent<"refusal"> => ({
  type: "refusal",
  agent,
  code,
  status: 403,
  decision: "deny",
  outcome: "refused",
  path,
});

interface FakeSink extends AuditSink {
  readonly batches: (readonly string[])[];
  readonly owed: AuditEvent[];
  broken: boolean;
}

const createFakeSink = (first = 1): FakeSink => {
  let seq = first;
  return {
    kind: "fake",
    batches: [],
    broken: false,
    head: () => GENESIS,
    owed: [],
    owe(event) {
      this.owed.push(event);
    },
    append(bodies) {
      if (this.broken) throw new SidekeyError("AUDIT_UNAVAILABLE", { detail: "fake" });
      if (bodies.length > 0) this.batches.push(bodies);
      seq += bodies.length;
      return seq - bodies.length;
    },
    healthy() {
      return !this.broken;
    },
    close() {},
  };
};

const openFake = (...sinks: FakeSink[]) => {
  const time = createTestTime();
  return { time, broker: createAuditBroker({ sinks, clock: time, log: silentLog, schedule: time }) };
};

describe("an outcome that no sink can store", () => {
  it("is owed, since its intent is on record; what else was lost is not", async () => {
    const sink = createFakeSink();
    const { broker, time } = openFake(sink);
    await broker.record(intent("a"));
    sink.broken = true;
    const before = sink.owed.length;
    const lost = [broker.record({ type: "outcome", requestId: "a", outcome: "ok" }), broker.record(intent("b"))];
    time.turn();
    for (const settled of await Promise.allSettled(lost)) expect(settled.status).toBe("rejected");
    expect(sink.owed.slice(before)).toEqual([{ type: "outcome", requestId: "a", outcome: "ok" }]);
  });
});

describe("the audit broker", () => {
  it("stores a lone record at once: nobody waits for the end of a turn that has nothing else", async () => {
    const sink = createFakeSink(5);
    const { broker } = openFake(sink);
    expect((await broker.record(intent("a"))).seq).toBe(5);
    expect(sink.batches.map((batch) => batch.length)).toEqual([1]);
  });

  it("hands all records of a turn to the sink at once while there is traffic, and answers with their numbers", async () => {
    const sink = createFakeSink(5);
    const { broker, time } = openFake(sink);
    const answered: number[] = [];
    const record = async (path: string): Promise<void> => {
      const { seq } = await broker.record(intent(path));
      answered.push(seq);
    };
    const busy = ["a", "b"].map(record);
    time.turn();
    await Promise.all(busy);
    const batched = ["c", "d", "e"].map(record);
    await Promise.resolve();
    expect(answered).toEqual([5, 6]);
    time.turn();
    await Promise.all(batched);
    expect(sink.batches.map((batch) => batch.length)).toEqual([1, 1, 3]);
    expect(answered).toEqual([5, 6, 7, 8, 9]);
  });

  it("lets an outcome wait for company, but not for long", async () => {
    const sink = createFakeSink();
    const { broker, time } = openFake(sink);
    const alone = broker.record({ type: "outcome" });
    time.turn();
    expect(sink.batches).toEqual([]);
    time.advance(5);
    await alone;
    const together = broker.record({ type: "outcome" });
    await broker.record(intent("a"));
    await together;
    expect(sink.batches.map((batch) => batch.length)).toEqual([1, 2]);
  });

  it("answers when one of its sinks has the record, and refuses when none has", async () => {
    const one = createFakeSink();
    const two = createFakeSink(40);
    const { broker, time } = openFake(one, two);
    one.broken = true;
    const kept = broker.record(intent("a"));
    time.turn();
    expect((await kept).seq).toBe(40);
    expect(broker.healthy()).toBe(true);
    two.broken = true;
    const lost = broker.record(intent("b"));
    time.turn();
    await expect(lost).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    expect(broker.healthy()).toBe(false);
  });

  it("refuses without any sink", async () => {
    const { broker, time } = openFake();
    const lost = broker.record(intent("a"));
    time.turn();
    await expect(lost).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
  });

  it("keeps what an event said when it was given", async () => {
    const sink = createFakeSink();
    const { broker, time } = openFake(sink);
    const event = { type: "intent" as const, path: "/before" };
    const receipt = broker.record(event);
    event.path = "/after";
    time.turn();
    await receipt;
    expect(sink.batches[0]?.[0]).toContain('"path":"/before"');
  });

  it("stores what is pending and a stop record when it is closed, and refuses what comes later", async () => {
    const { broker, path, headPath } = openLog();
    const pending = broker.record(intent("a"));
    await broker.close();
    await broker.close();
    expect((await pending).seq).toBe(2);
    expect(recordsOf(path).map(({ type }) => type)).toEqual(["start", "intent", "stop"]);
    expect(existsSync(headPath)).toBe(true);
    await expect(broker.record(intent("b"))).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    expect(broker.healthy()).toBe(false);
  });
});

describe("a flood of refusals", () => {
  it("is stored in full up to 10 a second for each agent and code, and counted beyond", async () => {
    const { broker, path, time } = openLog();
    for (let i = 0; i < 500; i++) {
      const receipts = [
        broker.record(refusal("a", "POLICY_DENIED", `/a/${i}`)),
        i < 10 ? broker.record(refusal("a", "POLICY_NO_ROUTE", "/b")) : undefined,
        i < 11 ? broker.record(refusal("b", "POLICY_DENIED", "/c")) : undefined,
        broker.record(intent(`allowed${i}`)),
      ];
      time.turn();
      await Promise.all(receipts);
    }
    time.advance(1000);
    const records = recordsOf(path);
    const refusals = records.filter(({ type }) => type === "refusal");
    expect(records.filter(({ type }) => type === "intent")).toHaveLength(500);
    expect(refusals).toHaveLength(32);
    const counts = refusals.filter(({ count }) => count !== undefined);
    expect(
      counts.map(({ agent, code, decision, status, count, path: at }) => [agent, code, decision, status, count, at]),
    ).toEqual([
      ["a", "POLICY_DENIED", "deny", 403, 490, undefined],
      ["b", "POLICY_DENIED", "deny", 403, 1, undefined],
    ]);
  });

  it("gives no receipt that names a record for what it only counts", async () => {
    const { broker, time } = openLog();
    const receipts = Array.from({ length: 11 }, () => broker.record(refusal("a", "POLICY_DENIED", "/")));
    time.turn();
    const seqs = (await Promise.all(receipts)).map(({ seq }) => seq);
    expect(seqs).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0]);
  });

  it("starts afresh each second, and keeps every count over windows and at close", async () => {
    const { broker, path, time } = openLog();
    for (let second = 0; second < 5; second++) {
      for (let i = 0; i < 30; i++) {
        const receipt = broker.record(refusal("a", "POLICY_DENIED", "/"));
        time.turn();
        await receipt;
        time.advance(20);
      }
      time.advance(700);
    }
    for (let i = 0; i < 15; i++) {
      const receipt = broker.record(refusal("a", "POLICY_DENIED", "/"));
      time.turn();
      await receipt;
    }
    await broker.close();
    const refusals = recordsOf(path).filter(({ type }) => type === "refusal");
    const counted = refusals.reduce((sum, { count }) => sum + Number(count ?? 0), 0);
    const inFull = refusals.filter(({ count }) => count === undefined).length;
    expect(counted + inFull).toBe(5 * 30 + 15);
    expect(refusals.length).toBeLessThan(90);
    expect(linesOf(path).at(-1)).toContain('"type":"stop"');
  });

  it("keeps its count where that cannot be stored, and stores it with the next record that can", async () => {
    const full = { isFull: false };
    const fs: AuditFs = {
      ...nodeAuditFs,
      writeSync(fd, bytes) {
        if (full.isFull) throw Object.assign(new Error("full"), { code: "ENOSPC" });
        return nodeAuditFs.writeSync(fd, bytes);
      },
    };
    const { broker, path, time } = openLog({ fs });
    for (let i = 0; i < 25; i++) {
      const receipt = broker.record(refusal("a", "POLICY_DENIED", "/"));
      time.turn();
      await receipt;
    }
    full.isFull = true;
    time.advance(1000);
    expect(broker.healthy()).toBe(false);
    full.isFull = false;
    time.advance(500);
    expect(broker.healthy()).toBe(true);
    await broker.close();
    const refusals = recordsOf(path).filter(({ type }) => type === "refusal");
    expect(refusals.map(({ count }) => count)).toEqual([...Array.from({ length: 10 }), 15]);
  });

  it("is refused, not counted, while nothing can be stored", async () => {
    const sink = createFakeSink();
    const { broker, time } = openFake(sink);
    sink.broken = true;
    const lost = Array.from({ length: 30 }, () => broker.record(refusal("a", "POLICY_DENIED", "/")));
    time.turn();
    for (const settled of await Promise.allSettled(lost)) expect(settled.status).toBe("rejected");
  });
});
