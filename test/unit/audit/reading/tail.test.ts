import { appendFileSync, mkdirSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nodeAuditFs } from "../../../../src/audit/file-access.ts";
import { filesOfLog, findAuditLogs, shiftFiles, vaultLogPath } from "../../../../src/audit/log-files.ts";
import { tailAudit } from "../../../../src/audit/reading/tail.ts";
import { tempDir } from "../support.ts";

const collect = async ({ path, last }: { path: string; last: number }): Promise<string[]> => {
  const lines: string[] = [];
  for await (const line of tailAudit({ logs: () => [path], last, follow: false })) lines.push(line);
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
      expect(await collect({ path, last })).toEqual(numbers(Math.max(1, 20_009 - last), 20_008));
  });

  it("is nothing where there is no file", async () => {
    expect(await collect({ path: join(tempDir(), "audit.jsonl"), last: 5 })).toEqual([]);
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
    const tail = tailAudit({ logs: () => [path], last: 1, follow: true, signal: abort.signal, pollMs: 1 });
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

const record = (seq: number, time: string, reason = ""): string =>
  `{"seq":${seq},"time":"${time}","reason":"${reason}"}`;

describe("the tail of several logs", () => {
  it("is in the order of their times, and each log in its own", async () => {
    const directory = tempDir();
    const paths = ["a", "b", "c"].map((name) => join(directory, name));
    const [a = "", b = "", c = ""] = paths;
    writeFileSync(a, text([record(1, "T1"), record(2, "T4"), record(3, "T2")]));
    writeFileSync(b, text([record(1, "T3"), "torn", record(2, "T5")]));
    writeFileSync(c, "");
    const lines: string[] = [];
    for await (const line of tailAudit({ logs: () => paths, last: 5, follow: false })) lines.push(line);
    expect(lines).toEqual([record(3, "T2"), record(1, "T3"), "torn", record(2, "T4"), record(2, "T5")]);
  });

  it("takes up a log that begins later, from its first record", async () => {
    const directory = tempDir();
    const first = join(directory, "a");
    const later = join(directory, "b");
    writeFileSync(first, text([record(1, "T1"), record(2, "T2")]));
    const paths = [first];
    const abort = new AbortController();
    const lines: string[] = [];
    for await (const line of tailAudit({
      logs: () => paths,
      last: 1,
      follow: true,
      signal: abort.signal,
      pollMs: 1,
    })) {
      lines.push(line);
      if (lines.length === 1) {
        writeFileSync(later, text([record(1, "T3"), record(2, "T5")]));
        appendFileSync(first, text([record(3, "T4")]));
        paths.push(later);
      }
      if (lines.length === 4) abort.abort();
    }
    expect(lines).toEqual([record(2, "T2"), record(1, "T3"), record(3, "T4"), record(2, "T5")]);
  });

  it("misses no file where several rotations lie between two looks", async () => {
    const path = join(tempDir(), "audit.jsonl");
    const abort = new AbortController();
    const lines: string[] = [];
    writeFileSync(path, text(["1"]));
    for await (const line of tailAudit({
      logs: () => [path],
      last: 1,
      follow: true,
      signal: abort.signal,
      pollMs: 1,
    })) {
      lines.push(line);
      if (line === "1") {
        appendFileSync(path, text(["2"]));
        for (const next of ["3", "4", "5"]) {
          shiftFiles(nodeAuditFs, path, 9);
          writeFileSync(path, text([next]));
        }
      }
      if (line === "5") abort.abort();
    }
    expect(lines).toEqual(["1", "2", "3", "4", "5"]);
  });
});

describe("the logs of a state directory", () => {
  it("are the main one and those of runs, each with its head, also where only that is left", () => {
    const state = tempDir();
    for (const name of [
      "audit.jsonl",
      "audit-b2.jsonl",
      "audit-a1.jsonl",
      "audit-a1.head",
      "audit-c3.head",
      "audit-d4.jsonl.1",
      "audit.jsonl.1",
      "other.jsonl",
    ])
      writeFileSync(join(state, name), "");
    const main = join(state, "audit.jsonl");
    expect(findAuditLogs(state, main)).toEqual([
      { path: main, headPath: join(state, "audit.head"), run: undefined },
      { path: join(state, "audit-a1.jsonl"), headPath: join(state, "audit-a1.head"), run: "a1" },
      { path: join(state, "audit-b2.jsonl"), headPath: join(state, "audit-b2.head"), run: "b2" },
      { path: join(state, "audit-c3.jsonl"), headPath: join(state, "audit-c3.head"), run: "c3" },
      { path: join(state, "audit-d4.jsonl"), headPath: join(state, "audit-d4.head"), run: "d4" },
    ]);
    expect(findAuditLogs(join(state, "none"), "/elsewhere/log")).toEqual([
      { path: "/elsewhere/log", headPath: "/elsewhere/log.head", run: undefined },
    ]);
  });

  it("are the vault's as well, wherever one of its files is left, once", () => {
    for (const name of ["vault-audit.jsonl", "vault-audit.jsonl.3", "vault-audit.head"]) {
      const state = tempDir();
      writeFileSync(join(state, name), "");
      const vault = { path: vaultLogPath(state), headPath: join(state, "vault-audit.head"), run: undefined };
      expect(findAuditLogs(state, join(state, "audit.jsonl")).at(-1)).toEqual(vault);
      expect(findAuditLogs(state, vaultLogPath(state))).toEqual([vault]);
    }
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
