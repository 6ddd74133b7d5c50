/**
 * One process per audit file (ruling 9). Node has no flock, so a file beside the log names its holder by pid and, where
 * /proc tells it, the time that process started: a pid that was given to another process holds nothing. A lock that
 * nobody holds any more is taken over under a lock of its own, so that of many that try one wins.
 */
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { SidekeyError } from "../core/errors.ts";
import { type AuditFs, createWhole, errnoOf, isAbsent } from "./file-access.ts";

/** What a lock needs to know about processes; passed in so that tests can have dead and recycled ones. */
export interface Processes {
  readonly pid: number;
  /** In clock ticks since boot; undefined where it can't be told. */
  startTime(pid: number): string | undefined;
  isAlive(pid: number): boolean;
}

export interface AuditLock {
  release(): void;
}

/** Processes as the kernel of Linux tells them; elsewhere by pid alone. */
export const systemProcesses = (fs: AuditFs): Processes => ({
  pid: process.pid,
  startTime(pid) {
    try {
      // proc(5): field 22; the command in field 2 may hold spaces and parentheses, so count behind its last one.
      const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    } catch {
      return undefined;
    }
  },
  isAlive(pid) {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return errnoOf(error) !== "ESRCH";
    }
  },
});

interface Holder {
  readonly pid: number;
  readonly startTime: string;
  /** Tells two locks of one process apart. */
  readonly nonce: string;
}

const HOLDER = /^([1-9][0-9]{0,9}) ([0-9]+|-) ([0-9a-f]{16})\n$/;

/** Our locks appear whole, so a file that is none was left by a power loss and has no holder. */
const NOBODY: Holder = { pid: 0, startTime: "-", nonce: "broken" };

const readHolder = (fs: AuditFs, lockPath: string): Holder | undefined => {
  try {
    const [, pid, startTime, nonce] = HOLDER.exec(fs.readFileSync(lockPath, "utf8")) ?? [];
    if (pid === undefined || startTime === undefined || nonce === undefined) return NOBODY;
    return { pid: Number(pid), startTime, nonce };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

const isHeld = (holder: Holder, processes: Processes): boolean => {
  if (holder === NOBODY || !processes.isAlive(holder.pid)) return false;
  const startTime = processes.startTime(holder.pid);
  return startTime === undefined || holder.startTime === "-" || startTime === holder.startTime;
};

const locked = (path: string, who: string): SidekeyError =>
  new SidekeyError("AUDIT_LOCKED", { detail: `${path} is held by ${who}.` });

/** Attempts before giving up on a lock that changes hands all the time. */
const ATTEMPTS = 100;

/** Under `lockPath`; a lock for taking over a lock that was taken over is the same thing one level deeper. */
const acquire = (fs: AuditFs, processes: Processes, nonce: string, path: string, lockPath: string): AuditLock => {
  const own = `${lockPath}.${nonce}`;
  const text = `${processes.pid} ${processes.startTime(processes.pid) ?? "-"} ${nonce}\n`;
  const release = (): void => {
    if (readHolder(fs, lockPath)?.nonce === nonce) fs.unlinkSync(lockPath);
  };
  createWhole(fs, own, text);
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        // A link appears with its whole content, or not at all.
        fs.linkSync(own, lockPath);
        return { release };
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
      }
      const holder = readHolder(fs, lockPath);
      if (holder === undefined) continue;
      if (isHeld(holder, processes)) throw locked(path, `process ${holder.pid}`);
      const takeover = acquire(fs, processes, nonce, path, `${lockPath}.${holder.nonce}`);
      try {
        if (readHolder(fs, lockPath)?.nonce === holder.nonce) fs.unlinkSync(lockPath);
      } finally {
        takeover.release();
      }
    }
    throw locked(path, "processes that come and go");
  } finally {
    fs.unlinkSync(own);
  }
};

/**
 * Takes the lock of an audit file, `<path>.lock`, for this process.
 *
 * @param random random bytes
 * Errors: AUDIT_LOCKED, naming the holder's pid.
 */
export const lockAudit = (
  path: string,
  random: (bytes: number) => Buffer,
  fs: AuditFs,
  processes: Processes = systemProcesses(fs),
): AuditLock => {
  const lockPath = `${join(realpathSync(dirname(path)), basename(path))}.lock`;
  return acquire(fs, processes, random(8).toString("hex"), path, lockPath);
};

/** Devices such as /dev/full are shared by nature and have no place for a lock beside them. */
export const isLockable = (path: string): boolean => !path.startsWith("/dev/");
