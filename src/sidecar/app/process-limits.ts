/** What the system allows this process: open files, and core dumps, in which every secret in memory would lie. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Log } from "../../core/log.ts";

export interface ProcessLimits {
  /** Open files, soft limit; undefined where the system does not say. */
  readonly openFiles: number | undefined;
  /** Bytes of a core dump, soft limit. */
  readonly coreBytes: number | undefined;
}

/** Sockets of one intercepted client: its own, and the upstream's. */
const FILES_PER_CLIENT = 2;
/** For the audit, the vault, the listeners, the log, and what libraries open. */
const RESERVED_FILES = 64;

/** Text of `/proc/self/limits` (Linux, proc_pid_limits(5)). */
export const parseLimits = (text: string): ProcessLimits => {
  const soft = (name: string): number | undefined => {
    const value = new RegExp(`^${name}\\s+(\\d+|unlimited)\\s`, "m").exec(text)?.[1];
    if (value === undefined) return undefined;
    return value === "unlimited" ? Number.POSITIVE_INFINITY : Number(value);
  };
  return { openFiles: soft("Max open files"), coreBytes: soft("Max core file size") };
};

export const readProcessLimits = (): ProcessLimits => {
  try {
    return parseLimits(readFileSync("/proc/self/limits", "utf8"));
  } catch {
    // No /proc: nothing is known, and nothing is claimed.
    return { openFiles: undefined, coreBytes: undefined };
  }
};

/** Client connections that fit into nine tenths of the open files, so that audit and vault always find one. */
export const connectionsThatFit = (wanted: number, { openFiles }: ProcessLimits): number => {
  if (openFiles === undefined || openFiles === Number.POSITIVE_INFINITY) return wanted;
  const room = Math.floor((openFiles * 0.9 - RESERVED_FILES) / FILES_PER_CLIENT);
  return Math.max(1, Math.min(wanted, room));
};

/**
 * No core dump of this process, from here on; says so in the log where that cannot be had. The hard limit stays: what
 * runs under `run` inherits it, and may want dumps of its own.
 */
export const forbidCoreDumps = (log: Pick<Log, "warn">, { coreBytes }: ProcessLimits): void => {
  if (coreBytes === 0 || coreBytes === undefined) return;
  // Node has no setrlimit; prlimit is part of util-linux.
  const { status } = spawnSync("prlimit", [`--pid=${process.pid}`, "--core=0:"], { stdio: "ignore" });
  if (status !== 0) log.warn("a crash would leave a core dump with secrets in it: set 'ulimit -c 0'");
};
