/**
 * A sidecar's life: everything is opened and checked before a port opens; whatever fails on the way closes what was
 * opened. Closing drains first.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { openAudit } from "../../audit/index.ts";
import { systemClock } from "../../core/clock.ts";
import { createCloser } from "../../core/closer.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import type { Resolver } from "../net/connector.ts";
import { createSecretResolver } from "../secrets/resolver.ts";
import { assemble } from "./assemble.ts";
import { mintFirst, openCa, writeCaFiles } from "./ca.ts";
import type { SidecarConfig } from "./config.ts";
import { createOwnListeners, openListener } from "./listeners.ts";
import { connectionsThatFit, forbidCoreDumps, type ProcessLimits, readProcessLimits } from "./process-limits.ts";
import { createSecretSearch } from "./secret-search.ts";
import { buildSources } from "./sources.ts";
import { readUpstreamProxy } from "./upstream-proxy.ts";
import { startWatchdog } from "./watchdog.ts";

/** Time that requests in flight get when the sidecar stops. `ms` */
const GRACE_MS = 30_000;

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
  /** Names to addresses; default the system's. */
  readonly resolve?: Resolver;
}

/** The JSON of the ready line. */
export interface Ready {
  readonly pid: number;
  /** `HOST:PORT` or `unix:PATH`; null = off. So is the gateway's. */
  readonly proxy: string | null;
  readonly gateway: string | null;
  readonly health: null;
  readonly admin: null;
}

export interface Sidecar {
  readonly ready: Ready;
  /** `run`'s id, or `start`. */
  readonly runId: string;
  /** For HTTP_PROXY; undefined when the proxy is off or a unix socket. */
  readonly proxyUrl: string | undefined;
  /** Absolute paths. */
  readonly files: { readonly ca: string; readonly bundle: string };
  /** Whether a text holds the value of any route's secret; one of under 8 bytes counts only as a whole line. */
  containsSecret(text: string): Promise<boolean>;
  /** Stops accepting, lets requests in flight end within `graceMs` (30 s), closes everything. */
  drain(graceMs?: number): Promise<void>;
}

export const startSidecar = async (options: StartOptions): Promise<Sidecar> => {
  const { environment, log, mode } = options;
  const processLimits = readProcessLimits();
  const config = withinLimits(mode === "run" ? privateListener(options.config) : options.config, processLimits);
  const clock = systemClock;
  const runId = mode === "run" ? randomBytes(6).toString("hex") : "start";
  const closer = createCloser();
  let draining = false;
  try {
    forbidCoreDumps(log, processLimits);
    prepareStateDirectory(config.state);
    const ownDirectory = mode === "run" ? join(config.state, "run", runId) : config.state;
    const filesDirectory = options.publicDirectory ?? ownDirectory;
    if (mode === "run" && options.publicDirectory === undefined) {
      await mkdir(filesDirectory, { recursive: true, mode: 0o700 });
      closer.add({ close: () => rm(filesDirectory, { recursive: true, force: true }) });
    }
    const extraCa = config.upstream.ca === undefined ? undefined : await readPem(config.upstream.ca);
    const { baseDir, upstream: upstreamConfig } = config;
    const upstreamProxy =
      upstreamConfig.proxy === undefined
        ? undefined
        : readUpstreamProxy(upstreamConfig.proxy, { baseDir, environment });
    const audit = config.audit;
    const broker = closer.add(
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
    const sources = await buildSources({ config, environment, clock, log, closer });
    const resolver = createSecretResolver(sources, clock);
    const { certificatePem, contexts } = await openCa({ mode, state: config.state, clock });
    const files = await writeCaFiles(filesDirectory, certificatePem, [
      ...(extraCa === undefined ? [] : [extraCa]),
      ...(options.extraBundles ?? []),
    ]);

    const own = createOwnListeners();
    const { servers, door, upstream } = assemble({
      config,
      sources,
      resolver,
      broker,
      contexts,
      extraCa,
      upstreamProxy,
      clock,
      log,
      isOwnListener: own.has,
      draining: () => draining,
      resolve: options.resolve,
    });
    closer.add(upstream);
    const stop = (graceMs: number): Promise<void> => door.close([servers.proxy, servers.gateway], graceMs);
    closer.add({ close: () => stop(0) });
    const open = async (name: "proxy" | "gateway"): Promise<string | null> => {
      const address = config.listen[name];
      return address === undefined ? null : openListener(servers[name], address, `listen.${name}`, own);
    };
    await mintFirst(contexts, config.routes);
    const proxy = await open("proxy");
    const gateway = await open("gateway");
    // Starting up is one long stall; what counts comes after it.
    closer.add(startWatchdog(log));

    return {
      ready: { pid: process.pid, proxy, gateway, health: null, admin: null },
      runId,
      proxyUrl: proxy === null || proxy.startsWith("unix:") ? undefined : `http://${proxy}`,
      files,
      containsSecret: createSecretSearch(config, resolver),
      async drain(graceMs = GRACE_MS) {
        draining = true;
        await stop(graceMs);
        await closer.close();
      },
    };
  } catch (error) {
    await closer.close().catch((failure: unknown) => log.warn("not all could be closed", { failure: String(failure) }));
    throw error;
  }
};

const readPem = async (path: string): Promise<string> => {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new SidekeyError("CONFIG_UNREADABLE", { detail: `upstream.ca: ${path}`, cause });
  });
  if (!text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new SidekeyError("CONFIG_INVALID", { detail: `upstream.ca: ${path} holds no PEM certificate` });
  }
  return text;
};

/** `run`'s proxy is for its child alone: any free port, and no gateway, whose port nobody would know. */
const privateListener = (config: SidecarConfig): SidecarConfig => ({
  ...config,
  listen: { ...config.listen, proxy: { kind: "tcp", host: "127.0.0.1", port: 0 }, gateway: undefined },
});

/** More connections than open files would end in EMFILE, for the audit too; fewer end in OVERLOADED for one agent. */
const withinLimits = (config: SidecarConfig, processLimits: ProcessLimits): SidecarConfig => ({
  ...config,
  limits: { ...config.limits, connections: connectionsThatFit(config.limits.connections, processLimits) },
});
