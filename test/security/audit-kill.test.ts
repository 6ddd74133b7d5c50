/** R13, G5: whatever was acknowledged is in the log, however often and wherever the writer is killed. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { filesOfLog, loadAuditKey, verifyLog } from "../../src/audit/index.ts";

const WRITER = new URL("audit-writer.ts", import.meta.url).pathname;

type Writer = ChildProcessByStdio<null, Readable, null>;

let state = "";
const writers: Writer[] = [];

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "sidekey-kill-"));
});

afterEach(() => {
  for (const writer of writers.splice(0)) writer.kill("SIGKILL");
  rmSync(state, { recursive: true, force: true });
});

const startWriter = (...args: readonly string[]): Writer => {
  const writer = spawn(process.execPath, ["--import", "tsx", WRITER, state, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  writers.push(writer);
  return writer;
};

/** All lines until the end; `see` is called with each as it comes. */
const linesOf = async (writer: Writer, see: (line: string, count: number) => void = () => {}): Promise<string[]> => {
  const lines: string[] = [];
  for await (const line of createInterface({ input: writer.stdout })) {
    lines.push(line);
    see(line, lines.length);
  }
  return lines;
};

const log = () => ({ path: join(state, "audit.jsonl"), headPath: join(state, "audit.head"), run: undefined });

const storedRecords = (): Map<number, unknown> => {
  const records = new Map<number, unknown>();
  for (const file of filesOfLog(log().path)) {
    for (const line of readFileSync(file, "latin1").split("\n")) {
      if (!line.endsWith("}")) continue;
      const record = JSON.parse(line);
      records.set(record.seq, record);
    }
  }
  return records;
};

describe("a writer that is killed", () => {
  it("loses nothing it acknowledged, 20 times over one log, and the chain verifies after each", {
    timeout: 120_000,
  }, async () => {
    const acknowledged: number[] = [];
    for (let kill = 0; kill < 20; kill++) {
      const writer = startWriter();
      // Random points: somewhere within the first 400 acknowledged records, the opening included.
      const after = 1 + Math.floor(Math.random() * 400);
      const lines = await linesOf(writer, (_, count) => {
        if (count === after) writer.kill("SIGKILL");
      });
      expect(lines[0]).toBe("open");
      for (const line of lines) if (line.startsWith("stored ")) acknowledged.push(Number(line.slice(7)));
      expect(await verifyLog(log(), loadAuditKey(join(state, "audit.key")))).toMatchObject({ ok: true, first: 1 });
    }
    const records = storedRecords();
    expect(acknowledged.length).toBeGreaterThan(20);
    expect(new Set(acknowledged).size).toBe(acknowledged.length);
    expect(acknowledged.filter((seq) => !records.has(seq))).toEqual([]);

    // The last lock is a dead process's; an orderly writer takes it over and leaves nothing open.
    const last = await linesOf(startWriter("5"));
    expect(last.at(-1)).toBe("closed");
    const verdict = await verifyLog(log(), loadAuditKey(join(state, "audit.key")));
    expect(verdict).toMatchObject({ ok: true, first: 1, anchored: true, tornBytes: 0 });
  });

  it("keeps a second writer out while it lives, naming its pid, and not after", async () => {
    const first = startWriter();
    await new Promise<void>((resolve) => {
      first.stdout.once("data", () => resolve());
    });
    first.stdout.resume();
    const second = await linesOf(startWriter("1"));
    expect(second).toEqual([expect.stringMatching(new RegExp(`^failed .*AUDIT_LOCKED.*process ${first.pid}\\.$`))]);
    const gone = new Promise((resolve) => first.once("exit", resolve));
    first.kill("SIGKILL");
    await gone;
    const third = await linesOf(startWriter("1"));
    expect(third[0]).toBe("open");
    expect(third.at(-1)).toBe("closed");
  });
});
