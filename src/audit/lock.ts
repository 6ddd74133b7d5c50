/**
 * One process per audit file (ruling 9). Node has no flock, so a file beside the log names its holder by pid and, where
 * /proc tells it, the time that process started: a pid that was given to another process holds nothing. Beside it the
 * holder keeps a socket open (beacon.ts), for those that see the file and not the process. A lock that nobody holds any
 * more is taken over under a lock of its own, so that of many that try one wins.
 */
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { SidekeyError } from "../core/errors.ts";
import { askBeacon, openBeacon, removeBeacon } from "./beacon.ts";
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
export const systemProcesses = (fs: AuditFs): Processes => {
  /** proc(5): from field 3 on; the command in field 2 may hold spaces and parentheses, so count behind its last one. */
  const statOf = (pid: number): readonly string[] => {
    try {
      const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    } catch {
      // No /proc, or no such process: the caller has another way to tell.
      return [];
    }
  };
  return {
    pid: process.pid,
    startTime: (pid) => statOf(pid)[19],
    isAlive(pid) {
      try {
        process.kill(pid, 0);
      } catch (error) {
        if (errnoOf(error) === "ESRCH") return false;
      }
      // Dead, but nobody took notice (a container whose first process reaps nothing): it holds no file any more.
      return !/^[ZX]$/.test(statOf(pid)[0] ?? "");
    },
  };
};

/** What is known of the sockets beside locks, by the nonce of each. */
export interface Beacons {
  /** Whether this process keeps one open. */
  readonly own: boolean;
  /** Undefined where it was not asked yet. */
  answers(nonce: string): boolean | undefined;
  /** What a dead holder left. */
  remove(nonce: string): void;
}

const NO_BEACONS: Beacons = { own: false, answers: () => false, remove: () => undefined };

/** Thrown where a lock cannot be judged before its holder's socket was asked. */
class Unasked extends Error {
  readonly nonce: string;

  constructor(nonce: string) {
    super("the holder's socket was not asked yet");
    this.nonce = nonce;
  }
}

interface Holder {
  readonly pid: number;
  readonly startTime: string;
  /** Tells two locks of one process apart. */
  readonly nonce: string;
  readonly hasBeacon: boolean;
}

const HOLDER = /^([1-9][0-9]{0,9}) ([0-9]+|-) ([0-9a-f]{16})( socket)?\n$/;

/** Our locks appear whole, so a file that is none was left by a power loss and has no holder. */
const NOBODY: Holder = { pid: 0, startTime: "-", nonce: "broken", hasBeacon: false };

const readHolder = (fs: AuditFs, lockPath: string): Holder | undefined => {
  try {
    const [, pid, startTime, nonce, socket] = HOLDER.exec(fs.readFileSync(lockPath, "utf8")) ?? [];
    if (pid === undefined || startTime === undefined || nonce === undefined) return NOBODY;
    return { pid: Number(pid), startTime, nonce, hasBeacon: socket !== undefined };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

/** Who holds it, in words; undefined when nobody does. */
const heldBy = (holder: Holder, processes: Processes, beacons: Beacons): string | undefined => {
  if (isHeld(holder, processes)) return `process ${holder.pid}`;
  if (!holder.hasBeacon) return undefined;
  const answer = beacons.answers(holder.nonce);
  if (answer === undefined) throw new Unasked(holder.nonce);
  return answer ? `process ${holder.pid} of another container` : undefined;
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

interface Parties {
  readonly fs: AuditFs;
  readonly processes: Processes;
  readonly beacons: Beacons;
  readonly nonce: string;
  readonly path: string;
}

/** Under `lockPath`; a lock for taking over a lock that was taken over is the same thing one level deeper. */
const acquire = (parties: Parties, lockPath: string): AuditLock => {
  const { fs, processes, beacons, nonce, path } = parties;
  const own = `${lockPath}.${nonce}`;
  const socket = beacons.own ? " socket" : "";
  const text = `${processes.pid} ${processes.startTime(processes.pid) ?? "-"} ${nonce}${socket}\n`;
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
      const who = heldBy(holder, processes, beacons);
      if (who !== undefined) throw locked(path, who);
      const takeover = acquire(parties, `${lockPath}.${holder.nonce}`);
      try {
        if (readHolder(fs, lockPath)?.nonce === holder.nonce) {
          if (holder.hasBeacon) beacons.remove(holder.nonce);
          fs.unlinkSync(lockPath);
        }
      } finally {
        takeover.release();
      }
    }
    throw locked(path, "processes that come and go");
  } finally {
    fs.unlinkSync(own);
  }
};

const lockPathOf = (path: string): string => `${join(realpathSync(dirname(path)), basename(path))}.lock`;

/** `lockAudit` without a socket of its own, and with what is known of those of others. */
export const takeLock = (
  path: string,
  nonce: string,
  fs: AuditFs,
  processes: Processes = systemProcesses(fs),
  beacons: Beacons = NO_BEACONS,
): AuditLock => acquire({ fs, processes, beacons, nonce, path }, lockPathOf(path));

/**
 * Takes the lock of an audit file, `<path>.lock`, for this process.
 *
 * @param random random bytes
 * Errors: AUDIT_LOCKED, naming the holder's pid; system errors as they are.
 */
export const lockAudit = async (
  path: string,
  random: (bytes: number) => Buffer,
  fs: AuditFs,
  processes: Processes = systemProcesses(fs),
): Promise<AuditLock> => {
  const lockPath = lockPathOf(path);
  const socketOf = (nonce: string): string => `${lockPath}.${nonce}.sock`;
  const nonce = random(8).toString("hex");
  // First of all: where the lock names a socket, somebody listens on it for as long as the holder lives.
  const beacon = await openBeacon(socketOf(nonce));
  const asked = new Map<string, boolean>();
  const beacons: Beacons = {
    own: beacon !== undefined,
    answers: (other) => asked.get(other),
    remove: (other) => removeBeacon(socketOf(other)),
  };
  try {
    for (;;) {
      try {
        const lock = takeLock(path, nonce, fs, processes, beacons);
        return {
          release() {
            lock.release();
            beacon?.close();
          },
        };
      } catch (error) {
        if (!(error instanceof Unasked)) throw error;
        asked.set(error.nonce, await askBeacon(socketOf(error.nonce)));
      }
    }
  } catch (error) {
    beacon?.close();
    throw error;
  }
};

/** Devices such as /dev/full are shared by nature and have no place for a lock beside them. */
export const isLockable = (path: string): boolean => !path.startsWith("/dev/");
