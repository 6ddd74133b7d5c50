/**
 * The composition root: the one place that builds from many folders. Takes a checked configuration and opened
 * resources, returns the parts that serve; opens no port.
 */
import { randomBytes } from "node:crypto";
import type { Server } from "node:http";
import type { AuditBroker } from "../../audit/broker.ts";
import { isLocalListener, type ListenAddress } from "../../config/addresses.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { createBlindTunnel } from "../ingress/blind-tunnel.ts";
import { createDoor, type Door } from "../ingress/door.ts";
import { createForwardProxy } from "../ingress/forward.ts";
import { createGateway, type GatewayOrigin } from "../ingress/gateway.ts";
import { createRequestHandler } from "../ingress/handler.ts";
import type { ListenerTraits } from "../ingress/listener-traits.ts";
import { createInjectionRules } from "../injection/apply.ts";
import type { Injector } from "../injection/injector.ts";
import { injectionKinds } from "../injection/kinds/index.ts";
import { createConnector, type Resolver } from "../net/connector.ts";
import type { UpstreamProxy } from "../net/proxy-tunnel.ts";
import { createLine } from "../pipeline/line.ts";
import type { Route } from "../pipeline/route.ts";
import { createDispatch } from "../pipeline/stages/dispatch.ts";
import { createIdentify } from "../pipeline/stages/identify.ts";
import { createInject } from "../pipeline/stages/inject.ts";
import { createRecord } from "../pipeline/stages/record.ts";
import { createResolve } from "../pipeline/stages/resolve.ts";
import { createRoute } from "../pipeline/stages/route.ts";
import { createEgressGuard } from "../policy/egress.ts";
import { createRouteTable, type RouteTable } from "../policy/route-table.ts";
import { createRedactionCache } from "../scrub/redaction.ts";
import type { SecretResolver } from "../secrets/resolver.ts";
import type { SecretSource } from "../secrets/source.ts";
import type { ContextCache } from "../tls/context-cache.ts";
import { createHttpUpstream } from "../upstream/http.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { RouteConfig, SidecarConfig } from "./config.ts";

export interface Parts {
  readonly config: SidecarConfig;
  readonly sources: ReadonlyMap<string, SecretSource>;
  readonly resolver: SecretResolver;
  readonly broker: AuditBroker;
  readonly contexts: ContextCache;
  /** PEM of `upstream.ca`. */
  readonly extraCa: string | undefined;
  /** `upstream.proxy`, with its credential read. */
  readonly upstreamProxy: UpstreamProxy | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly isOwnListener: (address: string, port: number) => boolean;
  readonly draining: () => boolean;
  readonly resolve?: Resolver | undefined;
}

export interface Assembled {
  /** For `listen()`. */
  readonly servers: { readonly proxy: Server; readonly gateway: Server };
  readonly door: Door;
  readonly upstream: Upstream;
}

export const assemble = (parts: Parts): Assembled => {
  const { config, sources, resolver, broker, contexts, clock, log, draining } = parts;
  const { agent } = config;
  const table = compileRoutes(config.routes);
  const connector = createConnector({
    guard: createEgressGuard(config.egress),
    redirects: config.upstream.connect,
    proxy: parts.upstreamProxy,
    extraCa: parts.extraCa,
    isOwnListener: parts.isOwnListener,
    ...(parts.resolve !== undefined && { resolve: parts.resolve }),
  });
  const upstream = createHttpUpstream(connector);
  const line = createLine(
    {
      identify: createIdentify(agent),
      route: createRoute(table, config.unmatched),
      resolve: createResolve(sources, resolver, clock),
      inject: createInject(),
      record: createRecord(broker),
      dispatch: createDispatch(upstream),
    },
    broker,
    clock,
    log,
  );
  const instance = randomBytes(6).toString("hex");
  const handler = createRequestHandler({
    line,
    broker,
    agent,
    clock,
    log,
    instance,
    draining,
    maxStreams: config.limits.streams,
  });
  const door = createDoor({ handler, clock, log, maxConnections: config.limits.connections });
  const { clients } = config.listen;
  const proxy = createForwardProxy({
    handler,
    door,
    listener: listenerTraits(config.listen.proxy, clients),
    namesAuthority: table.namesAuthority,
    namesHost: table.namesHost,
    contexts,
    tunnel: config.unmatched === "tunnel" ? createBlindTunnel({ connector, broker, agent, clock, log }) : undefined,
    log,
    draining,
    maxTunnels: config.limits.tunnels,
  });
  const gateway = createGateway({
    handler,
    door,
    listener: listenerTraits(config.listen.gateway, clients),
    origins: gatewayOrigins(config.routes),
    names: new Set(config.listen.names),
  });
  return { servers: { proxy, gateway }, door, upstream };
};

/** One that only this machine reaches takes whoever comes; any other only the file's clients (ruling 19). */
const listenerTraits = (
  address: ListenAddress | undefined,
  clients: SidecarConfig["listen"]["clients"],
): ListenerTraits => ({
  kind: address?.kind ?? "tcp",
  clients: address === undefined || isLocalListener(address) ? undefined : clients,
});

const gatewayOrigins = (routes: readonly RouteConfig[]): ReadonlyMap<string, GatewayOrigin> => {
  const origins = new Map<string, GatewayOrigin>();
  for (const { name, gateway } of routes) if (gateway !== undefined) origins.set(name, gateway);
  return origins;
};

const compileRoutes = (routes: readonly RouteConfig[]): RouteTable<Route> => {
  const { table } = createRouteTable(
    routes.map((config) => ({
      name: config.name,
      patterns: config.patterns,
      deny: config.deny,
      route: compileRoute(config),
    })),
  );
  // The file was checked for ties when it was loaded.
  if (table === undefined) throw new SidekeyError("INTERNAL", { detail: "two routes tie" });
  return table;
};

const compileRoute = (config: RouteConfig): Route => {
  const [injection] = config.injections;
  if (injection === undefined) throw new SidekeyError("INTERNAL", { detail: `route ${config.name} injects nothing` });
  const injector = createInjector(injection.fields);
  return {
    name: config.name,
    ref: injection.ref,
    injector,
    rules: createInjectionRules(injector.owns),
    redactions: createRedactionCache(),
    timeouts: config.timeouts,
    maxAgeMs: config.maxAgeMs,
    staleWhileErrorMs: config.staleWhileErrorMs,
    cleartext: config.cleartext,
  };
};

const createInjector = (fields: RouteConfig["injections"][number]["fields"]): Injector => {
  for (const kind of injectionKinds) {
    if (kind.kind === fields.kind) return kind.create(fields as never);
  }
  throw new SidekeyError("INTERNAL", { detail: `injection kind ${fields.kind} is not built` });
};
