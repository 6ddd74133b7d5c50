import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nodeAuditFs } from "../../../../src/audit/file-access.ts";
import { shiftFiles } from "../../../../src/audit/log-files.ts";
import { openLogReader } from "../../../../src/audit/reading/log-reader.ts";
import { mergeLogs } from "../../../../src/audit/reading/merge.ts";
import { type SearchFilter, type SearchOptions, searchAudit } from "../../../../src/audit/reading/search.ts";
import { openLog, tempDir } from "../support.ts";

const PREV = "A".repeat(43);

interface Fields {
  readonly [name: string]: string | number;
}

const at = (second: number): string => new Date(1_700_000_000_000 + second * 1000).toISOString();

/** A line of a log, `second` after its beginning. */
const line = (seq: number, second: number, fields: Fields): string =>
  JSON.stringify({ seq, time: at(second), ...fields, prev: PREV, hash: PREV });

const fileOf = (lines: readonly string[]): string => {
  const path = join(tempDir(), "audit.jsonl");
  writeFileSync(path, lines.map((text) => `${text}\n`).join(""));
  return path;
};

const search = (logs: readonly string[], filter: SearchFilter, more: Partial<SearchOptions> = {}) => {
  const bad: string[] = [];
  const lines = [
    ...searchAudit({ logs, filter, onBadLine: ({ file, number }) => bad.push(`${file}:${number}`), ...more }),
  ];
  return { lines, bad, ids: lines.map((text) => `${JSON.parse(text).type} ${JSON.parse(text).request_id}`) };
};

const is =
  (wanted: string) =>
  (value: string): boolean =>
    value === wanted;

const intent = (id: string, more: Fields = {}): Fields => ({
  type: "intent",
  request_id: id,
  agent: "a",
  route: "r",
  secret: "local:p/q",
  decision: "inject",
  ...more,
});
const outcome = (id: string, more: Fields = {}): Fields => ({
  type: "outcome",
  request_id: id,
  agent: "a",
  route: "r",
  status: 200,
  ...more,
});

describe("a search", () => {
  it("judges an intent and its outcome as one, and shows both, in the order of their times", () => {
    const path = fileOf([
      line(1, 1, intent("one")),
      line(2, 2, intent("two", { secret: "local:x/y" })),
      line(3, 3, outcome("two", { code: "UPSTREAM_TIMEOUT", status: 504 })),
      line(4, 4, intent("three")),
      line(5, 5, outcome("one", { code: "UPSTREAM_TIMEOUT", status: 504 })),
      line(6, 6, outcome("three")),
      line(7, 7, { type: "refusal", request_id: "four", secret: "local:p/q", code: "UPSTREAM_TIMEOUT" }),
    ]);
    const code = is("UPSTREAM_TIMEOUT");
    expect(search([path], { fields: { code } }).ids).toEqual([
      "intent one",
      "intent two",
      "outcome two",
      "outcome one",
      "refusal four",
    ]);
    expect(search([path], { fields: { code, secret: is("local:p/q") } }).ids).toEqual([
      "intent one",
      "outcome one",
      "refusal four",
    ]);
    expect(search([path], { fields: { status: is("200"), decision: is("inject") } }).ids).toEqual([
      "intent three",
      "outcome three",
    ]);
    expect(search([path], { type: "outcome", fields: { secret: is("local:x/y") } }).ids).toEqual(["outcome two"]);
    expect(search([path], { requestId: "three" }).ids).toEqual(["intent three", "outcome three"]);
    expect(search([path], { since: at(3), until: at(5) }).ids).toEqual(["outcome two", "intent three"]);
    expect(search([path], {}).lines).toEqual(readFileSync(path, "latin1").trimEnd().split("\n"));
  });

  it("does not wait for an outcome that a killed process never wrote", () => {
    const path = fileOf([
      line(1, 1, intent("lost")),
      line(2, 2, { type: "start" }),
      line(3, 3, outcome("lost", { code: "X" })),
      line(4, 4, intent("open")),
    ]);
    expect(search([path], { fields: { code: is("X") } }).ids).toEqual(["outcome lost"]);
    expect(search([path], { fields: { route: is("r") } }).ids).toEqual(["intent lost", "outcome lost", "intent open"]);
  });

  it("holds no more lines than it may for one that is undecided, which then comes late", () => {
    const refusals = Array.from({ length: 50 }, (_, i) =>
      line(2 + i, 2 + i, { type: "refusal", request_id: `r${i}`, code: "X" }),
    );
    const path = fileOf([line(1, 1, intent("long")), ...refusals, line(60, 60, outcome("long", { code: "X" }))]);
    const fields = { code: is("X") };
    expect(search([path], { fields }).ids.slice(0, 2)).toEqual(["intent long", "refusal r0"]);
    const late = search([path], { fields }, { holdLimit: 2000 }).ids;
    expect(late).toHaveLength(52);
    expect(late[0]).toBe("refusal r0");
    expect(late.slice(-2)).toEqual(["intent long", "outcome long"]);
  });

  it("tells of lines that are no records and goes on, and not of what a repair record answers for", () => {
    const path = fileOf([
      "garbage",
      line(1, 1, intent("one")),
      '{"seq":2,"ti',
      line(2, 2, { type: "admin", reason: "repaired torn line of 13 bytes" }),
      '{"seq":3,"broken"}',
      line(4, 4, intent("two")),
    ]);
    appendFileSync(path, '{"seq":5,"half of one that is being wri');
    const all = search([path], {});
    expect(all.lines).toHaveLength(3);
    expect(all.bad).toEqual([`${path}:1`, `${path}:5`]);
    expect(search([path], { requestId: "two" })).toMatchObject({ ids: ["intent two"], bad: [`${path}:1`] });
  });

  it("finds what one filter after the other finds, in any logs", () => {
    const values = fc.record({
      agent: fc.constantFrom("a", "b"),
      code: fc.option(fc.constantFrom("X", "Y")),
      secret: fc.constantFrom("s", "t"),
      end: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(values, { maxLength: 12 }), fc.constantFrom("X", "Y"), (requests, code) => {
        const events = requests.flatMap(({ agent, secret, code: own, end }, i) => [
          { second: i, fields: intent(`${i}`, { agent, secret }) },
          { second: i + end + 0.5, fields: outcome(`${i}`, { agent, ...(own !== null && { code: own }) }) },
        ]);
        events.sort((a, b) => a.second - b.second);
        const path = fileOf(events.map(({ second, fields }, i) => line(i + 1, second, fields)));
        const expected = requests.flatMap((request, i) =>
          request.agent === "a" && request.secret === "s" && request.code === code ? [`${i}`] : [],
        );
        const found = search([path], { fields: { agent: is("a"), secret: is("s"), code: is(code) } });
        const seqs = found.lines.map((text) => JSON.parse(text).seq);
        expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
        expect([...found.ids].sort()).toEqual(expected.flatMap((id) => [`intent ${id}`, `outcome ${id}`]).sort());
      }),
      { numRuns: 100 },
    );
  });
});

describe("the row of several logs", () => {
  it("is in the order of their times, each log in its own order, over rotated files", () => {
    const directory = tempDir();
    const write = (name: string, lines: readonly string[]): string => {
      writeFileSync(join(directory, name), lines.map((text) => `${text}\n`).join(""));
      return join(directory, name);
    };
    const a = write("a", [line(3, 5, {}), line(4, 9, {})]);
    write("a.1", [line(2, 2, {}), "no record"]);
    write("a.2", [line(1, 1, {})]);
    const b = write("b", [line(1, 2, {}), line(2, 1, {}), line(3, 7, {})]);
    const c = write("c", []);
    const rows = [...mergeLogs([a, b, c, join(directory, "none")])].map(({ log, text, number }) => {
      const seq = text === "no record" ? "-" : JSON.parse(text).seq;
      return `${log.slice(directory.length + 1)} ${seq} ${number}`;
    });
    expect(rows).toEqual(["a 1 1", "a 2 1", "a - 2", "b 1 1", "b 2 2", "a 3 1", "b 3 3", "a 4 2"]);
  });

  it("leaves out files that ended before the time asked for, but for the last of them", () => {
    const path = fileOf([line(9, 90, {})]);
    for (const [age, second] of [
      [1, 60],
      [2, 30],
      [3, 10],
    ] as const) {
      writeFileSync(`${path}.${age}`, `${line(9 - age, second, {})}\n`);
    }
    const seqs = (since: string): number[] => {
      const found: number[] = [];
      for (const { text } of mergeLogs([path], since)) found.push(JSON.parse(text).seq);
      return found;
    };
    // The dates of the files are of now, so what their records say is not believed alone.
    expect(seqs(at(70))).toEqual([6, 7, 8, 9]);
    expect(seqs("9999-01-01T00:00:00.000Z")).toEqual([]);
  });

  it("reads no device and no directory", () => {
    const directory = join(tempDir(), "audit.jsonl");
    mkdirSync(directory);
    expect([...mergeLogs(["/dev/zero", directory])]).toEqual([]);
  });

  it("takes a line without end in bounded pieces", () => {
    const path = fileOf([]);
    for (let i = 0; i < 8; i++) appendFileSync(path, Buffer.alloc(1 << 20, 0x61));
    appendFileSync(path, `\n${line(1, 1, {})}\n`);
    const lengths = [...mergeLogs([path])].map(({ text }) => text.length);
    expect(lengths[0]).toBeLessThanOrEqual(512 * 1024);
    expect(lengths.at(-1)).toBe(line(1, 1, {}).length);
  });
});

describe("a reader of a log that is rotated meanwhile", () => {
  it("reads each record once, as the files were when it began", async () => {
    const { path, broker, time } = openLog({ maxSize: 2000, keep: 50 });
    const write = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const receipt = broker.record({ type: "intent", requestId: `r${i}` });
        time.turn();
        await receipt;
      }
    };
    await write(40);
    const reader = openLogReader(path);
    const seqs: number[] = [];
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      seqs.push(JSON.parse(next.text).seq);
      if (seqs.length % 10 === 0) await write(10);
      if (seqs.length === 15) shiftFiles(nodeAuditFs, `${path}.1`, 3);
    }
    reader.close();
    await broker.close();
    expect(seqs.length).toBeGreaterThanOrEqual(41);
    expect(seqs).toEqual(seqs.map((_, i) => i + 1));
  });
});
