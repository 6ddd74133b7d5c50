/** A temporary directory, a clock and a schedule that tests move by hand, and an audit log over them. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import { createAuditBroker } from "../../../src/audit/broker.ts";
import { createDirectSync, type DiskSync } from "../../../src/audit/disk-sync.ts";
import { type AuditFs, nodeAuditFs } from "../../../src/audit/file-access.ts";
import { headPathOf } from "../../../src/audit/head.ts";
import { AUDIT_SINKS } from "../../../src/audit/kinds/index.ts";
import type { Schedule } from "../../../src/audit/schedule.ts";
import type { Clock } from "../../../src/core/clock.ts";
import { type Log, silentLog } from "../../../src/core/log.ts";

const directories: string[] = [];

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

export const tempDir = (): string => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-audit-"));
  directories.push(directory);
  return directory;
};

export const KEY = Buffer.alloc(32, 7);

export interface TestTime extends Clock, Schedule {
  /** Runs what is due at the end of this turn. */
  turn(): void;
  /** Moves the clock and runs the ticks that fall due. */
  advance(ms: number): void;
}

export const createTestTime = (): TestTime => {
  let at = 1_700_000_000_000;
  const start = at;
  let turns: (() => void)[] = [];
  const ticks = new Set<{ ms: number; next: number; run: () => void }>();
  const turn = (): void => {
    for (const run of turns.splice(0)) run();
  };
  return {
    now: () => at,
    monotonic: () => at - start,
    soon: (run) => {
      turns = [...turns, run];
    },
    after(ms, run) {
      const tick = {
        ms,
        next: at + ms,
        run: () => {
          ticks.delete(tick);
          run();
        },
      };
      ticks.add(tick);
    },
    every(ms, run) {
      const tick = { ms, next: at + ms, run };
      ticks.add(tick);
      return () => ticks.delete(tick);
    },
    turn,
    advance(ms) {
      const end = at + ms;
      while (at < end) {
        at = Math.min(end, ...[...ticks].map((tick) => tick.next));
        for (const tick of [...ticks]) {
          if (tick.next > at) continue;
          tick.next += tick.ms;
          tick.run();
          turn();
        }
      }
    },
  };
};

export interface LogOptions {
  readonly path?: string;
  readonly sync?: "always" | "never" | number;
  readonly maxSize?: number;
  readonly keep?: number;
  readonly fs?: AuditFs;
  readonly time?: TestTime;
  readonly key?: Buffer;
  readonly log?: Log;
  /** Default: in this thread, at once. */
  readonly disk?: DiskSync;
}

/** The file sink alone. */
export const openSink = (options: LogOptions = {}) => {
  const path = options.path ?? join(tempDir(), "audit.jsonl");
  const time = options.time ?? createTestTime();
  const { sync = 1000, maxSize = 1e9, keep = 3, fs = nodeAuditFs, key = KEY, log = silentLog } = options;
  const sink = AUDIT_SINKS[0].create(
    { kind: "file", path, headPath: headPathOf(path), sync, maxSize, keep },
    { key, clock: time, log, schedule: time, fs, disk: options.disk ?? createDirectSync(fs) },
  );
  return { path, time, sink, headPath: headPathOf(path) };
};

/** A broker over the file sink. */
export const openLog = (options: LogOptions = {}) => {
  const opened = openSink(options);
  const { time, sink } = opened;
  const broker = createAuditBroker({
    sinks: [sink],
    clock: time,
    log: options.log ?? silentLog,
    agent: "default",
    schedule: time,
  });
  return { ...opened, broker };
};

/** A closed log of `count` records: `start`, intents, `stop`. */
export const writeLog = async (count: number, options: LogOptions = {}): Promise<string> => {
  const { path, broker, time } = openLog(options);
  const receipts = Array.from({ length: count - 2 }, (_, i) =>
    broker.record({ type: "intent", requestId: `r${i}`, path: `/v1/items/${i}` }),
  );
  time.turn();
  await Promise.all(receipts);
  await broker.close();
  return path;
};

export const linesOf = (path: string): string[] => readFileSync(path, "latin1").split("\n").slice(0, -1);

export const recordsOf = (path: string): Record<string, unknown>[] => linesOf(path).map((line) => JSON.parse(line));
