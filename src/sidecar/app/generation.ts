/** Everything that is derived from one text of the file, built whole and never changed. Opens nothing. */
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { AuditBroker } from "../../audit/broker.ts";
import type { Authority } from "../../core/authority.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { foldHeaderName } from "../../core/headers.ts";
import type { Log } from "../../core/log.ts";
import { parseScope, scopesCover } from "../../identity/scope.ts";
import { createBlindTunnel } from "../ingress/blind-tunnel.ts";
import type { GatewayOrigin, Generation } from "../ingress/generation.ts";
import { createInjectionRules } from "../injection/apply.ts";
import { type Injection, isIssued, isSwap, onTheWire } from "../injection/injector.ts";
import { findIssued, ISSUED_PATTERN } from "../injection/issued.ts";
import { createInjector } from "../injection/kinds/index.ts";
import { compilePlaceholders, type Placeholder } from "../injection/placeholder.ts";
import { createLine } from "../pipeline/line.ts";
import { createReflectionLimit } from "../pipeline/reflection.ts";
import type { ReplayBudget } from "../pipeline/replay-buffer.ts";
import { createResponseDrops } from "../pipeline/response-headers.ts";
import { createJudge, type Judge, type LiveExchanges } from "../pipeline/revocation.ts";
import type { Route } from "../pipeline/route.ts";
import { createDispatch } from "../pipeline/stages/dispatch.ts";
import { createIdentify } from "../pipeline/stages/identify.ts";
import { createInject } from "../pipeline/stages/inject.ts";
import { createRecord } from "../pipeline/stages/record.ts";
import { createRenew, createResolve, createSecretCheck } from "../pipeline/stages/resolve.ts";
import { createRoute } from "../pipeline/stages/route.ts";
import { createRouteTable, type RouteTable } from "../policy/route-table.ts";
import { createRedactionCache, type RedactionCache, type RedactionTerms } from "../scrub/redaction.ts";
import { isWeak } from "../scrub/strength.ts";
import { createBundles } from "../secrets/bundle.ts";
import { REPLACED_MS, type SecretRef } from "../secrets/source.ts";
import type { InjectionConfig, IssuedConfig, RouteConfig, SidecarConfig } from "./config/model.ts";
import { type Mounted, resolverOf, sourcesOf } from "./sources.ts";
import type { Tracing } from "./tracing.ts";
import type { WayOut } from "./way-out.ts";

export interface GenerationParts {
  readonly number: number;
  readonly config: SidecarConfig;
  readonly mounted: Mounted;
  readonly wayOut: WayOut;
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
  readonly live: LiveExchanges;
  readonly replay: ReplayBudget;
  readonly tracing: Tracing | undefined;
}

export interface ServingGeneration extends Generation {
  readonly config: SidecarConfig;
  readonly mounted: Mounted;
  readonly wayOut: WayOut;
  readonly routes: ReadonlyMap<string, CompiledRoute>;
  /** For one look at what is in flight. */
  judge(): Judge;
}

interface CompiledRoute {
  readonly config: RouteConfig;
  readonly route: Route;
}

export const createGeneration = (parts: GenerationParts, before: ServingGeneration | undefined): ServingGeneration => {
  const { number, config, mounted, wayOut, broker, clock, log, live, replay, tracing } = parts;
  const { agent, unmatched, limits } = config;
  const { connector, upstream } = wayOut;
  const routes = compileRoutes(config.routes, before?.routes, clock);
  const table = buildTable(routes);
  const { namesAuthority, namesHost } = table;
  const resolver = resolverOf(mounted);
  const route = createRoute(table, unmatched);
  const sources = sourcesOf(mounted);
  const check = createSecretCheck(sources, resolver);
  const line = createLine(
    {
      identify: createIdentify(agent),
      route,
      resolve: createResolve(sources, resolver, clock),
      inject: createInject(clock, log, compilePlaceholders(placeholdersIn(config.routes), issuedIn(config.routes))),
      record: createRecord(broker),
      dispatch: createDispatch(upstream),
      renew: createRenew(sources, resolver, clock),
    },
    { broker, clock, log, live, replay },
  );
  const passesUnread = (authority: Authority): boolean => unmatched === "tunnel" && !namesHost(authority.host);
  const lookUp: Parameters<typeof createJudge>[0]["lookUp"] = (ref, by, policy) => {
    // Its source is gone from the file, and with it whoever could say so.
    if (!mounted.has(ref.source)) throw new SidekeyError("SOURCE_UNAVAILABLE", { detail: ref.text });
    return resolver.resolve(ref, by, policy);
  };
  return {
    number,
    line: tracing?.trace(line) ?? line,
    namesAuthority,
    namesHost,
    tunnel: unmatched === "tunnel" ? createBlindTunnel({ connector, broker, agent, clock, log, live }) : undefined,
    origins: gatewayOrigins(config.routes),
    limits,
    config,
    mounted,
    wayOut,
    routes,
    judge: () => createJudge({ route, check, lookUp, passesUnread, clock }),
  };
};

const gatewayOrigins = (routes: readonly RouteConfig[]): ReadonlyMap<string, GatewayOrigin> => {
  const origins = new Map<string, GatewayOrigin>();
  for (const { name, gateway } of routes) if (gateway !== undefined) origins.set(name, gateway);
  return origins;
};

/** What the file leaves as it is stays the same object, with all that it remembers of what it sent. */
const compileRoutes = (
  routes: readonly RouteConfig[],
  before: ReadonlyMap<string, CompiledRoute> | undefined,
  clock: Clock,
): ReadonlyMap<string, CompiledRoute> =>
  new Map(
    routes.map((config) => {
      const known = before?.get(config.name);
      const isKnown = known !== undefined && isDeepStrictEqual(known.config, config);
      if (isKnown) return [config.name, known];
      const redactions = known?.route.redactions.successor() ?? createRedactionCache(redactionTerms(clock));
      return [config.name, { config, route: withIssued(config, compileRoute(config, redactions)) }];
    }),
  );

const redactionTerms = (clock: Clock): RedactionTerms => ({ now: () => clock.monotonic(), keepMs: REPLACED_MS });

const buildTable = (routes: ReadonlyMap<string, CompiledRoute>): RouteTable<Route> => {
  const { table } = createRouteTable(
    [...routes.values()].map(({ config, route }) => ({
      name: config.name,
      patterns: config.patterns,
      deny: config.deny,
      route,
    })),
  );
  // The file was checked for ties when it was loaded.
  if (table === undefined) throw new SidekeyError("INTERNAL", { detail: "two routes tie" });
  return table;
};

const compileRoute = (config: RouteConfig, redactions: RedactionCache): Route => {
  const secrets = distinct(config.injections.map(({ ref }) => ref));
  const injections = config.injections.map(({ fields, ref }) => ({
    injector: createInjector(fields),
    secret: secrets.findIndex(({ text }) => text === ref.text),
  }));
  const sets = injections.flatMap(({ injector, secret }) =>
    isSwap(injector) || isIssued(injector) ? [] : [{ injector, secret }],
  );
  return {
    name: config.name,
    secrets,
    secretNames: secrets.map(({ text }) => text).join(","),
    isRenewable: secrets.some(({ version }) => version === undefined),
    bundles: createBundles(secrets),
    injections,
    sets,
    placeholders: ownPlaceholders(injections),
    rules: createInjectionRules(ownedHeaders(sets), config.allowRange),
    redactions,
    responseDrops: createResponseDrops({ allowRange: config.allowRange, passCookies: config.cookies === "pass" }),
    reflection: {
      written: config.onReflection,
      limit: createReflectionLimit(),
      isGuessable: ({ materials }) => materials.some(({ value }, i) => isWeak(onTheWire(injections, i, value))),
    },
    timeouts: config.timeouts,
    maxAgeMs: config.maxAgeMs,
    staleWhileErrorMs: config.staleWhileErrorMs,
    cleartext: config.cleartext,
  };
};

/** How many placeholders of a vault a route keeps what it has compiled for. */
const MAX_VARIANTS = 256;

/**
 * For each set of placeholders that come in one request a route of its own, whose secrets they stand for: from there on
 * they are like any that the file names.
 */
const withIssued = (config: RouteConfig, route: Route): Route => {
  const { issued, ...rest } = config;
  if (issued === undefined) return route;
  const variants = new Map<string, Route>();
  const compile = (placeholders: readonly string[]): Route => {
    const injections = placeholders.map((placeholder) => issuedInjection(issued, placeholder));
    return {
      ...compileRoute({ ...rest, injections: [...config.injections, ...injections] }, route.redactions.sibling()),
      // Echoes count for the route, whoever's key it was.
      reflection: { ...route.reflection },
    };
  };
  return {
    ...route,
    issued(request) {
      const placeholders = findIssued(request);
      if (placeholders.length === 0) {
        if (config.injections.length > 0) return route;
        throw new SidekeyError("INJECT_PLACEHOLDER_MISPLACED", {
          detail: "the request has none, and its route needs one",
        });
      }
      const key = placeholders.join(" ");
      let variant = variants.get(key);
      if (variant === undefined) {
        variant = compile(placeholders);
        // An agent chooses what it sends: the oldest goes.
        const [oldest] = variants.keys();
        if (variants.size >= MAX_VARIANTS && oldest !== undefined) variants.delete(oldest);
        variants.set(key, variant);
      }
      return variant;
    },
  };
};

const issuedInjection = ({ fields, source }: IssuedConfig, placeholder: string): InjectionConfig => {
  const globs = fields.secrets.map((glob) => parseScope(`secrets:use:${glob}`));
  const mark = createHash("sha256").update(placeholder).digest("base64url").slice(0, 22);
  return {
    kind: "placeholder",
    fields: { kind: "placeholder", placeholder, in: fields.in },
    ref: {
      source,
      path: placeholder,
      field: [],
      version: undefined,
      text: `${source}:placeholder:${mark}`,
      issued: { placeholder, allows: (path) => scopesCover(globs, "use", path) },
    },
  };
};

const issuedIn = (routes: readonly RouteConfig[]): readonly string[] =>
  routes.some(({ issued }) => issued !== undefined) ? [ISSUED_PATTERN] : [];

const ownPlaceholders = (injections: readonly Injection[]): ReadonlyMap<string, Placeholder> =>
  new Map(
    injections.flatMap(({ injector, secret }) =>
      isSwap(injector) ? [[injector.placeholder, { places: injector.places, secret }] as const] : [],
    ),
  );

const placeholdersIn = (routes: readonly RouteConfig[]): readonly string[] =>
  routes.flatMap(({ injections }) =>
    injections.flatMap(({ fields }) => (fields.kind === "placeholder" ? [fields.placeholder ?? ""] : [])),
  );

const distinct = (refs: readonly SecretRef[]): readonly SecretRef[] => [
  ...new Map(refs.map((ref) => [ref.text, ref])).values(),
];

const ownedHeaders = (injections: readonly Injection[]): readonly string[] =>
  injections.flatMap(({ injector }) =>
    injector.places.flatMap((place) => (place.in === "header" ? [foldHeaderName(place.name)] : [])),
  );
