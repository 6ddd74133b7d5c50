/**
 * A sidecar's life: everything is opened and checked before a port opens; whatever fails on the way closes what was
 * opened. Closing drains first.
 */
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import type { Server as HttpServer } from "node:http";
import type { Server } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openAudit } from "../../audit/index.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { createCloser } from "../../core/closer.ts";
import { type ErrorCode, SidekeyError } from "../../core/errors.ts";
import { hasLineFilter, type Log } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { readVersion } from "../../core/version.ts";
import { Tally } from "../admin/tally.ts";
import type { Resolver } from "../net/connector.ts";
import { createLiveValues } from "../secrets/live-values.ts";
import { assemble } from "./assemble.ts";
import { mintFirst, openCa } from "./ca.ts";
import type { SidecarConfig } from "./config/config.ts";
import { credentialsIn } from "./config/credential-names.ts";
import { watchFile } from "./config/file-watch.ts";
import { counted } from "./counted-audit.ts";
import { createGenerations } from "./generations.ts";
import { createOwnListeners, openListener } from "./listeners.ts";
import { createOperatorServers } from "./operator.ts";
import { connectionsThatFit, forbidCoreDumps, type ProcessLimits, readProcessLimits } from "./process-limits.ts";
import { createReloader, type ReloadResult, type ReloadTrigger } from "./reload.ts";
import { createSecretSearch, type UnknownSecret } from "./secret-search.ts";
import { resolverOf } from "./sources.ts";
import { openTracing } from "./tracing.ts";
import { startWatchdog } from "./watchdog.ts";
import { planWayOut } from "./way-out.ts";

/** Time that requests in flight get when the sidecar stops. `ms` */
const GRACE_MS = 30_000;
/** What is cut then ends in the turns that follow, and its outcome is told before the audit closes. At most this long. `ms` */
const ENDINGS_MS = 2_000;

export interface StartOptions {
  readonly config: SidecarConfig;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  /** `run`: free ports, a CA that only memory holds, files under `run/<id>/`, an audit file of its own. */
  readonly mode: "start" | "run";
  /** Where `ca.pem` and the bundle go, when the agent cannot read the state directory. The caller's to remove. */
  readonly publicDirectory?: string;
  /** PEM texts that the bundle carries too. */
  readonly extraBundles?: readonly string[];
  /** Default the system's. */
  readonly clock?: Clock;
  /** Names to addresses; default the system's. */
  readonly resolve?: Resolver;
  /** Read the file again by itself when it changes. Never in `run`, whose program could be who changes it (F6). */
  readonly watch?: boolean;
  /** A reload was applied. */
  readonly onReload?: (config: SidecarConfig) => void;
}

/** The JSON of the ready line. */
export interface Ready {
  readonly pid: number;
  /** `HOST:PORT` or `unix:PATH`; null = off. So is the gateway's. */
  readonly proxy: string | null;
  readonly gateway: string | null;
  readonly health: string | null;
  /** `unix:PATH`; null in `run`. */
  readonly admin: string | null;
}

export interface Sidecar {
  readonly ready: Ready;
  /** `run`'s id, or `start`. */
  readonly runId: string;
  /** For HTTP_PROXY; undefined when the proxy is off or a unix socket. */
  readonly proxyUrl: string | undefined;
  /** Absolute paths. */
  readonly files: { readonly ca: string; readonly bundle: string };
  /** Reads the file again. Never in `run`: a TypeError. */
  reload(trigger: ReloadTrigger): Promise<ReloadResult>;
  /** Whether a text holds the value of any route's secret; one of under 8 bytes counts only as a whole line. */
  containsSecret(text: string): Promise<boolean>;
  /** Secrets of routes whose value could not be had, though they may exist: `containsSecret` does not find these. */
  unknownSecrets(): Promise<readonly UnknownSecret[]>;
  /** How many requests were refused, failed or cut here so far, by code. */
  refused(): ReadonlyMap<ErrorCode, number>;
  /** Stops accepting, lets requests in flight end within `graceMs` (30 s), closes everything. */
  drain(graceMs?: number): Promise<void>;
}

export const startSidecar = async (options: StartOptions): Promise<Sidecar> => {
  const { environment, log, mode } = options;
  const processLimits = readProcessLimits();
  const config = withinLimits(mode === "run" ? privateListener(options.config) : options.config, processLimits);
  const clock = options.clock ?? systemClock;
  const runId = mode === "run" ? randomBytes(6).toString("hex") : "start";
  const closer = createCloser();
  let draining = false;
  /** No request is under way. */
  let isQuiet = (): boolean => true;
  try {
    forbidCoreDumps(log, processLimits);
    prepareStateDirectory(config.state);
    const ownDirectory = mode === "run" ? join(config.state, "run", runId) : config.state;
    const filesDirectory = options.publicDirectory ?? ownDirectory;
    if (mode === "run" && options.publicDirectory === undefined) {
      await mkdir(filesDirectory, { recursive: true, mode: 0o700 });
      closer.add({ close: () => rm(filesDirectory, { recursive: true, force: true }) });
    }
    const plan = await planWayOut(config, environment);
    const audit = config.audit;
    const tally = new Tally();
    const liveValues = createLiveValues();
    if (hasLineFilter(log)) log.filterLines(liveValues.redact);
    for (const value of credentialsIn(environment, config)) liveValues.keep(value);
    const opened = closer.add(
      await openAudit({
        ...(mode === "run"
          ? { path: join(config.state, `audit-${runId}.jsonl`), headPath: join(config.state, `audit-${runId}.head`) }
          : { path: audit.path }),
        keyPath: audit.key,
        sync: audit.sync,
        maxSize: audit.maxSize,
        keep: audit.keep,
        clock,
        log,
        agent: config.agent,
        lock: mode === "start",
      }),
    );
    // Those that wait for a secret end when the sources close, a little later.
    closer.add({ close: () => waitFor(() => isQuiet()) });
    const tracing = await openTracing(clock, readVersion(), log);
    if (tracing !== undefined) closer.add(tracing);
    const counting = counted(opened, tally);
    const broker = tracing?.watch(counting) ?? counting;
    const ca = closer.add(
      await openCa({
        mode,
        config,
        directory: filesDirectory,
        clock,
        log,
        record(reason, code) {
          const failed = (): void => log.error("a change of the CA is not recorded", { reason });
          broker.record({ type: "admin", agent: config.agent, reason, code }).catch(failed);
        },
      }),
    );
    const { contexts, publish } = ca;
    const bundled = (extraCa: string | undefined): readonly string[] => [
      ...(extraCa === undefined ? [] : [extraCa]),
      ...(options.extraBundles ?? []),
    ];
    const files = await publish(bundled(plan.extraCa));

    const own = createOwnListeners();
    const generations = closer.add(
      await createGenerations({
        config,
        plan,
        environment,
        broker,
        clock,
        log,
        tally,
        liveValues,
        tracing,
        isBrief: mode === "run",
        isOwnListener: own.has,
        resolve: options.resolve,
      }),
    );
    const { current } = generations;
    const { servers, door, load } = assemble({
      config,
      current,
      broker,
      contexts,
      clock,
      log,
      draining: () => draining,
    });
    isQuiet = () => load.underway === 0 && broker.unended() === 0;
    const reloader = createReloader({
      running: options.config,
      broker,
      log,
      async apply(wanted) {
        if (draining) throw new SidekeyError("DRAINING");
        const before = current().wayOut.plan.extraCa;
        const { number, wayOut } = await generations.replace(withinLimits(wanted, processLimits));
        const { extraCa } = wayOut.plan;
        if (extraCa !== before) await publish(bundled(extraCa));
        options.onReload?.(wanted);
        return number;
      },
    });
    const listeners: Record<"proxy" | "gateway" | "health" | "admin", string | null> = {
      proxy: null,
      gateway: null,
      health: null,
      admin: null,
    };
    const { admin, probes } = createOperatorServers({
      config,
      broker,
      ca,
      clock,
      current,
      draining: () => draining,
      listeners,
      load,
      log,
      isFileAccepted: reloader.accepted,
      reload: () => reloader.reload("admin"),
      tally,
    });
    closer.add({ close: () => Promise.all([admin, probes].map(shut)).then(() => undefined) });
    const stop = (graceMs: number): Promise<void> => door.close([servers.proxy, servers.gateway], graceMs);
    closer.add({ close: () => stop(0) });
    const open = async (name: keyof typeof listeners, server: Server): Promise<void> => {
      const address = config.listen[name];
      if (address !== undefined) listeners[name] = await openListener(server, address, `listen.${name}`, own);
    };
    await mintFirst(contexts, config.routes);
    await open("admin", admin);
    await open("proxy", servers.proxy);
    await open("gateway", servers.gateway);
    await open("health", probes);
    const { proxy } = listeners;
    // Starting up is one long stall; what counts comes after it.
    closer.add(startWatchdog(log));
    // A pipe (`-c <(…)`) has nothing more to say.
    if (
      options.watch === true &&
      mode === "start" &&
      statSync(config.file, { throwIfNoEntry: false })?.isFile() !== false
    ) {
      closer.add(watchFile({ path: config.file, others: reloader.related, changed: reloader.reloadIfChanged, log }));
    }

    const search = createSecretSearch(config, resolverOf(current().mounted));
    return {
      ready: { pid: process.pid, ...listeners },
      runId,
      proxyUrl: proxy === null || proxy.startsWith("unix:") ? undefined : `http://${proxy}`,
      files,
      async reload(trigger) {
        if (mode === "run") throw new TypeError("run never reads its file again");
        return reloader.reload(trigger);
      },
      refused: () => tally.refused(),
      containsSecret: search.contains,
      unknownSecrets: search.unknown,
      async drain(graceMs = GRACE_MS) {
        draining = true;
        await stop(graceMs);
        await waitFor(() => broker.unended() === 0);
        await closer.close();
      },
    };
  } catch (error) {
    await closer.close().catch((failure: unknown) => log.warn("not all could be closed", { failure: String(failure) }));
    throw error;
  }
};

/** Or for as long as it may take. */
const waitFor = async (done: () => boolean): Promise<void> => {
  for (const end = performance.now() + ENDINGS_MS; !done() && performance.now() < end; ) await sleep(5);
};

const shut = (server: HttpServer): Promise<void> =>
  new Promise((resolve) => {
    // One that never listened calls back as well, with an error.
    server.close(() => resolve());
    server.closeAllConnections();
  });

/** `run`'s proxy is for its child alone: any free port, nothing that says how it is, nothing that takes orders. */
const privateListener = (config: SidecarConfig): SidecarConfig => ({
  ...config,
  listen: {
    ...config.listen,
    proxy: { kind: "tcp", host: "127.0.0.1", port: 0 },
    gateway: undefined,
    health: undefined,
    admin: undefined,
  },
});

/** More connections than open files would end in EMFILE, for the audit too; fewer end in OVERLOADED for one agent. */
const withinLimits = (config: SidecarConfig, processLimits: ProcessLimits): SidecarConfig => ({
  ...config,
  limits: { ...config.limits, connections: connectionsThatFit(config.limits.connections, processLimits) },
});
