/** This process and this system: who runs it, and who else could look into it (guarantees.md, F1). */
import { readFileSync } from "node:fs";
import { availableParallelism, userInfo } from "node:os";
import { SidekeyError } from "../../core/errors.ts";
import { readVersion } from "../../core/version.ts";
import { connectionsThatFit, readProcessLimits } from "../../sidecar/app/process-limits.ts";
import { currentProcess, refuseOpenProcess, refuseUntrustedTls } from "../guard.ts";
import type { Environment } from "../terminal.ts";
import { type Finding, failed, finding } from "./finding.ts";

/** `limits.connections`. */
const DEFAULT_CONNECTIONS = 1024;

/** `connections`: what the file allows; undefined = it has problems. */
export const checkMachine = (environment: Environment, connections = DEFAULT_CONNECTIONS): readonly Finding[] => [
  finding(
    "ok",
    "sidekey",
    `${readVersion()}, Node.js ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores`,
  ),
  user(),
  ...openProcess(environment),
  ...memory(),
  ...limits(connections),
];

const user = (): Finding => {
  const uid = process.getuid?.();
  if (uid === undefined) return finding("info", "user", "users have no numbers here: modes of files are not checked");
  if (uid === 0) {
    return finding("info", "user", "root (uid 0)", "Give the agent a user of its own: sidekey run --user NAME -- CMD");
  }
  return finding(
    "info",
    "user",
    `${userName(uid)}: what runs under 'sidekey run' has the same user, and could read this program's memory`,
    "A boundary needs another user or container: see Deployment in the README.",
  );
};

const userName = (uid: number): string => {
  try {
    return `${userInfo().username} (uid ${uid})`;
  } catch {
    // A uid without an entry in passwd(5), as containers have it.
    return `uid ${uid}`;
  }
};

const openProcess = (environment: Environment): readonly Finding[] =>
  [() => refuseOpenProcess(currentProcess(environment)), () => refuseUntrustedTls(environment)].flatMap((refuse) => {
    try {
      refuse();
      return [];
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      return [failed("process", error)];
    }
  });

/** Linux's Yama: at 0 any program of the same user may attach to another (ptrace(2)). */
const memory = (): readonly Finding[] => {
  let scope: string;
  try {
    scope = readFileSync("/proc/sys/kernel/yama/ptrace_scope", "utf8").trim();
  } catch {
    return [];
  }
  if (scope !== "0")
    return [finding("ok", "memory", `programs cannot attach to others at will (ptrace_scope ${scope})`)];
  return [
    finding(
      "warn",
      "memory",
      "any program of this user can read the sidecar's memory (ptrace_scope 0)",
      "As root: sysctl kernel.yama.ptrace_scope=1",
    ),
  ];
};

const limits = (connections: number): readonly Finding[] => {
  const read = readProcessLimits();
  const { openFiles, coreBytes } = read;
  const found: Finding[] = [];
  if (openFiles !== undefined) {
    const fit = connectionsThatFit(connections, read);
    const files = openFiles === Number.POSITIVE_INFINITY ? "any number of open files" : `${openFiles} open files`;
    found.push(
      fit === connections
        ? finding("ok", "open files", `${files}, enough for limits.connections (${connections})`)
        : finding(
            "warn",
            "open files",
            `${files} hold ${fit} connections, fewer than limits.connections (${connections})`,
            "Raise it where the sidecar is started: ulimit -n 4096",
          ),
    );
  }
  if (coreBytes !== undefined && coreBytes !== 0) {
    found.push(
      finding("info", "core dumps", "on for this shell; the sidecar turns them off for itself when it starts"),
    );
  }
  return found;
};
