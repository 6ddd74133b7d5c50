/** config/monitoring/ against the metrics that there are: names, labels, and what each alert and panel asks for. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { METRICS } from "../../src/sidecar/admin/metric-table.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string };
}
const { groups } = parse(read("config/monitoring/alerts.yaml")) as {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
};
const rules = groups.flatMap((group) => group.rules);

const dashboard = JSON.parse(read("config/monitoring/dashboard.json")) as {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
};
const targets = dashboard.panels.flatMap((panel) => panel.targets);

/** Prometheus' own, blackbox_exporter's, and those of the process in docs/metrics.md. */
const OTHERS = new Set([
  "up",
  "probe_success",
  "probe_ssl_earliest_cert_expiry",
  ...[...read("docs/metrics.md").matchAll(/^\| `((?:process|nodejs)_\w+)`/gm)].map(([, name = ""]) => name),
]);
/** Of Prometheus, not of a metric. */
const TARGET_LABELS = ["job", "instance"];

const WORDS = new Set(["sum", "by", "rate", "increase", "time", "le", "histogram_quantile"]);

/** Metrics of an expression with the labels that they are asked by. */
const asked = (expr: string): readonly { readonly metric: string; readonly labels: readonly string[] }[] => {
  const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, names = ""]) => names.split(/, */));
  const bare = expr.replaceAll(/\bby \([^)]*\)/g, "").replaceAll(/\[[^\]]*\]/g, "");
  return [...bare.matchAll(/\b([a-z]\w*)\b(?:\{([^}]*)\})?(?=[^"]*(?:"[^"]*"[^"]*)*$)/g)]
    .filter(([, name = ""]) => name.includes("_") || name === "up")
    .filter(([, name = ""]) => !WORDS.has(name))
    .map(([, metric = "", matchers = ""]) => ({
      metric,
      labels: [...grouped, ...[...matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = ""]) => label)],
    }));
};

const problemsOf = (expr: string): readonly string[] =>
  asked(expr).flatMap(({ metric, labels }) => {
    const base = metric.replace(/_bucket$/, "");
    const spec = METRICS.find(({ name }) => name === metric || (name === base && name !== metric));
    if (spec === undefined) return OTHERS.has(metric) ? [] : [`${metric}: no such metric`];
    const known = [...TARGET_LABELS, ...spec.labels, ...(base === metric ? [] : ["le"])];
    return labels.filter((label) => !known.includes(label)).map((label) => `${metric}: no label ${label}`);
  });

describe("the check", () => {
  it("finds a metric and a label that are not there", () => {
    expect(problemsOf("sum by (rout) (rate(sidekey_refusals_total[5m]))")).toEqual([
      "sidekey_refusals_total: no label rout",
    ]);
    expect(problemsOf('sidekey_audit_writeable{job="x"} == 0')).toEqual(["sidekey_audit_writeable: no such metric"]);
    expect(problemsOf('sidekey_secret_state{kind="x"} == 1')).toEqual(["sidekey_secret_state: no label kind"]);
  });
});

describe("config/monitoring/alerts.yaml", () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))("%s asks for what there is", (_name, rule) => {
    expect(asked(rule.expr)).not.toEqual([]);
    expect(problemsOf(rule.expr)).toEqual([]);
    expect(["critical", "warning"]).toContain(rule.labels.severity);
    expect(rule.annotations.summary).toMatch(/\.$/);
  });

  it("has each alert once, with its line in docs/operations.md", () => {
    const listed = [...read("docs/operations.md").matchAll(/^\| `(Sidekey\w+)`/gm)].map(([, name = ""]) => name);
    expect(rules.map(({ alert }) => alert)).toEqual(listed);
    expect(new Set(listed).size).toBe(listed.length);
  });
});

describe("config/monitoring/dashboard.json", () => {
  it.each(targets.map(({ expr }) => [expr]))("%s asks for what there is", (expr) => {
    expect(asked(expr)).not.toEqual([]);
    expect(problemsOf(expr)).toEqual([]);
  });

  it("names its lines by labels that they have", () => {
    for (const { expr, legendFormat } of targets) {
      const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(/, */);
      const spec = METRICS.find(({ name }) => expr.includes(name));
      const has = grouped ?? [...TARGET_LABELS, ...(spec?.labels ?? [])];
      const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label);
      expect(
        named.filter((label) => !has.includes(label)),
        expr,
      ).toEqual([]);
    }
  });
});
