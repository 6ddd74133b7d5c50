/**
 * `npm run bench`: intercepted TLS, answers of 1 KB, keep-alive. Sidekey beside nginx and http-mitm-proxy, each alone
 * on core 0, the load and the upstream on core 1, in alternating runs. It prints medians and ratios and asserts none:
 * rates swing with the machine, CPU time per request is the figure to drive down.
 */
import type { LoadFigures, LoadPlan } from "./load.ts";
import { OTHER_CORE } from "./processes.ts";
import { formatTable, type Sample, summarize } from "./report.ts";
import { closedAfter, readSeriesOptions, runBench, type SeriesOptions, say, writeFigures } from "./series.ts";
import { SUBJECTS } from "./subjects/index.ts";
import type { RunningSubject, Subject } from "./subjects/subject.ts";
import { BODY_LENGTH, createWorkbench, HOST, nodeCommand, type Workbench } from "./workbench.ts";

/** V8 is still compiling Node subjects before that, which costs several times what a request costs afterwards. */
const WARM_REQUESTS = 30_000;
const WARM_CONNECTIONS = 64;

const USAGE = `npm run bench -- [options]
  --subjects LIST       of ${SUBJECTS.map(({ name }) => name).join(",")} (default: all)
  --connections LIST    default 1,64
  --runs N              alternating runs, default 3
  --seconds N           measured window, default 5
  --warm N              seconds before it, default 2 (each subject also answers ${WARM_REQUESTS} requests first)
  --json FILE           figures as JSON to FILE, or to standard output for "-"
  --node-arguments=ARGS flags for the Node subjects, such as "--cpu-prof --cpu-prof-dir=/tmp/profiles"`;

interface BenchOptions extends SeriesOptions {
  readonly subjects: readonly Subject[];
}

const readOptions = (args: readonly string[]): BenchOptions => {
  const lists = { subjects: SUBJECTS.map(({ name }) => name) };
  const { chosen, ...options } = readSeriesOptions(args, { usage: USAGE, connections: "1,64", warm: "2", lists });
  return { ...options, subjects: chosen("subjects").flatMap((one) => SUBJECTS.filter(({ name }) => name === one)) };
};

const runLoad = async (
  bench: Workbench,
  subject: Subject,
  running: RunningSubject,
  effort: Pick<LoadPlan, "connections" | "warmSeconds" | "warmRequests" | "seconds">,
): Promise<LoadFigures> => {
  const plan: LoadPlan = {
    ...effort,
    mode: subject.mode,
    port: running.port,
    host: HOST,
    ca: running.ca,
    bodyLength: BODY_LENGTH,
    pid: running.pid,
  };
  const load = bench.launcher.start(OTHER_CORE, nodeCommand("load.ts", plan));
  return JSON.parse(await load.output) as LoadFigures;
};

const runSubject = async (bench: Workbench, subject: Subject, run: number, options: BenchOptions) => {
  const { seconds, warmSeconds } = options;
  const samples: Sample[] = [];
  const running = await subject.start(bench);
  const discarded = { connections: WARM_CONNECTIONS, warmSeconds: 0, warmRequests: WARM_REQUESTS, seconds: 1 };
  await runLoad(bench, subject, running, discarded);
  for (const connections of options.connections) {
    const effort = { connections, warmSeconds, warmRequests: 0, seconds };
    const figures = await runLoad(bench, subject, running, effort);
    samples.push({ subject: subject.name, connections, run, figures });
    say(
      `run ${run} ${subject.name} x${connections}: ${figures.rate.toFixed(0)} req/s, ` +
        `${figures.cpuPerRequest.toFixed(1)} us CPU per request`,
    );
  }
  await running.close();
  return samples;
};

const bench = async (options: BenchOptions): Promise<void> => {
  const subjects = options.subjects.filter((subject) => {
    const reason = subject.unavailable?.();
    if (reason !== undefined) say(`without ${subject.name}: ${reason}`);
    return reason === undefined;
  });
  const workbench = await createWorkbench(options.nodeArguments);
  await closedAfter(
    () => workbench.close(),
    async () => {
      if (!workbench.launcher.pinned) say("not pinned: needs Linux, taskset and two cores; figures mean little");
      if (workbench.upstreamKind === "node") say("upstream: node:https, as nginx is not installed");
      const samples: Sample[] = [];
      for (let run = 1; run <= options.runs; run++) {
        for (const subject of subjects) samples.push(...(await runSubject(workbench, subject, run, options)));
      }
      const rows = summarize(samples);
      await writeFigures(options.json, formatTable(rows), { host: HOST, bodyLength: BODY_LENGTH, rows, samples });
    },
  );
};

await runBench(() => bench(readOptions(process.argv.slice(2))));
