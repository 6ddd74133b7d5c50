/** Medians over the runs, ratios against the first subject, as a table and as JSON. It asserts no figure. */
import type { LoadFigures } from "./load.ts";
import { median } from "./measure.ts";
import { alignedTable } from "./table.ts";

export interface Sample {
  readonly subject: string;
  readonly connections: number;
  /** From 1. */
  readonly run: number;
  readonly figures: LoadFigures;
}

type FigureName = keyof LoadFigures;

export interface Row {
  readonly subject: string;
  readonly connections: number;
  readonly runs: number;
  /** Medians over the runs. */
  readonly figures: LoadFigures;
  /** Against the reference subject at the same number of connections. */
  readonly ratios?: { readonly rate: number; readonly cpuPerRequest: number; readonly medianLatency: number };
}

const FIGURES: readonly FigureName[] = [
  "requests",
  "seconds",
  "rate",
  "medianLatency",
  "p99Latency",
  "cpuPerRequest",
  "busy",
  "memory",
  "peakMemory",
];

export const REFERENCE = "nginx";

export const summarize = (samples: readonly Sample[]): readonly Row[] => {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const key = `${sample.connections} ${sample.subject}`;
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  const rows = [...groups.values()].flatMap((group) => {
    const [first] = group;
    return first === undefined
      ? []
      : [{ subject: first.subject, connections: first.connections, runs: group.length, figures: medians(group) }];
  });
  return rows.map((row) => {
    const reference = rows.find(({ subject, connections }) => subject === REFERENCE && connections === row.connections);
    return reference === undefined ? row : { ...row, ratios: compare(row.figures, reference.figures) };
  });
};

const medians = (group: readonly Sample[]): LoadFigures =>
  Object.fromEntries(
    FIGURES.map((name) => [name, median(group.map(({ figures }) => figures[name]))]),
  ) as unknown as LoadFigures;

const compare = (own: LoadFigures, reference: LoadFigures) => ({
  rate: own.rate / reference.rate,
  cpuPerRequest: own.cpuPerRequest / reference.cpuPerRequest,
  medianLatency: own.medianLatency / reference.medianLatency,
});

const HEADINGS = ["", "req/s", "x", "p50 ms", "x", "p99 ms", "CPU us/req", "x", "busy %", "RSS MiB", "peak"] as const;

export const formatTable = (rows: readonly Row[]): string =>
  [...new Set(rows.map(({ connections }) => connections))]
    .map((connections) => {
      const section = rows.filter((row) => row.connections === connections);
      const title = `${connections} connection${connections === 1 ? "" : "s"}, medians (x: against ${REFERENCE})`;
      return [title, ...alignedTable(HEADINGS, section.map(cells)), ""].join("\n");
    })
    .join("\n");

const cells = ({ subject, figures, ratios }: Row): readonly string[] => [
  subject,
  figures.rate.toFixed(0),
  ratios?.rate.toFixed(2) ?? "-",
  figures.medianLatency.toFixed(3),
  ratios?.medianLatency.toFixed(2) ?? "-",
  figures.p99Latency.toFixed(3),
  figures.cpuPerRequest.toFixed(1),
  ratios?.cpuPerRequest.toFixed(2) ?? "-",
  (figures.busy * 100).toFixed(0),
  figures.memory.toFixed(0),
  figures.peakMemory.toFixed(0),
];
