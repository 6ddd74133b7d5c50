/**
 * `npm run bench:vault`: reads, token issues, redemptions and writes of the vault's server, audit on, beside OpenBao with
 * an audit device of its own, on embedded storage and on PostgreSQL, by turns. Cleartext HTTP on loopback, keep-alive. It
 * prints medians and ratios and asserts none.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCloser } from "../../src/core/closer.ts";
import { createLauncher, OTHER_CORE } from "./processes.ts";
import { closedAfter, readSeriesOptions, runBench, type SeriesOptions, say, writeFigures } from "./series.ts";
import { noDatabase, startDatabase } from "./vault/database.ts";
import type { VaultLoadFigures, VaultLoadPlan } from "./vault/load.ts";
import { OPENBAO } from "./vault/openbao.ts";
import { formatVaultTable, summarizeVaults, type VaultSample } from "./vault/report.ts";
import { SIDEKEY } from "./vault/sidekey.ts";
import { OPERATIONS, type Operation, type RunningVault, type VaultBench, type VaultSubject } from "./vault/subject.ts";
import { nodeCommand } from "./workbench.ts";

const SUBJECTS: readonly VaultSubject[] = [...SIDEKEY, ...OPENBAO];
/** V8 is still compiling before that. */
const WARM_REQUESTS: Readonly<Record<Operation, number>> = { read: 20_000, issue: 3000, redeem: 5000, write: 1000 };
const WARM_CONNECTIONS = 16;

const USAGE = `npm run bench:vault -- [options]
  --subjects LIST       of ${SUBJECTS.map(({ name }) => name).join(",")} (default: all)
  --operations LIST     of ${OPERATIONS.join(",")} (default: all)
  --connections LIST    default 1,32
  --runs N              alternating runs, default 3
  --seconds N           measured window, default 5
  --warm N              seconds before it, default 1 (each subject first answers thousands of requests)
  --json FILE           figures as JSON to FILE, or to standard output for "-"
  --node-arguments=ARGS flags for sidekey's Node, such as "--cpu-prof --cpu-prof-dir=/tmp/profiles"`;

interface BenchOptions extends SeriesOptions {
  readonly subjects: readonly VaultSubject[];
  readonly operations: readonly Operation[];
}

const readOptions = (args: readonly string[]): BenchOptions => {
  const lists = { subjects: SUBJECTS.map(({ name }) => name), operations: OPERATIONS };
  const { chosen, ...options } = readSeriesOptions(args, { usage: USAGE, connections: "1,32", warm: "1", lists });
  return {
    ...options,
    subjects: chosen("subjects").flatMap((one) => SUBJECTS.filter(({ name }) => name === one)),
    operations: chosen("operations").flatMap((one) => OPERATIONS.filter((name) => name === one)),
  };
};

const runLoad = async (bench: VaultBench, plan: VaultLoadPlan): Promise<VaultLoadFigures> => {
  // In a file, because there are tokens in it.
  const file = join(bench.directory, "plan.json");
  await writeFile(file, JSON.stringify(plan), { mode: 0o600 });
  const [node = "", ...flags] = nodeCommand("vault/load.ts", null).slice(0, -1);
  const load = bench.launcher.start(OTHER_CORE, [node, ...flags, file]);
  return JSON.parse(await load.output) as VaultLoadFigures;
};

const runOperation = async (
  bench: VaultBench,
  running: RunningVault,
  operation: Operation,
  effort: Pick<VaultLoadPlan, "connections" | "warmSeconds" | "warmRequests" | "seconds" | "databasePid">,
): Promise<VaultLoadFigures | undefined> => {
  const exchange = running.exchange(operation);
  if (exchange === undefined) return undefined;
  return await runLoad(bench, { ...effort, pid: running.pid, port: running.port, exchange });
};

const runSubject = async (bench: VaultBench, subject: VaultSubject, run: number, options: BenchOptions) => {
  const { seconds, warmSeconds } = options;
  const { name, storage, isReference } = subject;
  const databasePid = storage === "postgres" ? bench.database?.pid : undefined;
  const samples: VaultSample[] = [];
  const running = await subject.start(bench);
  for (const operation of options.operations) {
    const warm = {
      connections: WARM_CONNECTIONS,
      warmSeconds: 0,
      warmRequests: WARM_REQUESTS[operation],
      seconds: 0.5,
    };
    if ((await runOperation(bench, running, operation, warm)) === undefined) continue;
    for (const connections of options.connections) {
      const effort = { connections, warmSeconds, warmRequests: 0, seconds, databasePid };
      const figures = await runOperation(bench, running, operation, effort);
      if (figures === undefined) continue;
      samples.push({ subject: name, storage, isReference, operation, connections, run, figures });
      say(
        `run ${run} ${name} ${operation} x${connections}: ${figures.rate.toFixed(0)} req/s, ` +
          `${figures.medianLatency.toFixed(2)} ms, ${figures.cpuPerRequest.toFixed(1)} us CPU per request`,
      );
    }
  }
  await running.close();
  return samples;
};

const bench = async (options: BenchOptions): Promise<void> => {
  const closer = createCloser();
  const work = async (): Promise<void> => {
    const directory = await mkdtemp(join(tmpdir(), "sidekey-bench-vault-"));
    closer.add({ close: () => rm(directory, { recursive: true, force: true }) });
    const wantsDatabase = options.subjects.some(({ storage }) => storage === "postgres") && noDatabase() === undefined;
    const database = wantsDatabase ? closer.add(await startDatabase()) : undefined;
    const vaultBench = { directory, launcher: createLauncher(closer), nodeArguments: options.nodeArguments, database };
    if (!vaultBench.launcher.pinned) say("not pinned: needs Linux, taskset and two cores; figures mean little");
    const subjects = options.subjects.filter((subject) => {
      const reason = subject.unavailable(vaultBench);
      if (reason !== undefined) say(`without ${subject.name}: ${reason}`);
      return reason === undefined;
    });
    const samples: VaultSample[] = [];
    for (let run = 1; run <= options.runs; run++) {
      for (const subject of subjects) samples.push(...(await runSubject(vaultBench, subject, run, options)));
    }
    const rows = summarizeVaults(samples);
    await writeFigures(options.json, formatVaultTable(rows), { rows, samples });
  };
  await closedAfter(() => closer.close(), work);
};

await runBench(() => bench(readOptions(process.argv.slice(2))));
