/** New connections, each with one request: with full handshakes, with resumed sessions, and to hosts never seen. */
import { COLD_HOSTS, HOST } from "../workbench.ts";
import { entranceOf, plain, ratio, runProgram, type Workload } from "./workload.ts";

const PARALLEL = 8;
/** Of one host, more than any subject makes in a window. */
const UNLIMITED = 1_000_000;
/** Some peers make a key of RSA for each host and would need minutes. `s` */
const COLD_SECONDS = 12;
/** Below the 50 certificates a second that Sidekey makes for one agent (threat H3) before it answers OVERLOADED. `ms` */
const COLD_GAP_MS = 22;

const columns = [
  ratio("rate", "conn/s", 0),
  ratio("median", "p50 ms", 1),
  ratio("p99", "p99 ms", 1),
  ratio("cpu", "CPU µs", 0),
  plain("resumed", "resumed %", 0),
];

const create = (name: string, title: string, isResuming: boolean): Workload => ({
  name,
  title: `New connections, ${PARALLEL} at once, ${title}`,
  way: "intercepted",
  columns,
  run: (bench, target, { seconds, warmSeconds }) =>
    runProgram(bench, "programs/connections.ts", {
      ...entranceOf(target),
      hosts: [HOST],
      parallel: PARALLEL,
      isResuming,
      warmSeconds,
      seconds,
      limit: UNLIMITED,
      gapMs: 0,
    }),
});

export const full = create("connections", "without session resumption", false);
export const resumed = create("resumed", "with session resumption", true);

export const cold: Workload = {
  name: "cold",
  title: `${COLD_HOSTS.length} cold hosts, at most ${PARALLEL} at once, one each ${COLD_GAP_MS} ms, for at most ${COLD_SECONDS} s (nginx and haproxy mint nothing: one wildcard certificate)`,
  way: "intercepted",
  columns: [...columns.slice(0, -1), plain("connections", "hosts", 0)],
  run: (bench, target, { coldHosts }) =>
    runProgram(bench, "programs/connections.ts", {
      ...entranceOf(target),
      hosts: COLD_HOSTS.slice(0, coldHosts),
      parallel: PARALLEL,
      isResuming: false,
      warmSeconds: 0,
      seconds: COLD_SECONDS,
      limit: coldHosts,
      gapMs: COLD_GAP_MS,
    }),
};
