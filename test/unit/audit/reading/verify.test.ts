import { appendFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { type ChainHead, closeLine, createLineHash, openLine, parseLine } from "../../../../src/audit/chain.ts";
import { nodeAuditFs } from "../../../../src/audit/file-access.ts";
import { headPathOf, readHead } from "../../../../src/audit/head.ts";
import { filesOfLog } from "../../../../src/audit/log-files.ts";
import { verifyAudit, verifyLog } from "../../../../src/audit/reading/verify.ts";
import { encodeEvent } from "../../../../src/audit/record.ts";
import { createTestTime, KEY, linesOf, openLog, writeLog } from "../support.ts";

const COUNT = 12;

async function* inPieces(text: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < text.length; from += size) yield text.subarray(from, from + size);
}

const verifyText = (text: Buffer | string, head?: ChainHead, size = 1 << 16) =>
  verifyAudit({ stream: inPieces(Buffer.from(text), size), key: KEY, head });

const verifyLines = (lines: readonly string[], head?: ChainHead) =>
  verifyText(lines.map((line) => `${line}\n`).join(""), head);

describe("verification", () => {
  let lines: readonly string[] = [];
  let others: readonly string[] = [];
  let bytes = Buffer.alloc(0);
  let head: ChainHead | undefined;

  beforeAll(async () => {
    const path = await writeLog(COUNT);
    bytes = readFileSync(path);
    lines = linesOf(path);
    head = readHead(nodeAuditFs, headPathOf(path));
    const later = createTestTime();
    later.advance(5);
    const { broker, path: otherPath, time } = openLog({ time: later });
    const receipts = lines.map((_, i) => broker.record({ type: "intent", requestId: `other${i}` }));
    time.turn();
    await Promise.all(receipts);
    await broker.close();
    others = linesOf(otherPath);
  });

  it("accepts any part of a log that was handed on, and no part with a gap or a change", async () => {
    const verify = (part: readonly string[]) =>
      verifyAudit({
        stream: inPieces(Buffer.from(part.map((line) => `${line}\n`).join("")), 1000),
        key: KEY,
        excerpt: true,
      });
    expect(await verify(lines.slice(4, 9))).toMatchObject({ ok: true, first: 5, records: 5 });
    expect(await verify([...lines.slice(4, 6), ...lines.slice(7)])).toMatchObject({ ok: false, bad: 7 });
    expect(await verify([...lines.slice(4, 6), others[6] ?? ""])).toMatchObject({ ok: false, bad: 7 });
    const changed = (lines[5] ?? "").replace("intent", "refusal");
    expect(await verify([...lines.slice(4, 5), changed])).toMatchObject({ ok: false, bad: 6, cause: "hash" });
    expect(await verifyLines(lines.slice(4, 9))).toMatchObject({ ok: false });
  });

  it("accepts a log as it was written, in pieces of any size", async () => {
    for (const size of [1, 7, 1 << 16])
      expect(await verifyText(bytes, head, size)).toEqual({
        ok: true,
        first: 1,
        last: head,
        records: COUNT,
        anchored: true,
        tornBytes: 0,
      });
  });

  it("accepts an empty log, and no head", async () => {
    expect(await verifyText("")).toMatchObject({ ok: true, first: undefined, last: undefined, records: 0 });
    expect(await verifyText(bytes)).toMatchObject({ ok: true, anchored: false });
  });

  it("names the record in which any bit was flipped", async () => {
    const starts = [0];
    for (const line of lines) starts.push((starts.at(-1) ?? 0) + line.length + 1);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 2), fc.nat(7), async (at, bit) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        const record = starts.findIndex((start) => start > at);
        expect(await verifyText(changed, head)).toMatchObject({ ok: false, bad: record, records: record - 1 });
      }),
      { numRuns: 400 },
    );
  });

  it("names the record that was dropped, swapped or repeated, or where another log goes on", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: COUNT - 2 }), async (n) => {
        const drop = [...lines.slice(0, n - 1), ...lines.slice(n)];
        expect(await verifyLines(drop, head)).toMatchObject({
          ok: false,
          bad: n,
          cause: "sequence",
        });
        const swap = [...lines.slice(0, n - 1), lines[n] ?? "", lines[n - 1] ?? "", ...lines.slice(n + 1)];
        expect(await verifyLines(swap, head)).toMatchObject({ ok: false, bad: n });
        const repeat = [...lines.slice(0, n), ...lines.slice(n - 1)];
        expect(await verifyLines(repeat, head)).toMatchObject({ ok: false, bad: n + 1, cause: "sequence" });
        const splice = [...lines.slice(0, n), ...others.slice(n)];
        expect(await verifyLines(splice, head)).toMatchObject({ ok: false, bad: n + 1, cause: "previous" });
      }),
    );
  });

  it("says after which record the log was truncated", async () => {
    for (let n = 0; n < COUNT; n++) {
      expect(await verifyLines(lines.slice(0, n), head)).toMatchObject({
        ok: false,
        bad: n + 1,
        cause: "truncated",
        detail: `The log is truncated after ${n}: its head names record ${COUNT}.`,
      });
    }
  });

  it("accepts records behind the head, and a torn line at the very end", async () => {
    const early = parseLine(lines[4] ?? "");
    const torn = Buffer.concat([bytes, Buffer.from('{"seq":13,"ti')]);
    expect(await verifyText(torn, early)).toMatchObject({ ok: true, records: COUNT, anchored: true, tornBytes: 13 });
  });

  it("names the head's record when the head says another hash", async () => {
    const hash = parseLine(lines[2] ?? "")?.hash ?? "";
    expect(await verifyLines(lines, { seq: 5, hash })).toMatchObject({ ok: false, bad: 5, cause: "head" });
  });

  it("tells how far it is in a long log", async () => {
    const lineHash = createLineHash(KEY);
    let prev = "";
    let seq = 0;
    async function* long(): AsyncGenerator<Buffer> {
      for (; seq < 60_000; ) {
        const of = parseLine(lines[0] ?? "");
        seq += 1;
        if (seq === 1) prev = of?.prev ?? "";
        const open = `{"seq":${seq},"time":"2026-01-01T00:00:00.000Z","type":"start","prev":"${prev}"`;
        prev = lineHash(open);
        yield Buffer.from(`${open},"hash":"${prev}"}\n`);
      }
    }
    const told: number[] = [];
    const onProgress = (records: number): void => void told.push(records);
    expect(await verifyAudit({ stream: long(), key: KEY, onProgress })).toMatchObject({ ok: true, records: 60_000 });
    expect(told).toEqual([25_000, 50_000]);
  });

  it("names record 1 under another key", async () => {
    const key = Buffer.alloc(32, 8);
    const verdict = await verifyAudit({ stream: inPieces(bytes, 1000), key });
    expect(verdict).toMatchObject({ ok: false, bad: 1, cause: "hash", records: 0 });
  });

  it("takes text that is no record for what it is, wherever it stands", async () => {
    for (const n of [0, 1, 5, COUNT]) {
      const garbled = [...lines.slice(0, n), "not a record", ...lines.slice(n)];
      expect(await verifyLines(garbled, head)).toMatchObject({ ok: false, cause: "malformed", bad: n + 1 });
    }
  });

  it("accepts a torn line only before an authentic repair record that names its length", async () => {
    const lineHash = createLineHash(KEY);
    const last = parseLine(lines.at(-1) ?? "");
    const withRepair = (torn: string, reason: string, type: "admin" | "refusal" = "admin"): Promise<object> => {
      const open = openLine(COUNT + 1, encodeEvent({ type, reason }, "t"), last?.hash ?? "");
      return verifyText(`${bytes.toString()}${torn}\n${closeLine(open, lineHash(open))}`, head);
    };
    expect(await withRepair('{"seq":13,', "repaired torn line of 11 bytes")).toMatchObject({ ok: true, tornBytes: 0 });
    for (const broken of [
      withRepair('{"seq":13,"', "repaired torn line of 11 bytes"),
      withRepair('{"seq":13,', "repaired torn line of 11 bytes", "refusal"),
      withRepair('{"seq":13,', "resumed after 0 refused records, ENOSPC"),
    ])
      expect(await broken).toMatchObject({ ok: false, bad: COUNT + 1, cause: "malformed" });
  });

  it("reads a line without end in bounded memory and calls it malformed", async () => {
    async function* endless(): AsyncGenerator<Buffer> {
      for (let i = 0; i < 64; i++) yield Buffer.alloc(1 << 20, 0x61);
      yield Buffer.from("\n");
    }
    expect(await verifyAudit({ stream: endless(), key: KEY })).toMatchObject({ ok: false, bad: 1, cause: "malformed" });
  });
});

describe("verification of a rotated log", () => {
  it("reads its files oldest first and says where it begins", async () => {
    const path = await writeLog(40, { maxSize: 1500, keep: 3 });
    // One batch is never split, so rotate by many small ones.
    const { broker, time } = openLog({ path, maxSize: 1500, keep: 3 });
    for (let i = 0; i < 30; i++) {
      const receipt = broker.record({ type: "intent", requestId: `more${i}` });
      time.turn();
      await receipt;
    }
    await broker.close();
    expect(filesOfLog(path).map((file) => file.slice(path.length))).toEqual([".3", ".2", ".1", ""]);
    const log = { path, headPath: headPathOf(path), run: undefined };
    const verdict = await verifyLog(log, KEY);
    expect(verdict).toMatchObject({ ok: true, anchored: true });
    expect(verdict.ok && verdict.first).toBeGreaterThan(40);

    const [, second = "", third = ""] = filesOfLog(path);
    const firstOfThird = parseLine(linesOf(third)[0] ?? "")?.seq ?? 0;
    const firstOfSecond = parseLine(linesOf(second)[0] ?? "")?.seq;
    const whole = readFileSync(third);
    writeFileSync(third, `${linesOf(third).slice(1).join("\n")}\n`);
    expect(await verifyLog(log, KEY)).toMatchObject({ ok: false, bad: firstOfThird, cause: "sequence" });
    writeFileSync(third, whole);
    rmSync(second);
    expect(await verifyLog(log, KEY)).toMatchObject({ ok: false, bad: firstOfSecond, cause: "sequence" });
  });

  it("does not take a file whose beginning was cut off for the first of a rotated log", async () => {
    const path = await writeLog(10);
    writeFileSync(path, `${linesOf(path).slice(3).join("\n")}\n`);
    expect(await verifyLog({ path, headPath: headPathOf(path), run: undefined }, KEY)).toMatchObject({
      ok: false,
      bad: 1,
      cause: "sequence",
    });
  });

  it("goes on without an anchor where the head is gone, and says so", async () => {
    const path = await writeLog(5);
    rmSync(headPathOf(path));
    appendFileSync(path, "");
    expect(await verifyLog({ path, headPath: headPathOf(path), run: undefined }, KEY)).toMatchObject({
      ok: true,
      anchored: false,
    });
  });
});
