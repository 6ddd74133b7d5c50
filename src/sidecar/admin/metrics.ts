/**
 * The text of `/metrics`. The only user of prom-client, loaded when somebody asks for the first time: it writes the
 * format and brings the process's own figures. Nothing is kept between two scrapes but what those figures need.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { collectDefaultMetrics, type Metric, Registry } from "prom-client";
import { type Facts, METRICS, type MetricSpec } from "./metric-table.ts";

export interface Scrape {
  readonly contentType: string;
  readonly text: string;
}

/** Walk through every open handle, and say less than our own gauges. */
const LEFT_OUT = /^nodejs_active_/;

/** `facts`: called once for each scrape. */
export const createMetrics = (facts: () => Facts): (() => Promise<Scrape>) => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const { name } of registry.getMetricsAsArray()) if (LEFT_OUT.test(name)) registry.removeSingleMetric(name);
  let current: Facts | undefined;
  let scraping: Promise<Scrape> | undefined;
  for (const spec of METRICS) registry.registerMetric(collected(spec, () => current));
  const names = registry.getMetricsAsArray().map(({ name }) => name);

  const scrape = async (): Promise<Scrape> => {
    current = facts();
    try {
      const parts: string[] = [];
      for (const name of names) {
        parts.push(await registry.getSingleMetricAsString(name));
        // A file of a thousand routes has tens of thousands of lines, and requests do not wait for all of them.
        await nextTurn();
      }
      return { contentType: registry.contentType, text: `${parts.join("\n\n")}\n` };
    } finally {
      current = undefined;
    }
  };

  // One for all that ask at once.
  return () => {
    scraping ??= scrape().finally(() => {
      scraping = undefined;
    });
    return scraping;
  };
};

/** As much of a metric as a registry asks for: prom-client's own keep a second copy of each number, and hash its labels. */
const collected = (spec: MetricSpec, facts: () => Facts | undefined): Metric => {
  const { name, help, type } = spec;
  const get = async () => {
    const now = facts();
    return { name, help, type, aggregator: "sum", values: now === undefined ? [] : spec.samples(now) };
  };
  return { name, help, type, get } as unknown as Metric;
};
