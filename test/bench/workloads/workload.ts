/** What the bench asks of a workload: run against one subject, and say which figures its table shows. */
import type { LoadFigures, LoadPlan } from "../load.ts";
import { OTHER_CORE } from "../processes.ts";
import type { RunningSubject, Subject } from "../subjects/subject.ts";
import { HOST, nodeCommand, type Workbench } from "../workbench.ts";

export interface Effort {
  /** Measured window, and what comes before it. `s` */
  readonly seconds: number;
  readonly warmSeconds: number;
  /** Idle tunnels to open. */
  readonly tunnels: number;
  readonly coldHosts: number;
}

/** A subject that runs, for as long as the bench does. */
export interface Target {
  readonly subject: Subject;
  readonly running: RunningSubject;
  /** Resident after its start, before any request. `MiB` */
  readonly idleMemory: number;
}

export interface Column {
  /** Of the figures. */
  readonly name: string;
  /** With the unit. */
  readonly label: string;
  readonly digits: number;
  /** Against nginx: divided by its figure, less its figure, or not at all. */
  readonly against: "ratio" | "difference" | "nothing";
}

export type Figures = Readonly<Record<string, number>>;

export interface Workload {
  readonly name: string;
  readonly title: string;
  /** `intercepted`: TLS on both legs; `cleartext`: HTTP in, TLS out. */
  readonly way: "intercepted" | "cleartext";
  readonly columns: readonly Column[];
  run(bench: Workbench, target: Target, effort: Effort): Promise<Figures>;
}

const column =
  (against: Column["against"]) =>
  (name: string, label: string, digits: number): Column => ({
    name,
    label,
    digits,
    against,
  });
export const ratio = column("ratio");
export const difference = column("difference");
export const plain = column("nothing");

/** Longest that one program may take, so that a peer that hangs is left out and the rest goes on. */
const PROGRAM_MS = 60_000;

/** Runs a load program on the other core; what it prints as JSON. */
export const runProgram = async (bench: Workbench, program: string, plan: unknown): Promise<Figures> => {
  const started = bench.launcher.start(OTHER_CORE, nodeCommand(program, plan));
  const timer = setTimeout(() => void started.close(), PROGRAM_MS);
  try {
    return JSON.parse(await started.output) as Figures;
  } finally {
    clearTimeout(timer);
  }
};

/** Where and how a load program gets in. */
export const entranceOf = ({ subject, running }: Target) => ({
  mode: subject.mode,
  port: running.port,
  host: HOST,
  ca: running.ca,
  pid: running.pid,
});

type LoadChoice = Pick<LoadPlan, "connections" | "bodyLength" | "path"> & { readonly uploadBytes?: number };

/** Requests over keep-alive connections, one in flight on each. */
export const runRequests = async (
  bench: Workbench,
  target: Target,
  way: Workload["way"],
  { seconds, warmSeconds }: Effort,
  choice: LoadChoice,
): Promise<Figures> => {
  const { cleartext } = target.running;
  const plan: LoadPlan = { ...entranceOf(target), ...choice, seconds, warmSeconds, warmRequests: 0 };
  if (way === "intercepted") return runProgram(bench, "load.ts", plan);
  if (cleartext === undefined) throw new Error("it takes no cleartext requests");
  const { port, prefix, authority } = cleartext;
  const path = `${prefix}${choice.path ?? "/"}`;
  return runProgram(bench, "load.ts", { ...plan, mode: "cleartext", port, authority, path });
};

export const REQUEST_COLUMNS: readonly Column[] = [
  ratio("rate" satisfies keyof LoadFigures, "req/s", 0),
  ratio("medianLatency" satisfies keyof LoadFigures, "p50 ms", 2),
  ratio("p99Latency" satisfies keyof LoadFigures, "p99 ms", 2),
  ratio("cpuPerRequest" satisfies keyof LoadFigures, "CPU µs", 0),
  plain("percentBusy", "busy %", 0),
];

export const withPercent = (figures: Figures): Figures => ({
  ...figures,
  percentBusy: (figures["busy"] ?? Number.NaN) * 100,
});
