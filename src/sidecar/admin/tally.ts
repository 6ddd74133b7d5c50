/**
 * Counts what goes on record, in plain numbers, because it runs with every request; whoever wants metrics reads them when
 * asked. Its keys are names of routes, kinds of sources and codes: nothing that an agent or an upstream could choose.
 */
import type { AuditEvent } from "../../audit/index.ts";
import type { ErrorCode } from "../../core/errors.ts";

/** Upper bounds of the buckets; one more is for all above. `s` */
export const DURATION_BOUNDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
] as const;

export const OUTCOMES = ["ok", "client_aborted", "upstream_aborted", "refused"] as const;

/** `none`: the agent got no status. */
export const STATUS_CLASSES = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;

/** How long something took, how often. */
export class Durations {
  /** By bucket, each without those below it. */
  readonly counts = new Float64Array(DURATION_BOUNDS.length + 1);
  /** `s` */
  sum = 0;

  add(ms: number): void {
    const seconds = ms / 1000;
    let bucket = 0;
    while (bucket < DURATION_BOUNDS.length && seconds > (DURATION_BOUNDS[bucket] ?? 0)) bucket += 1;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += seconds;
  }
}

export class RouteTally {
  /** By `requestIndex`. */
  readonly requests = new Float64Array(OUTCOMES.length * STATUS_CLASSES.length);
  readonly codes = new Map<ErrorCode, number>();
  readonly total = new Durations();
  /** Only of requests that waited for their secret. */
  readonly source = new Durations();
  readonly upstream = new Durations();
  /** Requests whose secret was at hand. */
  cached = 0;
  /** Pieces of answers that held the credential. */
  reflected = 0;
  bytesUp = 0;
  bytesDown = 0;
}

export class SourceTally {
  readonly duration = new Durations();
  readonly results = new Map<ErrorCode | "ok", number>();
}

/** Place of an outcome and a class of status in `RouteTally.requests`. */
export const requestIndex = (outcome: number, statusClass: number): number =>
  outcome * STATUS_CLASSES.length + statusClass;

export class Tally {
  /** By name; "" is what no route served. */
  readonly routes = new Map<string, RouteTally>();
  /** By kind. */
  readonly sources = new Map<string, SourceTally>();

  /** An event on its way to the audit. */
  record({ type, route = "", code, status, outcome, ms, reflected, bytesUp, bytesDown }: AuditEvent): void {
    if (type !== "outcome" && type !== "refusal") return;
    const tally = this.#route(route);
    const index = requestIndex(outcome === undefined ? 0 : OUTCOMES.indexOf(outcome), classOf(status));
    tally.requests[index] = (tally.requests[index] ?? 0) + 1;
    if (code !== undefined) tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1);
    if (type === "refusal") return;
    tally.bytesUp += bytesUp ?? 0;
    tally.bytesDown += bytesDown ?? 0;
    tally.reflected += reflected ?? 0;
    if (ms?.total !== undefined) tally.total.add(ms.total);
    if (ms?.upstream !== undefined) tally.upstream.add(ms.upstream);
    if (route === "" || ms?.source === undefined) return;
    if (ms.source > 0) tally.source.add(ms.source);
    else tally.cached += 1;
  }

  /** A source was asked. `result`: `ok` or the code. */
  fetched(kind: string, result: ErrorCode | "ok", ms: number): void {
    let tally = this.sources.get(kind);
    if (tally === undefined) {
      tally = new SourceTally();
      this.sources.set(kind, tally);
    }
    tally.duration.add(ms);
    tally.results.set(result, (tally.results.get(result) ?? 0) + 1);
  }

  /** Of all routes together, by code. */
  refused(): ReadonlyMap<ErrorCode, number> {
    const sums = new Map<ErrorCode, number>();
    for (const { codes } of this.routes.values()) {
      for (const [code, count] of codes) sums.set(code, (sums.get(code) ?? 0) + count);
    }
    return sums;
  }

  /** Forgets the routes that the file no longer has, so that a long life of changes does not gather names. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.routes.keys()) if (name !== "" && !names.has(name)) this.routes.delete(name);
  }

  #route(name: string): RouteTally {
    let tally = this.routes.get(name);
    if (tally === undefined) {
      tally = new RouteTally();
      this.routes.set(name, tally);
    }
    return tally;
  }
}

/** Index in STATUS_CLASSES. */
const classOf = (status: number | undefined): number =>
  status !== undefined && status >= 100 && status < 600 ? Math.floor(status / 100) : 0;
