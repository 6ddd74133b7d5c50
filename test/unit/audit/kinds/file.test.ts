import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AuditFs, nodeAuditFs } from "../../../../src/audit/file-access.ts";
import { filesOfLog } from "../../../../src/audit/log-files.ts";
import { type AuditVerdict, verifyAudit, verifyLog } from "../../../../src/audit/reading/verify.ts";
import { createTestTime, KEY, linesOf, openLog, openSink, recordsOf, tempDir } from "../support.ts";

const body = (name: string): string => `"time":"t","type":"intent","request_id":"${name}"`;

const verify = (path: string): Promise<AuditVerdict> =>
  verifyLog({ path, headPath: path.replace(/jsonl$/, "head"), run: undefined }, KEY);

const idsOf = (path: string): unknown[] =>
  recordsOf(path)
    .map((record) => record["request_id"])
    .filter((id) => id !== undefined);

const reasonsOf = (path: string): unknown[] =>
  recordsOf(path)
    .map((record) => record["reason"])
    .filter((reason) => reason !== undefined);

const errno = (code: string): Error => Object.assign(new Error(code), { code });

/** `write` and the others stand before the real calls on log files until they are undefined again. */
interface Script {
  write?: ((text: string) => number) | undefined;
  truncate?: (() => never) | undefined;
  open?: (() => never) | undefined;
  datasync?: (() => void) | undefined;
  rename?: (() => never) | undefined;
}

const scripted = (): { fs: AuditFs; script: Script; writes: string[] } => {
  const script: Script = {};
  const writes: string[] = [];
  const fs: AuditFs = {
    ...nodeAuditFs,
    openSync(path, flags, mode) {
      if (path.endsWith(".jsonl")) script.open?.();
      return nodeAuditFs.openSync(path, flags, mode);
    },
    writeSync(fd, bytes) {
      const text = Buffer.from(bytes).toString("latin1");
      if (!text.includes('"prev"')) return nodeAuditFs.writeSync(fd, bytes);
      writes.push(text);
      const length = script.write === undefined ? text.length : script.write(text);
      return nodeAuditFs.writeSync(fd, bytes.subarray(0, length));
    },
    ftruncateSync(fd, length) {
      script.truncate?.();
      nodeAuditFs.ftruncateSync(fd, length);
    },
    fdatasyncSync(fd) {
      script.datasync?.();
      nodeAuditFs.fdatasyncSync(fd);
    },
    renameSync(from, to) {
      if (!from.endsWith(".tmp")) script.rename?.();
      nodeAuditFs.renameSync(from, to);
    },
  };
  return { fs, script, writes };
};

describe("the audit file", () => {
  it("is its owner's alone, also when it was not", () => {
    const path = join(tempDir(), "audit.jsonl");
    writeFileSync(path, "", { mode: 0o644 });
    openSink({ path }).sink.append([body("a")]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("gets all records of a turn in one write", () => {
    const { fs, writes } = scripted();
    const { sink, path } = openSink({ fs });
    expect(sink.append([body("a"), body("b"), body("c")])).toBe(1);
    expect(sink.append([body("d")])).toBe(4);
    expect(writes).toHaveLength(2);
    expect(idsOf(path)).toEqual(["a", "b", "c", "d"]);
  });

  it("goes on with its chain when it is opened again", async () => {
    const { sink, path } = openSink();
    sink.append([body("a")]);
    const before = sink.head();
    sink.close();
    const again = openSink({ path });
    expect(again.sink.head()).toEqual(before);
    expect(again.sink.append([body("b")])).toBe(2);
    again.sink.close();
    expect(await verify(path)).toMatchObject({ ok: true, records: 2, anchored: true });
  });

  it("refuses a log that was written with another key, and one whose last record was changed", () => {
    const { sink, path } = openSink();
    sink.append([body("a"), body("b")]);
    sink.close();
    expect(() => openSink({ path, key: Buffer.alloc(32, 9) })).toThrow(/AUDIT_KEY_UNREADABLE.*\(2\)/);
    writeFileSync(path, readFileSync(path, "latin1").replace('"request_id":"b"', '"request_id":"c"'));
    expect(() => openSink({ path })).toThrow(/AUDIT_KEY_UNREADABLE/);
  });

  it.each(["hello\nworld\n", "some text", `${"x".repeat(2 << 20)}`])(
    "never appends to a file that is no log",
    (text) => {
      const path = join(tempDir(), "audit.jsonl");
      writeFileSync(path, text);
      expect(() => openSink({ path })).toThrow(/AUDIT_UNAVAILABLE/);
      expect(readFileSync(path, "latin1")).toBe(text);
    },
  );

  it("cannot be opened in a directory that is not there, and says so at once", () => {
    expect(() => openSink({ path: join(tempDir(), "none", "audit.jsonl") })).toThrow(/AUDIT_UNAVAILABLE.*ENOENT/);
  });
});

describe("after a crash", () => {
  it.each([
    ["a part of a record", '{"seq":3,"time":"t","ty'],
    ["a part and a newline", '{"seq":3,"time":"t","ty\n'],
    ["several broken lines", '{"seq":3,\n{"seq":3,"ti\n{'],
    ["zeros of a lost block", "\0".repeat(4096)],
    ["a long broken line", "y".repeat(40_000)],
  ])("it closes and repairs %s, and verifies", async (_, torn) => {
    const { sink, path } = openSink();
    sink.append([body("a"), body("b")]);
    sink.close();
    appendFileSync(path, torn);
    const again = openSink({ path });
    expect(again.sink.append([body("c")])).toBe(4);
    again.sink.close();
    const bytes = torn.length + (torn.endsWith("\n") ? 0 : 1);
    expect(linesOf(path).at(-2)).toContain(`"type":"admin","reason":"repaired torn line of ${bytes} bytes"`);
    expect(await verify(path)).toMatchObject({ ok: true, records: 4 });
  });

  it("keeps a whole record that lost only its newline", async () => {
    const { sink, path } = openSink();
    sink.append([body("a"), body("b")]);
    sink.close();
    truncateSync(path, statSync(path).size - 1);
    const again = openSink({ path });
    expect(again.sink.append([body("c")])).toBe(3);
    again.sink.close();
    expect(await verify(path)).toMatchObject({ ok: true, records: 3 });
  });

  it("begins again where even the first record was torn", async () => {
    const path = join(tempDir(), "audit.jsonl");
    writeFileSync(path, '{"seq":1,"ti');
    const { sink } = openSink({ path });
    expect(sink.append([body("a")])).toBe(2);
    sink.close();
    expect(await verify(path)).toMatchObject({ ok: true, first: 1, records: 2 });
  });

  it("chains to the head where records behind the cut are gone, so that the gap stays visible", async () => {
    const { sink, path } = openSink();
    sink.append([body("a"), body("b"), body("c")]);
    sink.close();
    writeFileSync(path, `${linesOf(path)[0]}\n`);
    const again = openSink({ path });
    expect(again.sink.append([body("d")])).toBe(5);
    again.sink.close();
    expect(reasonsOf(path)).toEqual([expect.stringMatching(/^continues 3 \S{43}, file ended at 1$/)]);
    expect(await verify(path)).toMatchObject({ ok: false, bad: 2, cause: "sequence" });
  });

  it("chains to the head where the whole file is gone", async () => {
    const { sink, path } = openSink();
    sink.append([body("a"), body("b")]);
    sink.close();
    rmSync(path);
    const again = openSink({ path });
    expect(again.sink.append([body("c")])).toBe(4);
    again.sink.close();
    expect(await verify(path)).toMatchObject({ ok: false, bad: 1, cause: "sequence" });
  });

  it("ignores a head that is not readable, and goes on from the file", async () => {
    const { sink, path, headPath } = openSink();
    sink.append([body("a")]);
    sink.close();
    for (const text of ["", "{", "null", '{"seq":-1,"hash":""}', '{"seq":1}']) {
      writeFileSync(headPath, text);
      const again = openSink({ path });
      expect(again.sink.head().seq).toBe(1);
      again.sink.close();
    }
    expect(await verify(path)).toMatchObject({ ok: true, records: 1 });
  });
});

describe("a failed write", () => {
  it("stores none of its records, wherever it stopped, and the chain goes on unbroken", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(900), fc.integer({ min: 1, max: 4 }), async (taken, count) => {
        const { fs, script } = scripted();
        const { sink, path, time } = openSink({ fs });
        sink.append([body("a")]);
        script.write = (text) => Math.min(taken, text.length - 1);
        const lost = Array.from({ length: count }, (_, i) => body(`lost${i}`));
        expect(() => sink.append(lost)).toThrow(/AUDIT_UNAVAILABLE.*short write/);
        expect(sink.healthy()).toBe(false);
        expect(idsOf(path)).toEqual(["a"]);
        script.write = undefined;
        time.advance(500);
        expect(sink.healthy()).toBe(true);
        sink.append([body("b")]);
        sink.close();
        expect(idsOf(path)).toEqual(["a", "b"]);
        expect(reasonsOf(path)).toEqual([`resumed after ${count} refused records, short write`]);
        expect(await verify(path)).toMatchObject({ ok: true, records: 3 });
      }),
      { numRuns: 60 },
    );
  });

  it("refuses at once for 500 ms, then tries again by itself until it succeeds", async () => {
    const { fs, script, writes } = scripted();
    const { sink, path, time } = openSink({ fs });
    script.write = () => {
      throw errno("ENOSPC");
    };
    expect(() => sink.append([body("lost")])).toThrow(/ENOSPC/);
    expect(() => sink.append([body("lost")])).toThrow(/ENOSPC/);
    expect(writes).toHaveLength(1);
    time.advance(499);
    expect(writes).toHaveLength(1);
    time.advance(1001);
    expect(writes).toHaveLength(4);
    expect(sink.healthy()).toBe(false);
    script.write = undefined;
    time.advance(500);
    expect(sink.healthy()).toBe(true);
    time.advance(5000);
    expect(writes).toHaveLength(5);
    expect(reasonsOf(path)).toEqual(["resumed after 2 refused records, ENOSPC"]);
    expect(await verify(path)).toMatchObject({ ok: true, records: 1 });
  });

  it("tries again with the next record where no timer came first", () => {
    const { fs, script } = scripted();
    const time = createTestTime();
    const idle = { ...time, every: () => () => undefined };
    const { sink } = openSink({ fs, time: idle });
    script.write = () => 0;
    expect(() => sink.append([body("lost")])).toThrow();
    script.write = undefined;
    time.advance(500);
    expect(sink.append([body("a")])).toBe(2);
    expect(sink.healthy()).toBe(true);
  });

  it("takes up what it could not cut back, whole records and a torn line, when it opens the file anew", async () => {
    const { fs, script, writes } = scripted();
    const { sink, path, time } = openSink({ fs });
    sink.append([body("a")]);
    script.write = (text) => text.indexOf("\n") + 30;
    script.truncate = () => {
      throw errno("EROFS");
    };
    expect(() => sink.append([body("b"), body("c")])).toThrow(/AUDIT_UNAVAILABLE/);
    script.write = undefined;
    time.advance(500);
    expect(writes.at(-1)).toMatch(/^\n\{"seq":3,/);
    expect(sink.append([body("d")])).toBe(5);
    sink.close();
    const lines = linesOf(path).filter((line) => line.endsWith("}"));
    expect(lines.map((line) => JSON.parse(line).request_id ?? JSON.parse(line).reason)).toEqual([
      "a",
      "b",
      "repaired torn line of 30 bytes",
      "resumed after 2 refused records, short write",
      "d",
    ]);
    expect(await verify(path)).toMatchObject({ ok: true, records: 5 });
  });

  it("stays refused while the file cannot be opened anew", () => {
    const { fs, script } = scripted();
    const { sink, time } = openSink({ fs });
    script.write = () => 3;
    expect(() => sink.append([body("lost")])).toThrow();
    script.write = undefined;
    script.open = () => {
      throw errno("EROFS");
    };
    time.advance(500);
    expect(sink.healthy()).toBe(false);
    time.advance(200);
    expect(() => sink.append([body("lost")])).toThrow(/AUDIT_UNAVAILABLE.*EROFS/);
    script.open = undefined;
    time.advance(500);
    expect(sink.healthy()).toBe(true);
  });

  it("never cuts a file into which someone else wrote", () => {
    const { fs, script } = scripted();
    const { sink, path } = openSink({ fs });
    sink.append([body("a")]);
    script.write = () => {
      appendFileSync(path, "stranger\n");
      return 5;
    };
    expect(() => sink.append([body("lost")])).toThrow();
    expect(readFileSync(path, "latin1")).toMatch(/stranger\n\{"seq$/);
  });
});

describe("syncing", () => {
  it("syncs and writes the head on its time, and only when there is something new", () => {
    const { fs, script } = scripted();
    let syncs = 0;
    script.datasync = () => {
      syncs += 1;
    };
    const { sink, time, headPath } = openSink({ fs, sync: 1000 });
    sink.append([body("a")]);
    expect(syncs).toBe(0);
    expect(existsSync(headPath)).toBe(false);
    time.advance(1000);
    expect(syncs).toBe(1);
    expect(JSON.parse(readFileSync(headPath, "utf8"))).toEqual(sink.head());
    expect(statSync(headPath).mode & 0o777).toBe(0o600);
    time.advance(5000);
    expect(syncs).toBe(1);
  });

  it("syncs before it answers where it always syncs, and a failed sync is a failed write", async () => {
    const { fs, script } = scripted();
    const { sink, time, path, headPath } = openSink({ fs, sync: "always" });
    sink.append([body("a")]);
    expect(JSON.parse(readFileSync(headPath, "utf8"))).toEqual(sink.head());
    script.datasync = () => {
      throw errno("EIO");
    };
    expect(() => sink.append([body("lost")])).toThrow(/EIO/);
    script.datasync = undefined;
    time.advance(500);
    sink.append([body("b")]);
    sink.close();
    expect(idsOf(path)).toEqual(["a", "b"]);
    expect(await verify(path)).toMatchObject({ ok: true, records: 3 });
  });

  it("writes only the head, and at the end, where it never syncs", () => {
    const { fs, script } = scripted();
    script.datasync = () => {
      throw errno("EIO");
    };
    const { sink, time, headPath } = openSink({ fs, sync: "never" });
    sink.append([body("a")]);
    time.advance(5000);
    expect(existsSync(headPath)).toBe(false);
    sink.close();
    expect(JSON.parse(readFileSync(headPath, "utf8"))).toEqual(sink.head());
  });

  it("lets records in while a sync is under way, and puts no more in the head than that sync covered", () => {
    const running: ((error: Error | undefined) => void)[] = [];
    const disk = {
      sync: (_: string, done: (error: Error | undefined) => void) => {
        running.push(done);
      },
      close: () => undefined,
    };
    const { sink, time, headPath } = openSink({ disk });
    sink.append([body("a")]);
    const covered = sink.head();
    time.advance(1000);
    sink.append([body("b")]);
    time.advance(3000);
    expect(running).toHaveLength(1);
    expect(existsSync(headPath)).toBe(false);
    running.shift()?.(undefined);
    expect(JSON.parse(readFileSync(headPath, "utf8"))).toEqual(covered);
    time.advance(1000);
    running.shift()?.(errno("EIO"));
    expect(sink.healthy()).toBe(false);
    time.advance(500);
    expect(sink.healthy()).toBe(true);
    time.advance(1000);
    sink.close();
    const atClose = readFileSync(headPath, "utf8");
    running.shift()?.(undefined);
    expect(readFileSync(headPath, "utf8")).toBe(atClose);
    expect(JSON.parse(atClose)).toEqual(sink.head());
  });

  it("leaves a head alone that says more than a late sync covered", () => {
    let late: ((error: Error | undefined) => void) | undefined;
    const disk = {
      sync: (_: string, done: (error: Error | undefined) => void) => {
        late ??= done;
      },
      close: () => undefined,
    };
    const { sink, time, headPath } = openSink({ disk, maxSize: 500 });
    sink.append([body("a")]);
    time.advance(1000);
    for (let i = 0; i < 5; i++) sink.append([body(`r${i}`)]);
    const rotated = readFileSync(headPath, "utf8");
    late?.(undefined);
    expect(readFileSync(headPath, "utf8")).toBe(rotated);
  });

  it("refuses after a failed sync until a write succeeds", () => {
    const { fs, script } = scripted();
    const { sink, time } = openSink({ fs });
    sink.append([body("a")]);
    script.datasync = () => {
      throw errno("EIO");
    };
    time.advance(1000);
    expect(sink.healthy()).toBe(false);
    script.datasync = undefined;
    time.advance(500);
    expect(sink.healthy()).toBe(true);
  });
});

describe("a file that was taken away", () => {
  it.each([
    ["removed", (path: string) => rmSync(path)],
    ["moved", (path: string) => renameSync(path, `${path}.moved`)],
    ["replaced by an empty one", (path: string) => [rmSync(path), writeFileSync(path, "")]],
    ["emptied", (path: string) => truncateSync(path, 0)],
  ])("is made anew when it was %s, and says what it continues", async (_, take) => {
    const { sink, path, time } = openSink();
    sink.append([body("a"), body("b")]);
    const { seq, hash } = sink.head();
    take(path);
    time.advance(500);
    expect(sink.append([body("c")])).toBe(4);
    sink.close();
    expect(reasonsOf(path)).toEqual([`continues ${seq} ${hash}`]);
    expect(await verify(path)).toMatchObject({
      ok: false,
      bad: 1,
      detail: "The records 1 to 2 are missing: no rotation deleted them.",
      records: 2,
    });
  });

  it("is refused where a file that is no log took its place", () => {
    const { sink, path, time } = openSink();
    sink.append([body("a")]);
    rmSync(path);
    writeFileSync(path, "something else\nentirely\n");
    time.advance(1000);
    expect(sink.healthy()).toBe(false);
    expect(() => sink.append([body("b")])).toThrow(/AUDIT_UNAVAILABLE.*not an audit log/);
    rmSync(path);
    time.advance(500);
    expect(sink.healthy()).toBe(true);
  });
});

describe("rotation", () => {
  it("keeps the chain and as many files as it should, each within its size", async () => {
    const { sink, path, time } = openSink({ maxSize: 2000, keep: 2 });
    for (let i = 0; i < 100; i++) sink.append([body(`r${i}`)]);
    time.advance(1000);
    const files = filesOfLog(path);
    expect(files.map((file) => file.slice(path.length))).toEqual([".2", ".1", ""]);
    for (const file of files) expect(statSync(file).size).toBeLessThanOrEqual(2000);
    expect(idsOf(path).at(-1)).toBe("r99");
    sink.close();
    expect(await verify(path)).toMatchObject({ ok: true, anchored: true });
  });

  it("puts on record what it deletes before it does, so that a file deleted by others is told from those", async () => {
    const { sink, path } = openSink({ maxSize: 2000, keep: 3 });
    for (let i = 0; i < 100; i++) sink.append([body(`r${i}`)]);
    sink.close();
    const verdict = await verify(path);
    const first = Number(recordsOf(`${path}.3`)[0]?.["seq"]);
    expect(verdict).toMatchObject({ ok: true, first });
    expect(reasonsOf(`${path}.1`).at(-1)).toBe(`keeps from ${first}`);
    const second = Number(recordsOf(`${path}.2`)[0]?.["seq"]);
    rmSync(`${path}.3`);
    expect(await verify(path)).toMatchObject({
      ok: false,
      bad: first,
      detail: `The records ${first} to ${second - 1} are missing: no rotation deleted them.`,
    });
    // Nor does going on hide it.
    const again = openSink({ path, maxSize: 2000, keep: 3 });
    again.sink.append([body("more")]);
    again.sink.close();
    expect(await verify(path)).toMatchObject({ ok: false, bad: first });
  });

  it("leaves no older files behind where it is to keep fewer", async () => {
    const { sink, path } = openSink({ maxSize: 1000, keep: 9 });
    for (let i = 0; i < 60; i++) sink.append([body(`r${i}`)]);
    sink.close();
    expect(filesOfLog(path)).toHaveLength(10);
    const again = openSink({ path, maxSize: 1000, keep: 2 });
    for (let i = 0; i < 3; i++) again.sink.append([body(`r${i}`)]);
    again.sink.close();
    expect(filesOfLog(path).map((file) => file.slice(path.length))).toEqual([".2", ".1", ""]);
    expect(await verify(path)).toMatchObject({ ok: true });
  });

  it("verifies wherever a crash stopped it", async () => {
    for (let stop = 0; ; stop++) {
      const state = { calls: 0 };
      const step = <T>(run: () => T): T => {
        if (state.calls++ === stop) throw errno("EIO");
        return run();
      };
      const { path, sink } = openSink({ maxSize: 1200, keep: 2 });
      for (let i = 0; i < 9; i++) sink.append([body(`r${i}`)]);
      sink.close();
      const fs: AuditFs = {
        ...nodeAuditFs,
        unlinkSync: (file) => step(() => nodeAuditFs.unlinkSync(file)),
        renameSync: (from, to) =>
          from.endsWith(".tmp") ? nodeAuditFs.renameSync(from, to) : step(() => nodeAuditFs.renameSync(from, to)),
      };
      const crashing = openSink({ path, fs, maxSize: 300, keep: 2 });
      crashing.sink.append([body("x")]);
      // Not closed: what follows is another process.
      const again = openSink({ path, maxSize: 1200, keep: 2 });
      again.sink.append([body("y")]);
      again.sink.close();
      expect(await verify(path)).toMatchObject({ ok: true });
      if (state.calls <= stop) break;
    }
  });

  it("goes on from the rotated file when the new one has no record yet", async () => {
    const { sink, path } = openSink({ maxSize: 1000 });
    sink.append([body("a"), body("b")]);
    const head = sink.head();
    renameSync(path, `${path}.1`);
    const again = openSink({ path });
    expect(again.sink.head()).toEqual(head);
    again.sink.append([body("c")]);
    again.sink.close();
    expect(await verifyAudit({ files: filesOfLog(path), key: KEY })).toMatchObject({ ok: true, first: 1, records: 4 });
  });

  it("goes on in the long file while it cannot rotate", async () => {
    const { fs, script } = scripted();
    const { sink, path, time } = openSink({ fs, maxSize: 600 });
    script.rename = () => {
      throw errno("EACCES");
    };
    for (let i = 0; i < 10; i++) sink.append([body(`r${i}`)]);
    expect(filesOfLog(path)).toEqual([path]);
    expect(idsOf(path)).toHaveLength(10);
    script.rename = undefined;
    time.advance(1000);
    sink.append([body("last")]);
    expect(filesOfLog(path)).toEqual([`${path}.1`, path]);
    sink.close();
    expect(await verify(path)).toMatchObject({ ok: true, records: 12 });
  });

  it("repairs a torn line in the file it stands in, not in the next", async () => {
    const { sink, path } = openSink();
    for (let i = 0; i < 10; i++) sink.append([body(`r${i}`)]);
    sink.close();
    appendFileSync(path, '{"seq":11,');
    const again = openSink({ path, maxSize: 500 });
    again.sink.append([body("a")]);
    again.sink.append([body("b")]);
    again.sink.close();
    expect(filesOfLog(path)).toHaveLength(2);
    expect(await verify(path)).toMatchObject({ ok: true });
  });
});

describe("a broker over the file", () => {
  it("names the previous head in its start record", async () => {
    const first = openLog();
    await first.broker.close();
    const { seq, hash } = first.sink.head();
    const second = openLog({ path: first.path });
    await second.broker.close();
    expect(recordsOf(first.path).map(({ type, agent, reason }) => [type, agent, reason])).toEqual([
      ["start", "default", "new chain"],
      ["stop", "default", undefined],
      ["start", "default", `previous head ${seq} ${hash}`],
      ["stop", "default", undefined],
    ]);
  });
});
