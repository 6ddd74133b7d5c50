/** Medians over the runs, and ratios against OpenBao on storage of the same kind. It asserts no figure. */
import { median } from "../measure.ts";
import { alignedTable } from "../table.ts";
import type { VaultLoadFigures } from "./load.ts";
import type { Operation, VaultSubject } from "./subject.ts";

export interface VaultSample {
  readonly subject: string;
  readonly storage: VaultSubject["storage"];
  readonly isReference: boolean;
  readonly operation: Operation;
  readonly connections: number;
  /** From 1. */
  readonly run: number;
  readonly figures: VaultLoadFigures;
}

export interface VaultRow extends Omit<VaultSample, "run"> {
  readonly runs: number;
  /** Against the reference; a redemption, which no other has, against the reference's read. */
  readonly ratios?: { readonly rate: number; readonly medianLatency: number; readonly cpuPerRequest: number };
}

const keyOf = ({
  subject,
  operation,
  connections,
}: Pick<VaultSample, "subject" | "operation" | "connections">): string => `${operation} ${connections} ${subject}`;

export const summarizeVaults = (samples: readonly VaultSample[]): readonly VaultRow[] => {
  const groups = groupBy(samples);
  const rows = [...groups.values()].flatMap((group): VaultRow[] => {
    const [first] = group;
    if (first === undefined) return [];
    const { run, ...rest } = first;
    return [{ ...rest, runs: group.length, figures: medians(group) }];
  });
  return rows.map((row) => {
    const operation = row.operation === "redeem" ? "read" : row.operation;
    const reference = rows.find(
      (other) =>
        other.isReference &&
        other.storage === row.storage &&
        other.operation === operation &&
        other.connections === row.connections,
    );
    return reference === undefined ? row : { ...row, ratios: compare(row.figures, reference.figures) };
  });
};

const groupBy = (samples: readonly VaultSample[]): Map<string, VaultSample[]> => {
  const groups = new Map<string, VaultSample[]>();
  for (const sample of samples) groups.set(keyOf(sample), [...(groups.get(keyOf(sample)) ?? []), sample]);
  return groups;
};

const medians = (group: readonly VaultSample[]): VaultLoadFigures => {
  const of = (name: keyof VaultLoadFigures): number => median(group.map(({ figures }) => figures[name]));
  return {
    requests: of("requests"),
    seconds: of("seconds"),
    rate: of("rate"),
    medianLatency: of("medianLatency"),
    p99Latency: of("p99Latency"),
    cpuPerRequest: of("cpuPerRequest"),
    databaseCpuPerRequest: of("databaseCpuPerRequest"),
    busy: of("busy"),
    memory: of("memory"),
  };
};

const compare = (own: VaultLoadFigures, reference: VaultLoadFigures) => ({
  rate: own.rate / reference.rate,
  medianLatency: own.medianLatency / reference.medianLatency,
  cpuPerRequest: own.cpuPerRequest / reference.cpuPerRequest,
});

const HEADINGS = [
  "",
  "req/s",
  "x",
  "p50 ms",
  "x",
  "p99 ms",
  "CPU us/req",
  "x",
  "database us/req",
  "busy %",
  "RSS MiB",
] as const;

export const formatVaultTable = (rows: readonly VaultRow[]): string => {
  const sections = new Map<string, VaultRow[]>();
  for (const row of rows) {
    const title = `${row.operation}, ${row.connections} connection${row.connections === 1 ? "" : "s"}`;
    sections.set(title, [...(sections.get(title) ?? []), row]);
  }
  return [...sections]
    .map(([title, section]) => {
      return [
        `${title} (x: against OpenBao on storage of the same kind)`,
        ...alignedTable(HEADINGS, section.map(cells)),
        "",
      ].join("\n");
    })
    .join("\n");
};

const cells = ({ subject, figures, ratios }: VaultRow): readonly string[] => [
  subject,
  figures.rate.toFixed(0),
  ratios?.rate.toFixed(2) ?? "-",
  figures.medianLatency.toFixed(3),
  ratios?.medianLatency.toFixed(2) ?? "-",
  figures.p99Latency.toFixed(3),
  figures.cpuPerRequest.toFixed(1),
  ratios?.cpuPerRequest.toFixed(2) ?? "-",
  figures.databaseCpuPerRequest === 0 ? "-" : figures.databaseCpuPerRequest.toFixed(1),
  (figures.busy * 100).toFixed(0),
  figures.memory.toFixed(0),
];
