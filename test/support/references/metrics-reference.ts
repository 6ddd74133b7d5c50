/** docs/metrics.md, made from the table of our own metrics and from what a scrape holds besides. */
import { METRICS } from "../../../src/sidecar/admin/metric-table.ts";
import { DURATION_BOUNDS } from "../../../src/sidecar/admin/tally.ts";
import type { Exposition } from "../exposition.ts";
import { cell, table } from "./markdown.ts";

/** `scraped`: of a sidecar that was used. */
export const renderMetricsReference = (scraped: Exposition): string => `# Metrics

<!-- Made from src/sidecar/admin/metric-table.ts by test/integration/metrics.test.ts. To renew it: npm test -- --project integration metrics -u -->

\`GET /metrics\` on the admin socket, and on \`listen.health\` where the file opens it, in Prometheus' text format. \`sidekey run\` has
neither. Counting goes on all the time and costs a few additions per request; the format's library is loaded at the first scrape.

\`\`\`sh
curl -s --unix-socket .sidekey/admin.sock http://sidekey/metrics
\`\`\`

Labels hold names of routes and kinds of sources from the file, codes of [errors.md](errors.md) and classes of status: never a host, a path,
a secret or a word of an agent or an upstream, so that no traffic can add series. A route that a reload removes leaves with the next scrape.
Buckets of durations, in seconds: ${DURATION_BOUNDS.join(", ")}.

## Sidekey's own

${table(
  ["metric", "type", "labels", "meaning"],
  METRICS.map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(", "),
    cell(help),
  ]),
)}

## The process's

From [prom-client](https://github.com/siimon/prom-client), counted from the first scrape on.

${table(
  ["metric", "type", "meaning"],
  [...scraped.families.values()]
    .filter(({ name }) => !name.startsWith("sidekey_"))
    .map(({ name, type, help }) => [`\`${name}\``, type, cell(help)]),
)}

## To begin with

Alerts and a dashboard are in [config/monitoring](../config/monitoring), with what to do in [operations.md](operations.md). The least:

- Something is wrong: \`sum by (code) (rate(sidekey_refusals_total{code!~"POLICY_.*|INGRESS_.*"}[5m])) > 0\`.
- An agent tries what it may not: \`sum by (code) (rate(sidekey_refusals_total{code=~"POLICY_.*"}[5m]))\`.
- A secret that cannot be had: \`sidekey_secret_state{state!~"ok|unused"} == 1\`.
- An upstream that hands keys back: \`increase(sidekey_reflections_total[1h]) > 0\`.
- A CA that ends within two weeks: \`sidekey_ca_expiry_timestamp_seconds - time() < 14 * 86400\`.
- Nothing goes out, because nothing can be put on record: \`sidekey_audit_writable == 0\`.
`;
