/**
 * `npm run bench`: intercepted TLS, answers of 1 KB, keep-alive. Sidekey beside nginx and http-mitm-proxy, each alone
 * on core 0, the load and the upstream on core 1, in alternating runs. It prints medians and ratios and asserts none:
 * rates swing with the machine, CPU time per request is the figure to drive down.
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { LoadFigures, LoadPlan } from "./load.ts";
import { OTHER_CORE } from "./processes.ts";
import { formatTable, type Sample, summarize } from "./report.ts";
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

interface BenchOptions {
  readonly subjects: readonly Subject[];
  readonly connections: readonly number[];
  readonly runs: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly json: string | undefined;
  readonly nodeArguments: readonly string[];
}

const readOptions = (args: readonly string[]): BenchOptions => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      subjects: { type: "string", default: SUBJECTS.map(({ name }) => name).join(",") },
      connections: { type: "string", default: "1,64" },
      runs: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      warm: { type: "string", default: "2" },
      json: { type: "string" },
      "node-arguments": { type: "string", default: "" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const positive = (text: string): number => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`not a number above 0: ${text}\n${USAGE}`);
    return value;
  };
  const subjects = values.subjects.split(",").map((name) => {
    const subject = SUBJECTS.find((candidate) => candidate.name === name);
    if (subject === undefined) throw new Error(`no subject ${name}\n${USAGE}`);
    return subject;
  });
  return {
    subjects,
    connections: values.connections.split(",").map(positive),
    runs: positive(values.runs),
    seconds: positive(values.seconds),
    warmSeconds: positive(values.warm),
    json: values.json,
    nodeArguments: values["node-arguments"].split(" ").filter(Boolean),
  };
};

/** Standard error, so that `--json -` leaves standard output to the JSON. */
const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
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
  // What is running is ended, its failure ends the run, and `finally` removes the directory.
  const onSignal = (): void => {
    say("interrupted");
    process.exitCode = 130;
    void workbench.close();
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    if (!workbench.launcher.pinned) say("not pinned: needs Linux, taskset and two cores; figures mean little");
    if (workbench.upstreamKind === "node") say("upstream: node:https, as nginx is not installed");
    const samples: Sample[] = [];
    for (let run = 1; run <= options.runs; run++) {
      for (const subject of subjects) samples.push(...(await runSubject(workbench, subject, run, options)));
    }
    const rows = summarize(samples);
    const json = `${JSON.stringify({ node: process.version, host: HOST, bodyLength: BODY_LENGTH, rows, samples }, null, 2)}\n`;
    if (options.json === "-") process.stdout.write(json);
    else {
      console.log(formatTable(rows));
      if (options.json !== undefined) await writeFile(options.json, json);
    }
  } finally {
    await workbench.close();
  }
};

try {
  await bench(readOptions(process.argv.slice(2)));
} catch (error) {
  if (process.exitCode !== 130) {
    say(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
