/**
 * R13, G5: whatever was acknowledged is in the log, and whatever reached the upstream was there before, however often
 * and wherever the process is killed.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { filesOfLog, loadAuditKey, verifyLog } from "../../src/audit/index.ts";
import { setup } from "../support/build.ts";
import { openScene, type Process } from "./audit-process.ts";

const WRITER = new URL("audit-writer.ts", import.meta.url).pathname;

type Writer = ChildProcessByStdio<null, Readable, null>;

let state = "";
const writers: Writer[] = [];

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "sidekey-kill-"));
});

afterEach(async () => {
  for (const writer of writers.splice(0)) {
    writer.kill("SIGKILL");
    if (writer.exitCode === null && writer.signalCode === null) await once(writer, "exit");
  }
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

beforeAll(setup, 120_000);

/** Reads on in a growing file; says whether an intent for this path is in what was written so far. */
const createWatch = (file: string) => {
  const intents = new Set<string>();
  const buffer = Buffer.alloc(1 << 20);
  let offset = 0;
  let rest = "";
  return (path: string): boolean => {
    const fd = openSync(file, "r");
    try {
      for (let n = readSync(fd, buffer, 0, buffer.length, offset); n > 0; ) {
        offset += n;
        const lines = (rest + buffer.toString("latin1", 0, n)).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const [, found] = /"type":"intent".*"path":"([^"]*)"/.exec(line) ?? [];
          if (found !== undefined) intents.add(found);
        }
        n = readSync(fd, buffer, 0, buffer.length, offset);
      }
    } finally {
      closeSync(fd);
    }
    return intents.has(path);
  };
};

/** Calls without end, on as many connections as there are workers, until the process is gone; `answered` counts. */
const load = async (process: Process, prefix: string, answered: () => void): Promise<void> => {
  const worker = async (name: string): Promise<void> => {
    for (let i = 0; (await process.call(`${prefix}-${name}-${i}`)).status !== 0; i++) answered();
  };
  await Promise.all(["a", "b", "c", "d", "e", "f"].map(worker));
};

/** A start takes most of the time of each: `SIDEKEY_KILLS=100` for as many as the promise names. */
const KILLS = Number(process.env["SIDEKEY_KILLS"] ?? 40);
/** State directories, so that both cores have something to do. */
const LANES = 2;

describe("a sidecar that is killed under load", () => {
  it("has an earlier intent for every request that reached the upstream, at random points", {
    timeout: 300_000,
  }, async () => {
    const starts: number[] = [];
    let reached = 0;
    const lane = async (name: number): Promise<void> => {
      const unrecorded: string[] = [];
      let isOnRecord = (_path: string): boolean => false;
      const scene = await openScene("", (path) => {
        // In the turn in which the upstream has it: the record must be there by now.
        if (!isOnRecord(path)) unrecorded.push(path);
      });
      try {
        isOnRecord = createWatch(scene.work.at(".sidekey/audit.jsonl"));
        for (let kill = 0; kill < KILLS / LANES; kill++) {
          const begun = performance.now();
          const running = await scene.start();
          starts.push(performance.now() - begun);
          // After so many answers, and within the turn or a little later: cold connections and warm ones.
          let left = Math.floor(Math.random() * 80);
          const wait = Math.random() < 0.5 ? 0 : Math.random() * 10;
          const die = (): void => void setTimeout(() => running.child.kill("SIGKILL"), wait);
          const calls = load(running, `${name}-${kill}`, () => {
            left -= 1;
            if (left === 0) die();
          });
          if (left === 0) die();
          await Promise.all([running.end, calls]);
        }
        // Each start repaired what the kill before it tore; the last one is repaired by this.
        const last = await scene.start();
        expect((await last.call("end")).status).toBe(200);
        expect((await last.stop()).code).toBe(0);
        expect(unrecorded).toEqual([]);
        expect(new Set(scene.reached()).size).toBe(scene.reached().length);
        reached += scene.reached().length;

        const text = readFileSync(scene.work.at(".sidekey/audit.jsonl"), "latin1");
        const lines = text.split("\n").slice(0, -1);
        const torn = lines.filter((line) => !/^\{"seq":.*"hash":"[\w-]{43}"\}$/.test(line));
        const repairs = lines.filter((line) => line.includes('"reason":"repaired torn line of '));
        expect(torn.length).toBe(repairs.length);
        expect(lines.filter((line) => line.includes('"type":"start"'))).toHaveLength(KILLS / LANES + 1);
        const verdict = await scene.verify();
        expect(verdict).toMatchObject({ code: 0 });
        expect(verdict.stdout).toContain(": intact, ");
      } finally {
        await scene.close();
      }
    };
    await Promise.all(Array.from({ length: LANES }, (_, name) => lane(name)));
    expect(reached).toBeGreaterThan(KILLS);
    starts.sort((a, b) => a - b);
    console.info(
      `${KILLS} kills, ${reached} requests reached the upstream, start p50 ${Math.round(starts[Math.floor(KILLS / 2)] ?? 0)} ms, ` +
        `worst ${Math.round(starts.at(-1) ?? 0)} ms`,
    );
  });
});
