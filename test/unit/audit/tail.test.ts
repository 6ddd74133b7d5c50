import { appendFileSync, mkdirSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesOfLog, findAuditLogs } from "../../../src/audit/log-files.ts";
import { type TailOptions, tailAudit } from "../../../src/audit/tail.ts";
import { tempDir } from "./support.ts";

const collect = async (options: TailOptions): Promise<string[]> => {
  const lines: string[] = [];
  for await (const line of tailAudit(options)) lines.push(line);
  return lines;
};

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}`);
const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

describe("the tail of a log", () => {
  it("is its last whole lines, over rotated files where the current one has too few", async () => {
    const path = join(tempDir(), "audit.jsonl");
    writeFileSync(`${path}.2`, text(numbers(1, 20_000)));
    writeFileSync(`${path}.1`, text(numbers(20_001, 20_005)));
    writeFileSync(path, `${text(numbers(20_006, 20_008))}half of a li`);
    for (const last of [0, 1, 3, 4, 8, 9, 15_000, 20_008, 30_000])
      expect(await collect({ path, last, follow: false })).toEqual(numbers(Math.max(1, 20_009 - last), 20_008));
  });

  it("is nothing where there is no file", async () => {
    expect(await collect({ path: join(tempDir(), "audit.jsonl"), last: 5, follow: false })).toEqual([]);
  });

  it("goes on with lines as they become whole, through rotation, a cut and a file that comes late", async () => {
    const path = join(tempDir(), "audit.jsonl");
    const abort = new AbortController();
    const steps = [
      () => writeFileSync(path, "1\n2\n3"),
      () => appendFileSync(path, "3\n4\n"),
      () => {
        appendFileSync(path, "5\n");
        renameSync(path, `${path}.1`);
        writeFileSync(path, "six\n");
      },
      () => {
        truncateSync(path, 0);
        appendFileSync(path, "7");
      },
      () => appendFileSync(path, "\n"),
    ];
    const after = new Map([
      ["2", 1],
      ["4", 2],
      ["six", 3],
    ]);
    const lines: string[] = [];
    const tail = tailAudit({ path, last: 1, follow: true, signal: abort.signal, pollMs: 1 });
    const first = tail.next();
    steps[0]?.();
    lines.push(String((await first).value));
    for await (const line of tail) {
      lines.push(line);
      const step = after.get(line);
      if (step !== undefined) steps[step]?.();
      if (line === "six") steps[4]?.();
      if (line === "7") abort.abort();
    }
    expect(lines).toEqual(["1", "2", "33", "4", "5", "six", "7"]);
  });
});

describe("the logs of a state directory", () => {
  it("are the main one and those of runs, each with its head", () => {
    const state = tempDir();
    for (const name of [
      "audit.jsonl",
      "audit-b2.jsonl",
      "audit-a1.jsonl",
      "audit-a1.head",
      "audit.jsonl.1",
      "other.jsonl",
    ])
      writeFileSync(join(state, name), "");
    const main = join(state, "audit.jsonl");
    expect(findAuditLogs(state, main)).toEqual([
      { path: main, headPath: join(state, "audit.head"), run: undefined },
      { path: join(state, "audit-a1.jsonl"), headPath: join(state, "audit-a1.head"), run: "a1" },
      { path: join(state, "audit-b2.jsonl"), headPath: join(state, "audit-b2.head"), run: "b2" },
    ]);
    expect(findAuditLogs(join(state, "none"), "/elsewhere/log")).toEqual([
      { path: "/elsewhere/log", headPath: "/elsewhere/log.head", run: undefined },
    ]);
  });

  it("are made of files by age", () => {
    const state = tempDir();
    const path = join(state, "audit.jsonl");
    for (const suffix of ["", ".1", ".2", ".10", ".lock", ".x", ".02", ".1.gz"]) writeFileSync(`${path}${suffix}`, "");
    mkdirSync(join(state, "other"));
    expect(filesOfLog(path).map((file) => file.slice(path.length))).toEqual([".10", ".2", ".1", ""]);
    expect(filesOfLog(join(state, "none.jsonl"))).toEqual([]);
  });
});
