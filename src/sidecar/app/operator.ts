/** What the operator's API tells of a sidecar that runs, and the two servers that tell it. Opens no port. */
import type { Server } from "node:http";
import type { AuditBroker } from "../../audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { toSidekeyError } from "../../core/errors.ts";
import { framesOf } from "../../core/frames.ts";
import type { Log } from "../../core/log.ts";
import { readVersion } from "../../core/version.ts";
import type { Facts } from "../admin/metric-table.ts";
import type { Scrape } from "../admin/metrics.ts";
import type { Readiness, ReloadAnswer, StatusReport } from "../admin/report.ts";
import { createAdminServer, createProbeServer } from "../admin/server.ts";
import type { Tally } from "../admin/tally.ts";
import type { Load } from "../ingress/load.ts";
import { listenerTraits } from "./assemble.ts";
import type { OpenedCa } from "./ca.ts";
import type { SidecarConfig } from "./config/model.ts";
import type { ServingGeneration } from "./generation.ts";
import { readinessOf, secretReports } from "./health.ts";

export interface OperatorParts {
  /** The keys that a reload cannot change. */
  readonly config: Pick<SidecarConfig, "file" | "listen">;
  readonly broker: AuditBroker;
  readonly ca: OpenedCa;
  readonly clock: Clock;
  readonly current: () => ServingGeneration;
  readonly draining: () => boolean;
  readonly listeners: StatusReport["listeners"];
  readonly isFileAccepted: () => boolean;
  readonly load: Load;
  readonly log: Log;
  readonly reload: () => Promise<ReloadAnswer>;
  readonly tally: Tally;
}

/** For `listen()`. */
export const createOperatorServers = (parts: OperatorParts): { readonly admin: Server; readonly probes: Server } => {
  const { config, broker, ca, clock, current, draining, listeners, log, reload } = parts;
  const version = readVersion();
  const startedAt = clock.monotonic();

  let asking: Promise<Readiness> | undefined;
  /** One look for all that ask at once: each asks the sources. */
  const readiness = (): Promise<Readiness> => {
    asking ??= readinessOf(current(), broker, ca, draining).finally(() => {
      asking = undefined;
    });
    return asking;
  };

  let scrape: Promise<() => Promise<Scrape>> | undefined;
  const metrics = async (): Promise<Scrape> => {
    scrape ??= import("../admin/metrics.ts").then(({ createMetrics }) => createMetrics(() => factsOf(parts, version)));
    return (await scrape)();
  };

  const status = (): StatusReport => ({
    version,
    pid: process.pid,
    uptime: Math.floor((clock.monotonic() - startedAt) / 1000),
    listeners,
    file: config.file,
    generation: current().number,
    secrets: secretReports(current(), clock),
  });

  const failed = (path: string, thrown: unknown): void => {
    const { code, cause = thrown } = toSidekeyError(thrown);
    log.error("the operator was not answered", { path, code, stack: framesOf(cause).join(" < ") });
  };

  const { health, clients } = config.listen;
  return {
    admin: createAdminServer({ readiness, metrics, failed, status, reload }),
    probes: createProbeServer({ readiness, metrics, failed, clients: listenerTraits(health, clients).clients }),
  };
};

const factsOf = (parts: OperatorParts, version: string): Facts => {
  const { broker, ca, clock, current, load, tally } = parts;
  const generation = current();
  tally.keep(new Set(generation.routes.keys()));
  return {
    version,
    generation: generation.number,
    isFileAccepted: parts.isFileAccepted(),
    routes: tally.routes,
    sources: tally.sources,
    secrets: secretReports(generation, clock),
    load,
    auditFailures: broker.failures(),
    isAuditWritable: broker.healthy(),
    caNotAfter: ca.notAfter(),
  };
};
