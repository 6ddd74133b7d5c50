/** G4: whoever edits a log without its key is seen, and the verifier names the first record that is not as it was. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseLine } from "../../src/audit/chain.ts";
import { headPathOf } from "../../src/audit/head.ts";
import { filesOfLog } from "../../src/audit/log-files.ts";
import { verifyLog } from "../../src/audit/reading/verify.ts";
import { createTestTime, KEY, openLog, type TestTime } from "../unit/audit/support.ts";

/** Files of a log, oldest first, by what stands behind its path. */
type Files = ReadonlyMap<string, Buffer>;

const verify = (path: string) => verifyLog({ path, headPath: headPathOf(path), run: undefined }, KEY);

/** A log of several files with a torn line and its repair in it, of some 60 records. */
const writeBusyLog = async (time: TestTime, path: string): Promise<void> => {
  for (let part = 0; part < 3; part++) {
    const opened = openLog({ time, path, maxSize: 4000, keep: 9 });
    for (let i = 0; i < 18; i++) {
      const receipt = opened.broker.record({
        type: "intent",
        requestId: `${part}-${i}`,
        agent: "researcher",
        route: "api",
        secret: "local:production/x/key",
        version: "3",
        method: "GET",
        scheme: "https",
        authority: "api.example.test:443",
        path: `/v1/items/${i}`,
        decision: "inject",
      });
      time.turn();
      await receipt;
      time.advance(10);
    }
    await opened.broker.close();
    if (part < 2) appendFileSync(path, '{"seq":99,"time":"torn by a cra');
  }
};

const filesOf = (path: string): Files =>
  new Map(filesOfLog(path).map((file) => [file.slice(path.length), readFileSync(file)]));

const restore = (path: string, files: Files): void => {
  for (const file of filesOfLog(path)) rmSync(file);
  for (const [suffix, bytes] of files) writeFileSync(path + suffix, bytes);
};

const recordsIn = (files: Files): string[] =>
  [...files.values()].flatMap((bytes) =>
    bytes
      .toString("latin1")
      .split("\n")
      .filter((line) => parseLine(line) !== undefined),
  );

const directory = mkdtempSync(join(tmpdir(), "sidekey-tamper-"));
let path = "";
let files: Files = new Map();
let others: Files = new Map();
let head = "";
let records: readonly string[] = [];

beforeAll(async () => {
  const time = createTestTime();
  path = join(directory, "audit.jsonl");
  await writeBusyLog(time, path);
  files = filesOf(path);
  head = readFileSync(headPathOf(path), "latin1");
  records = recordsIn(files);
  const later = createTestTime();
  later.advance(7);
  const other = join(directory, "other.jsonl");
  await writeBusyLog(later, other);
  others = filesOf(other);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const linesOf = (bytes: Buffer): string[] => bytes.toString("latin1").split("\n").slice(0, -1);
const bytesOf = (lines: readonly string[]): Buffer => Buffer.from(lines.map((line) => `${line}\n`).join(""), "latin1");

const nat = (draw: fc.GeneratorValue, max: number): number => draw(fc.nat, Math.max(0, max));

/** One edit of one of the files, or of their row. */
const EDITS: Readonly<Record<string, (files: Map<string, Buffer>, draw: fc.GeneratorValue) => void>> = {
  flip(all, draw) {
    const [name, bytes] = pick(all, draw);
    const at = nat(draw, bytes.length - 1);
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 << nat(draw, 7));
    all.set(name, changed);
  },
  drop: (all, draw) => editLines(all, draw, (lines, n) => lines.splice(n, 1 + nat(draw, 3))),
  repeat: (all, draw) => editLines(all, draw, (lines, n) => lines.splice(n, 0, lines[n] ?? "")),
  move: (all, draw) =>
    editLines(all, draw, (lines, n) => lines.splice(nat(draw, lines.length), 0, ...lines.splice(n, 1))),
  insert: (all, draw) => editLines(all, draw, (lines, n) => lines.splice(n, 0, draw(fc.string, { maxLength: 40 }))),
  replace: (all, draw) =>
    editLines(all, draw, (lines, n) => {
      const line = lines[n] ?? "";
      lines[n] = line.replace("researcher", "nobody");
    }),
  foreign: (all, draw) =>
    editLines(all, draw, (lines, n) => {
      const [, bytes] = pick(new Map(others), draw);
      const theirs = linesOf(bytes);
      lines.splice(n, nat(draw, 2), theirs[nat(draw, theirs.length - 1)] ?? "");
    }),
  splice(all, draw) {
    const [name, bytes] = pick(all, draw);
    const theirs = others.get(name) ?? bytes;
    const n = nat(draw, linesOf(bytes).length);
    all.set(name, bytesOf([...linesOf(bytes).slice(0, n), ...linesOf(theirs).slice(n)]));
  },
  cut(all, draw) {
    const [name, bytes] = pick(all, draw);
    all.set(name, bytes.subarray(0, nat(draw, bytes.length)));
  },
  behead(all, draw) {
    const [name, bytes] = pick(all, draw);
    all.set(name, bytes.subarray(nat(draw, bytes.length)));
  },
  remove(all, draw) {
    const [name] = pick(all, draw);
    all.delete(name);
  },
  exchange(all, draw) {
    const [one, bytes] = pick(all, draw);
    const [two, more] = pick(all, draw);
    all.set(one, more);
    all.set(two, bytes);
  },
};

const pick = (all: ReadonlyMap<string, Buffer>, draw: fc.GeneratorValue): readonly [string, Buffer] => {
  const entries = [...all];
  return entries[nat(draw, entries.length - 1)] ?? ["", Buffer.alloc(0)];
};

const editLines = (
  all: Map<string, Buffer>,
  draw: fc.GeneratorValue,
  edit: (lines: string[], n: number) => void,
): void => {
  const [name, bytes] = pick(all, draw);
  const lines = linesOf(bytes);
  edit(lines, nat(draw, lines.length - 1));
  all.set(name, bytesOf(lines));
};

describe("a log that was edited without its key", () => {
  it("is whole before", async () => {
    expect(files.size).toBeGreaterThan(4);
    expect(records.length).toBeGreaterThan(50);
    expect(records.filter((line) => line.includes("repaired torn line"))).toHaveLength(2);
    expect(await verify(path)).toMatchObject({ ok: true, first: 1, records: records.length, anchored: true });
  });

  it.each(Object.keys(EDITS))(
    "is seen when it was changed by '%s', once or more often, up to its head",
    async (name) => {
      const edit = EDITS[name];
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.gen(), async (times, draw) => {
          const edited = new Map(files);
          for (let i = 0; i < times; i++) edit?.(edited, draw);
          restore(path, edited);
          const verdict = await verify(path);
          // The head names the last record, so what is accepted holds every record as it was, and no other.
          if (verdict.ok) expect(recordsIn(filesOf(path))).toEqual(records);
        }),
        { numRuns: 60 },
      );
      restore(path, files);
    },
  );

  it("is seen after any mixture of edits", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...Object.keys(EDITS)), { minLength: 1, maxLength: 4 }),
        fc.gen(),
        async (names, draw) => {
          const edited = new Map(files);
          for (const name of names) if (edited.size > 0) EDITS[name]?.(edited, draw);
          restore(path, edited);
          const verdict = await verify(path);
          if (verdict.ok) expect(recordsIn(filesOf(path))).toEqual(records);
        },
      ),
      { numRuns: 300 },
    );
    restore(path, files);
  });

  it("is named by the record whose field was changed, whichever field it is", async () => {
    const [suffix = "", bytes = Buffer.alloc(0)] = [...files][1] ?? [];
    const lines = linesOf(bytes);
    const n = lines.findIndex((line) => line.includes('"type":"intent"'));
    const line = lines[n] ?? "";
    const bad = parseLine(line)?.seq;
    const fields = Object.keys(JSON.parse(line));
    expect(fields).toHaveLength(15);
    for (const field of fields) {
      const at = line.indexOf(`"${field}":`) + field.length + 4;
      for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
        const changed = Buffer.from(line, "latin1");
        changed[at] = (changed[at] ?? 0) ^ bit;
        restore(path, new Map([...files, [suffix, bytesOf(lines.with(n, changed.toString("latin1")))]]));
        expect(await verify(path), `${field}, bit ${bit}`).toMatchObject({ ok: false, bad });
      }
    }
    restore(path, files);
  });

  it("is named by what became of its head", async () => {
    const headPath = headPathOf(path);
    const last = parseLine(records.at(-1) ?? "");
    const early = parseLine(records[20] ?? "");
    const end = Number(last?.seq);
    const judge = async (text: string) => {
      writeFileSync(headPath, text);
      return verify(path);
    };
    // Ruling 8: records behind a head of an older time are fine when they chain.
    const older = await judge(JSON.stringify({ seq: early?.seq, hash: early?.hash }));
    expect(older).toMatchObject({ ok: true, anchored: true });
    expect(await judge(JSON.stringify({ seq: end + 5, hash: last?.hash }))).toMatchObject({
      ok: false,
      bad: end + 1,
      cause: "truncated",
    });
    expect(await judge(JSON.stringify({ seq: end, hash: early?.hash }))).toMatchObject({
      ok: false,
      bad: end,
      cause: "head",
    });
    for (const text of ["", "{}", "nonsense", `{"seq":"1","hash":"${last?.hash}"}`])
      expect(await judge(text)).toMatchObject({ ok: false, bad: end + 1, cause: "head" });
    writeFileSync(headPath, head);
    expect(await verify(path)).toMatchObject({ ok: true });
  });
});
