/** The audit's one way in for the rest of Sidekey: opening a log for writing, and reading logs back. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { type AuditBroker, createAuditBroker } from "./broker.ts";
import { createThreadSync, type DiskSync } from "./disk-sync.ts";
import { type AuditFs, errnoOf, nodeAuditFs, statIfThere } from "./file-access.ts";
import { headPathOf } from "./head.ts";
import { openAuditKey, readAuditKey } from "./key.ts";
import { AUDIT_SINKS } from "./kinds/index.ts";
import { type AuditLock, isLockable, lockAudit } from "./lock.ts";
import { filesOfLog, findAuditLogs, isVaultLog } from "./log-files.ts";
import { type Schedule, systemSchedule } from "./schedule.ts";

export type { AuditBroker, AuditReceipt, AuditWaiter } from "./broker.ts";
export { type AuditLog, filesOfLog, findAuditLogs, vaultLogPath } from "./log-files.ts";
export { type ExportRequest, exportAudit } from "./reading/export.ts";
export { type AuditPage, type AuditPages, createAuditPages, type PageRequest } from "./reading/page.ts";
export type { RecordFilter } from "./reading/record-filter.ts";
export {
  type SearchField,
  type SearchFilter,
  type SearchOptions,
  searchAudit,
  type TextTest,
} from "./reading/search.ts";
export { type TailOptions, tailAudit } from "./reading/tail.ts";
export { type AuditVerdict, type BrokenLog, type IntactLog, verifyAudit, verifyLog } from "./reading/verify.ts";
export type { AuditDurations, AuditEvent, AuditType } from "./record.ts";

export interface OpenAuditOptions {
  /** The log; a device or FIFO is allowed. */
  readonly path: string;
  /** Made on first use, but never for a log that has records already. */
  readonly keyPath: string;
  /** Default: `audit.head` beside `audit.jsonl`. */
  readonly headPath?: string;
  /** When records are synced to the disk: after each batch, every so many `ms`, or never. */
  readonly sync: "always" | "never" | number;
  /** Size in `bytes` at which the file is rotated. */
  readonly maxSize: number;
  /** Rotated files kept. */
  readonly keep: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Named by the start and stop records. */
  readonly agent: string;
  /** False only where the caller already made sure that no other process writes the file. */
  readonly lock: boolean;
  readonly schedule?: Schedule;
  readonly fs?: AuditFs;
  readonly disk?: DiskSync;
}

/**
 * Locks the log, continues its chain and writes a `start` record. A log that is open but can't be written (a full
 * disk, /dev/full) is no error here: each `record` is refused until it can.
 *
 * Errors: AUDIT_LOCKED; AUDIT_KEY_UNREADABLE, also when the log's last record is not of this key, or the key is gone and
 * a log beside it is there; AUDIT_UNAVAILABLE
 * when the log can't be opened or is damaged.
 */
export const openAudit = async (options: OpenAuditOptions): Promise<AuditBroker> => {
  const { path, keyPath, headPath = headPathOf(path), sync, maxSize, keep, clock, log, agent } = options;
  const { schedule = systemSchedule, fs = nodeAuditFs, disk = createThreadSync(fs) } = options;
  let lock: AuditLock | undefined;
  try {
    if (options.lock && isLockable(path)) lock = await lockAudit(path, randomBytes, fs);
    const hasRecords =
      (statIfThere(fs, path)?.size ?? 0) > 0 || statIfThere(fs, headPath) !== undefined || isKeyInUse(keyPath, path);
    const key = hasRecords ? readAuditKey(fs, keyPath) : openAuditKey(fs, keyPath, randomBytes);
    const [fileSink] = AUDIT_SINKS;
    const sink = fileSink.create(
      { kind: "file", path, headPath, sync, maxSize, keep },
      { key, clock, log, schedule, fs, disk },
    );
    const broker = createAuditBroker({ sinks: [sink], clock, log, agent, schedule });
    return lock === undefined ? broker : releasing(broker, lock);
  } catch (error) {
    lock?.release();
    if (error instanceof SidekeyError) throw error;
    throw new SidekeyError("AUDIT_UNAVAILABLE", {
      detail: `${path}: ${errnoOf(error)}.`,
      hint: "It needs a directory that is there and that this user can write.",
      cause: error,
    });
  }
};

/**
 * Whether another log of the key's directory was written with it: a new key in its place would leave that log without
 * one. Looked at before the key is, so that of two that begin at once neither takes the other's log for an old one.
 */
const isKeyInUse = (keyPath: string, path: string): boolean => {
  const directory = dirname(keyPath);
  const logs = findAuditLogs(directory, join(directory, "audit.jsonl")).filter(({ path: each }) => !isVaultLog(each));
  return !isVaultLog(path) && logs.some((each) => filesOfLog(each.path).length > 0 || existsSync(each.headPath));
};

const releasing = (broker: AuditBroker, lock: AuditLock): AuditBroker => ({
  ...broker,
  async close() {
    await broker.close();
    lock.release();
  },
});

/** Errors: AUDIT_KEY_UNREADABLE. */
export const loadAuditKey = (path: string): Buffer => readAuditKey(nodeAuditFs, path);
