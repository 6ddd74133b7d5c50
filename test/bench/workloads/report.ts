/** One Markdown table a workload, each figure beside its relation to nginx's in the same run. */
import { REFERENCE } from "../report.ts";
import type { Column, Figures, Workload } from "./workload.ts";

export interface Measured {
  readonly workload: Workload;
  readonly subject: string;
  /** Absent: it could not be measured, and `reason` says why. */
  readonly figures?: Figures;
  readonly reason?: string;
}

const isMeasured = (one: Measured): one is Measured & { readonly figures: Figures } => one.figures !== undefined;

const relation = ({ against, digits }: Column, own: number, reference: number | undefined): string => {
  if (reference === undefined || Number.isNaN(own / reference)) return "-";
  if (against === "ratio") return (own / reference).toFixed(2);
  const added = own - reference;
  return `${added < 0 ? "" : "+"}${added.toFixed(digits)}`;
};

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;

export const formatWorkload = (workload: Workload, all: readonly Measured[]): string => {
  const own = all.filter((one) => one.workload === workload);
  const measured = own.filter(isMeasured);
  const reference = measured.find(({ subject }) => subject === REFERENCE)?.figures;
  const { columns } = workload;
  const headings = columns.flatMap(({ label, against }) =>
    against === "nothing" ? [label] : [label, against === "ratio" ? "x" : "over"],
  );
  const lines = [`### ${workload.title}`, "", row(["", ...headings]), row(["---", ...headings.map(() => "--:")])];
  for (const { subject, figures } of measured) {
    const cells = columns.flatMap((column) => {
      const figure = figures[column.name] ?? Number.NaN;
      const text = figure.toFixed(column.digits);
      return column.against === "nothing" ? [text] : [text, relation(column, figure, reference?.[column.name])];
    });
    lines.push(row([subject, ...cells]));
  }
  const without = own.filter((one) => !isMeasured(one)).map(({ subject, reason }) => `- without ${subject}: ${reason}`);
  return [...lines, "", ...without, ...(without.length > 0 ? [""] : [])].join("\n");
};
