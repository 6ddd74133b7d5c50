/**
 * Figures of a process and of a sample, read from /proc (Linux) and never guessed: what cannot be read throws.
 */
import { readFileSync } from "node:fs";

/** USER_HZ: `proc(5)` counts utime and stime in hundredths of a second on every platform that Node supports. */
const MICROSECONDS_PER_TICK = 10_000;

/** CPU time used so far by a process with all its threads, user and system, in microseconds. */
export const readCpuMicroseconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The second field is the command in parentheses and may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!Number.isFinite(ticks)) throw new Error(`cannot read the CPU time of process ${pid}`);
  return ticks * MICROSECONDS_PER_TICK;
};

/**
 * Of a process, what it started and lives, and what it started and saw end: utime, stime, cutime and cstime of `proc(5)`.
 * For PostgreSQL, which has a process for each connection.
 */
export const readFamilyCpuMicroseconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ended = (Number(fields[13]) + Number(fields[14])) * MICROSECONDS_PER_TICK;
  if (!Number.isFinite(ended)) throw new Error(`cannot read the CPU time of process ${pid}`);
  return readChildren(pid).reduce((sum, child) => sum + cpuIfThere(child), readCpuMicroseconds(pid) + ended);
};

/** Nothing where it has just ended: its parent counts it then. */
const cpuIfThere = (pid: number): number => {
  try {
    return readCpuMicroseconds(pid);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return 0;
    throw error;
  }
};

export interface Memory {
  /** Resident set now, `MiB`. */
  readonly now: number;
  /** Highest resident set so far, `MiB`. */
  readonly peak: number;
}

export const readMemory = (pid: number): Memory => {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const mebibytes = (name: string): number => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status);
    if (found === null) throw new Error(`cannot read ${name} of process ${pid}`);
    return Number(found[1]) / 1024;
  };
  return { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") };
};

/** Processes started by `pid`'s main thread and still alive. */
export const readChildren = (pid: number): readonly number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number);

/** Nearest-rank percentile, `share` in 0..1, of values in ascending order. */
export const percentile = (ascending: Float64Array, share: number): number =>
  ascending[Math.max(0, Math.ceil(ascending.length * share) - 1)] ?? Number.NaN;

export const median = (values: readonly number[]): number => {
  const ascending = Float64Array.from(values).sort();
  const middle = ascending.length >> 1;
  const upper = ascending[middle] ?? Number.NaN;
  return ascending.length % 2 === 1 ? upper : (upper + (ascending[middle - 1] ?? Number.NaN)) / 2;
};
