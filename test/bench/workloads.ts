/**
 * `npm run bench:workloads`: all that a sidecar meets beside small intercepted requests, as Markdown tables with the
 * ratios to nginx in the same run. Every subject runs from the start to the end on core 0 and only one of them works at
 * a time; the load and the upstream are on core 1. It asserts no figure; a subject that answers wrongly is left out with
 * its reason.
 */
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { cpus, loadavg, release, totalmem } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readMemory } from "./measure.ts";
import { PEERS } from "./subjects/index.ts";
import type { Subject } from "./subjects/subject.ts";
import { createWorkbench, hasNginx, type Workbench } from "./workbench.ts";
import { WORKLOADS } from "./workloads/index.ts";
import { formatWorkload, type Measured } from "./workloads/report.ts";
import { startWorkloadUpstream } from "./workloads/upstream.ts";
import type { Effort, Target, Workload } from "./workloads/workload.ts";

const FULL: Effort = { seconds: 1.5, warmSeconds: 0.8, tunnels: 2000, coldHosts: 500 };
const QUICK: Effort = { seconds: 0.5, warmSeconds: 0.3, tunnels: 100, coldHosts: 30 };
/** Before the idle memory is read. */
const SETTLE_MS = 1500;
const BEYOND = "varlock: its proxy dials the host of the request by DNS and cannot be led to an upstream of the bench";

const names = (all: readonly { readonly name: string }[]): string => all.map(({ name }) => name).join(",");

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    subjects: { type: "string", default: names(PEERS) },
    workloads: { type: "string", default: names(WORKLOADS) },
    startup: { type: "string", default: "" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const USAGE = `npm run bench:workloads -- [options]
  --quick           short windows, few tunnels and hosts, no start-up: to see that everything works
  --subjects LIST   of ${names(PEERS)} (default: all)
  --workloads LIST  of ${names(WORKLOADS)} (default: all)
  --startup N       rounds of bench:startup at the end (default 3, with --quick 0)
  --json FILE       figures as JSON to FILE as well`;

const choose = <Item extends { readonly name: string }>(all: readonly Item[], list: string): readonly Item[] =>
  list.split(",").map((name) => {
    const found = all.find((item) => item.name === name);
    if (found === undefined) throw new Error(`nothing is called ${name}\n${USAGE}`);
    return found;
  });

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

const firstLineOf = (file: string, ...args: readonly string[]): string => {
  const { stdout, stderr } = spawnSync(file, args, { encoding: "utf8" });
  return `${stdout ?? ""}${stderr ?? ""}`.split("\n")[0] ?? "";
};

const describeMachine = (): string => {
  const [cpu] = cpus();
  const versions = [`Node ${process.version}`, firstLineOf("nginx", "-v"), firstLineOf("haproxy", "-v")];
  return (
    `${new Date().toISOString().slice(0, 16)}Z; ${cpus().length} x ${cpu?.model.trim()}, ` +
    `${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}; load ${loadavg()[0]?.toFixed(1)} at the start; ` +
    versions.filter(Boolean).join(", ")
  );
};

/** Without the command line that processes.ts puts before it. */
const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replace(/^.*: (?=ended with )/, "")
    .replaceAll(/\s+/g, " ")
    .trim()
    .slice(0, 300);

const startAll = async (bench: Workbench, subjects: readonly Subject[]): Promise<readonly Target[]> => {
  const targets: Target[] = [];
  for (const subject of subjects) {
    say(`starting ${subject.name}`);
    const reason = subject.unavailable?.();
    if (reason !== undefined) console.log(`- without ${subject.name}: ${reason}`);
    else {
      try {
        const running = await subject.start(bench);
        await sleep(SETTLE_MS);
        targets.push({ subject, running, idleMemory: readMemory(running.pid).now });
      } catch (error) {
        console.log(`- without ${subject.name}: it did not start: ${reasonOf(error)}`);
      }
    }
  }
  return targets;
};

/** Whether this subject has that way in at all; if not, there is nothing to say of it. */
const takes = ({ subject, running }: Target, { way }: Workload): boolean =>
  way === "cleartext" ? running.cleartext !== undefined : subject.mode !== "cleartext";

const measure = async (bench: Workbench, target: Target, workload: Workload, effort: Effort): Promise<Measured> => {
  const subject = target.subject.name;
  say(`${workload.name}: ${subject}`);
  try {
    return { workload, subject, figures: await workload.run(bench, target, effort) };
  } catch (error) {
    return { workload, subject, reason: reasonOf(error) };
  }
};

const run = async (): Promise<void> => {
  if (!hasNginx()) throw new Error("needs nginx, for the upstream and as the mark to measure against");
  const effort = values.quick ? QUICK : FULL;
  const [subjects, workloads] = [choose(PEERS, values.subjects), choose(WORKLOADS, values.workloads)];
  const base = await createWorkbench([]);
  const onSignal = (): void => {
    say("interrupted");
    process.exitCode = 130;
    void base.close();
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    console.log(`${describeMachine()}\n`);
    if (!base.launcher.pinned) console.log("- not pinned: needs Linux, taskset and two cores; figures mean little");
    console.log(`- without ${BEYOND}`);
    const bench = { ...base, upstreamPort: await startWorkloadUpstream(base) };
    const targets = await startAll(bench, subjects);
    const all: Measured[] = [];
    for (const workload of workloads) {
      for (const target of targets) {
        if (process.exitCode === 130) return;
        if (takes(target, workload)) all.push(await measure(bench, target, workload, effort));
      }
      console.log(`\n${formatWorkload(workload, all)}`);
    }
    for (const { running } of targets) await running.close();
    if (values.json !== undefined) {
      const rows = all.map(({ workload, ...rest }) => ({ workload: workload.name, ...rest }));
      await writeFile(values.json, `${JSON.stringify({ machine: describeMachine(), rows }, null, 2)}\n`);
    }
  } finally {
    await base.close();
  }
};

const runStartup = (): void => {
  const rounds = values.startup || (values.quick ? "0" : "3");
  if (rounds === "0") return;
  const program = fileURLToPath(new URL("startup.ts", import.meta.url));
  const tsx = import.meta.resolve("tsx");
  console.log("### Start-up and memory, against `node -e 0`\n\n```");
  spawnSync(process.execPath, ["--import", tsx, program, "--runs", rounds], { stdio: "inherit" });
  console.log("```");
};

if (values.help) console.log(USAGE);
else {
  try {
    await run();
    if (process.exitCode === undefined) runStartup();
  } catch (error) {
    if (process.exitCode !== 130) {
      say(`bench: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
  }
}
