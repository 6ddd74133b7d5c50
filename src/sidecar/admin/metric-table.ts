/**
 * Sidekey's own metrics: name, meaning, labels, and where the numbers come from. The labels are names of routes, kinds,
 * codes and classes of status, so the number of series is bounded by the file, whatever agents and upstreams send.
 */
import type { EpochMs } from "../../core/clock.ts";
import type { SecretReport } from "./report.ts";
import {
  DURATION_BOUNDS,
  type Durations,
  OUTCOMES,
  type RouteTally,
  requestIndex,
  type SourceTally,
  STATUS_CLASSES,
} from "./tally.ts";

/** What is read when somebody asks. */
export interface Facts {
  readonly version: string;
  readonly generation: number;
  /** False: the last reload was refused, and the file before goes on. */
  readonly isFileAccepted: boolean;
  /** Of the routes of the file; "" is what no route served. */
  readonly routes: ReadonlyMap<string, RouteTally>;
  /** By kind. */
  readonly sources: ReadonlyMap<string, SourceTally>;
  readonly secrets: readonly SecretReport[];
  readonly load: {
    readonly connections: number;
    readonly tunnels: number;
    readonly streams: number;
    readonly strangers: number;
    readonly surplus: number;
  };
  /** Records that no sink could store. */
  readonly auditFailures: number;
  readonly isAuditWritable: boolean;
  readonly caNotAfter: EpochMs;
}

export type Labels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly value: number;
  readonly labels: Labels;
  /** Of a histogram's parts. */
  readonly metricName?: string;
}

export interface MetricSpec {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /** Without `le`. */
  readonly labels: readonly string[];
  samples(facts: Facts): readonly MetricSample[];
}

const one = (value: number): readonly MetricSample[] => [{ value, labels: {} }];

/** One of each route that there is something to say of. */
const perRoute = (of: (tally: RouteTally, route: string) => readonly MetricSample[]) => (facts: Facts) =>
  [...facts.routes].flatMap(([route, tally]) => of(tally, route));

const histogram = (name: string, { counts, sum }: Durations, labels: Labels): readonly MetricSample[] => {
  const samples: MetricSample[] = [];
  let count = 0;
  for (const [bucket, bound] of [...DURATION_BOUNDS, "+Inf"].entries()) {
    count += counts[bucket] ?? 0;
    samples.push({ value: count, labels: { ...labels, le: String(bound) }, metricName: `${name}_bucket` });
  }
  samples.push(
    { value: sum, labels, metricName: `${name}_sum` },
    { value: count, labels, metricName: `${name}_count` },
  );
  return samples;
};

const requestsOf = ({ requests }: RouteTally, route: string): readonly MetricSample[] =>
  OUTCOMES.flatMap((outcome, row) =>
    STATUS_CLASSES.flatMap((status, column) => {
      const value = requests[requestIndex(row, column)] ?? 0;
      return value === 0 ? [] : [{ value, labels: { route, status, outcome } }];
    }),
  );

/** Where a route uses several secrets: the oldest, and what is wrong with the first that has something. */
const perSecretRoute = (
  of: (reports: readonly SecretReport[], route: string) => readonly MetricSample[],
): MetricSpec["samples"] => {
  return ({ secrets }) => {
    const byRoute = new Map<string, SecretReport[]>();
    for (const report of secrets) {
      for (const route of report.routes) byRoute.set(route, [...(byRoute.get(route) ?? []), report]);
    }
    return [...byRoute].flatMap(([route, reports]) => of(reports, route));
  };
};

export const METRICS: readonly MetricSpec[] = [
  {
    name: "sidekey_requests_total",
    type: "counter",
    help: "Requests that ended, by how: what the agent got, and outcome ok, client_aborted, upstream_aborted or refused. No route: not routed, or a tunnel that passes unread. A request sent twice after a 401 counts twice.",
    labels: ["route", "status", "outcome"],
    samples: perRoute(requestsOf),
  },
  {
    name: "sidekey_refusals_total",
    type: "counter",
    help: "Requests that Sidekey refused, failed or cut itself, by the code of docs/errors.md.",
    labels: ["route", "code"],
    samples: perRoute(({ codes }, route) => [...codes].map(([code, value]) => ({ value, labels: { route, code } }))),
  },
  {
    name: "sidekey_request_duration_seconds",
    type: "histogram",
    help: "From the request's head to the end of its answer.",
    labels: ["route"],
    samples: perRoute(({ total }, route) => histogram("sidekey_request_duration_seconds", total, { route })),
  },
  {
    name: "sidekey_source_wait_seconds",
    type: "histogram",
    help: "How long requests waited for their secret, those that did.",
    labels: ["route"],
    samples: perRoute(({ source }, route) =>
      route === "" ? [] : histogram("sidekey_source_wait_seconds", source, { route }),
    ),
  },
  {
    name: "sidekey_upstream_duration_seconds",
    type: "histogram",
    help: "From sending the request upstream to the end of the answer.",
    labels: ["route"],
    samples: perRoute(({ upstream }, route) => histogram("sidekey_upstream_duration_seconds", upstream, { route })),
  },
  {
    name: "sidekey_body_bytes_total",
    type: "counter",
    help: "Bytes of bodies: up from the agent, down to it.",
    labels: ["route", "direction"],
    samples: perRoute(({ bytesUp, bytesDown }, route) => [
      { value: bytesUp, labels: { route, direction: "up" } },
      { value: bytesDown, labels: { route, direction: "down" } },
    ]),
  },
  {
    name: "sidekey_reflections_total",
    type: "counter",
    help: "Places in answers that held the credential and were redacted.",
    labels: ["route"],
    samples: perRoute(({ reflected }, route) => (route === "" ? [] : [{ value: reflected, labels: { route } }])),
  },
  {
    name: "sidekey_secret_cache_hits_total",
    type: "counter",
    help: "Requests whose secret was at hand. Those that had to wait are counted by sidekey_source_wait_seconds.",
    labels: ["route"],
    samples: perRoute(({ cached }, route) => (route === "" ? [] : [{ value: cached, labels: { route } }])),
  },
  {
    name: "sidekey_secret_age_seconds",
    type: "gauge",
    help: "Since the route's secret was last fetched; absent before the first time.",
    labels: ["route"],
    samples: perSecretRoute((reports, route) => {
      const ages = reports.flatMap(({ age }) => (age === null ? [] : [age]));
      return ages.length === 0 ? [] : [{ value: Math.max(...ages), labels: { route } }];
    }),
  },
  {
    name: "sidekey_secret_state",
    type: "gauge",
    help: "1 for the state that the route's secret is in: ok, unused (not asked for yet), or the code that a request for it gets.",
    labels: ["route", "state"],
    samples: perSecretRoute((reports, route) => {
      const states = reports.map(({ state }) => state);
      const state = states.find((each) => each !== "ok" && each !== "unused") ?? states[0] ?? "unused";
      return [{ value: 1, labels: { route, state } }];
    }),
  },
  {
    name: "sidekey_source_fetches_total",
    type: "counter",
    help: "Fetches from secret sources, by the source's kind and ok or the code of the failure.",
    labels: ["kind", "result"],
    samples: ({ sources }) =>
      [...sources].flatMap(([kind, { results }]) =>
        [...results].map(([result, value]) => ({ value, labels: { kind, result } })),
      ),
  },
  {
    name: "sidekey_source_fetch_duration_seconds",
    type: "histogram",
    help: "How long those fetches took.",
    labels: ["kind"],
    samples: ({ sources }) =>
      [...sources].flatMap(([kind, { duration }]) =>
        histogram("sidekey_source_fetch_duration_seconds", duration, { kind }),
      ),
  },
  {
    name: "sidekey_connections",
    type: "gauge",
    help: "Open connections of agents.",
    labels: [],
    samples: ({ load }) => one(load.connections),
  },
  {
    name: "sidekey_tunnels",
    type: "gauge",
    help: "Open CONNECT tunnels.",
    labels: [],
    samples: ({ load }) => one(load.tunnels),
  },
  {
    name: "sidekey_streams",
    type: "gauge",
    help: "Requests in flight.",
    labels: [],
    samples: ({ load }) => one(load.streams),
  },
  {
    name: "sidekey_connections_refused_total",
    type: "counter",
    help: "Connections cut at the door: from outside listen.clients, or past limits.connections.",
    labels: ["reason"],
    samples: ({ load }) => [
      { value: load.strangers, labels: { reason: "clients" } },
      { value: load.surplus, labels: { reason: "limit" } },
    ],
  },
  {
    name: "sidekey_audit_failures_total",
    type: "counter",
    help: "Audit records that could not be stored; their requests were refused.",
    labels: [],
    samples: ({ auditFailures }) => one(auditFailures),
  },
  {
    name: "sidekey_audit_writable",
    type: "gauge",
    help: "1 while audit records can be stored.",
    labels: [],
    samples: ({ isAuditWritable }) => one(isAuditWritable ? 1 : 0),
  },
  {
    name: "sidekey_ca_expiry_timestamp_seconds",
    type: "gauge",
    help: "When the CA that signs now expires, as Unix time.",
    labels: [],
    samples: ({ caNotAfter }) => one(Math.floor(caNotAfter / 1000)),
  },
  {
    name: "sidekey_config_generation",
    type: "gauge",
    help: "1 at the start, one more with each reload.",
    labels: [],
    samples: ({ generation }) => one(generation),
  },
  {
    name: "sidekey_config_reload_successful",
    type: "gauge",
    help: "0 while the file was refused when it was last read again, and the one before goes on; else 1.",
    labels: [],
    samples: ({ isFileAccepted }) => one(isFileAccepted ? 1 : 0),
  },
  {
    name: "sidekey_build_info",
    type: "gauge",
    help: "1, with the version of Sidekey.",
    labels: ["version"],
    samples: ({ version }) => [{ value: 1, labels: { version } }],
  },
];
