/** The text of a scrape for large files, and that a scrape lets go of the loop. */
import { describe, expect, it } from "vitest";
import { type Facts, METRICS } from "../../../../src/sidecar/admin/metric-table.ts";
import { createMetrics } from "../../../../src/sidecar/admin/metrics.ts";
import { DURATION_BOUNDS, Tally } from "../../../../src/sidecar/admin/tally.ts";
import { parseExposition } from "../../../support/exposition.ts";

const factsOf = (tally: Tally): Facts => ({
  version: "1.2.3",
  generation: 1,
  routes: tally.routes,
  sources: tally.sources,
  secrets: [],
  load: { connections: 0, tunnels: 0, streams: 0, strangers: 0, surplus: 0 },
  auditFailures: 0,
  isAuditWritable: true,
  caNotAfter: 0,
  isFileAccepted: true,
});

const outcome = (route: string, total: number) =>
  ({ type: "outcome", route, status: 200, outcome: "ok", ms: { total, source: 0, upstream: total } }) as const;

describe("a scrape of a thousand routes", () => {
  it("is whole, and lets others run between one metric and the next", async () => {
    const tally = new Tally();
    for (let i = 0; i < 1000; i++) tally.record(outcome(`route-${i}`, i));
    const scrape = createMetrics(() => factsOf(tally));
    let turns = 0;
    let counting = true;
    const count = (): void => {
      turns += 1;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    const { text } = await scrape();
    counting = false;
    expect(turns).toBeGreaterThanOrEqual(METRICS.length);
    const metrics = parseExposition(text);
    expect(metrics.find("sidekey_requests_total").length).toBe(1000);
    expect(metrics.find("sidekey_request_duration_seconds_bucket").length).toBe(1000 * (DURATION_BOUNDS.length + 1));
  });

  it("reads the facts once, however many ask at once", async () => {
    let reads = 0;
    const tally = new Tally();
    const scrape = createMetrics(() => {
      reads += 1;
      return factsOf(tally);
    });
    const [first, second] = await Promise.all([scrape(), scrape()]);
    expect(first).toBe(second);
    expect(reads).toBe(1);
    await scrape();
    expect(reads).toBe(2);
  });
});

describe("a name that the file chose", () => {
  it("is escaped", async () => {
    const tally = new Tally();
    // No route can have such a name; should one ever, it must not write lines of its own.
    const name = 'a"} 1\nsidekey_evil 1\\';
    tally.record(outcome(name, 1));
    const { text } = await createMetrics(() => factsOf(tally))();
    const metrics = parseExposition(text);
    expect(metrics.families.has("sidekey_evil")).toBe(false);
    expect(metrics.value("sidekey_requests_total", { route: name })).toBe(1);
  });
});

describe("durations", () => {
  it("fall into the first bucket whose bound they do not pass", () => {
    const tally = new Tally();
    for (const ms of [0, 1, 1.001, 300_000, 300_001]) tally.record(outcome("a", ms));
    const { counts, sum } = tally.routes.get("a")?.total ?? { counts: [], sum: 0 };
    expect([counts[0], counts[1], counts[DURATION_BOUNDS.length - 1], counts[DURATION_BOUNDS.length]]).toEqual([
      2, 1, 1, 1,
    ]);
    expect(sum).toBeCloseTo(600.003, 3);
  });
});
