/**
 * Routes of the file, compiled and checked against the rest of it: references, cleartext, ties. Every problem is
 * reported, and a route with one is left out of the result.
 */
import type { Origin } from "../../../config/addresses.ts";
import type { KeyPath } from "../../../config/problem.ts";
import {
  isPatternProblem,
  matchesHost,
  type Pattern,
  type PatternProblem,
  parseHostKey,
} from "../../policy/pattern.ts";
import { createRouteTable } from "../../policy/route-table.ts";
import { type PlacedPlaceholder, reportSharedPlaceholders } from "./distinct-placeholders.ts";
import { buildInjections, type InjectionChecks } from "./injections.ts";
import type { RouteConfig, SidecarConfig } from "./model.ts";
import { placeholderOf } from "./placeholder.ts";
import type { PresetLibrary } from "./presets.ts";
import { presetOf, withPreset } from "./route-preset.ts";
import { type RouteFields, routeSchema } from "./schema.ts";

export interface RouteChecks extends InjectionChecks {
  readonly presets: PresetLibrary;
  /** Absolute. */
  readonly state: string;
  readonly connect: SidecarConfig["upstream"]["connect"];
}

/** A pattern with the place it was written at. */
interface Placed {
  readonly pattern: Pattern;
  readonly path: KeyPath;
}

export interface RouteEntry {
  readonly name: string;
  readonly written: string | RouteFields;
  /** Some keys were refused already: what is missing from `written` may stand in the file. */
  readonly isPartial: boolean;
}

export const buildRoutes = (entries: readonly RouteEntry[], checks: RouteChecks): RouteConfig[] => {
  const placed = new Map<string, readonly Placed[]>();
  const routes: RouteConfig[] = [];
  const placeholders: PlacedPlaceholder[] = [];
  for (const entry of entries) {
    const { name, written } = entry;
    const isShort = typeof written === "string";
    const own = isShort ? routeSchema.parse({ secret: written }) : written;
    const path: KeyPath = ["routes", name];
    const found = presetOf(name, path, own, checks);
    const isPartial = entry.isPartial || found === "unknown";
    const preset = found === "unknown" ? undefined : found;
    const fields = withPreset(own, preset);
    const matchPath: KeyPath = [...path, own.match === undefined ? "preset" : "match"];
    const patterns =
      isPartial && fields.match === undefined ? undefined : placePatterns(name, matchPath, fields, checks);
    if (patterns !== undefined) {
      placed.set(name, patterns);
      for (const one of patterns) checkCleartext(one, fields, checks);
    }
    const { secret, inject } = fields;
    const secretPath = isShort ? path : [...path, "secret"];
    const placeholder = (n: number): string =>
      placeholderOf(n === 0 ? name : `${name}#${n + 1}`, checks.state, preset?.placeholder);
    const built = buildInjections({ path, secretPath, secret, inject, isPartial, placeholder }, checks);
    placeholders.push(...(built?.placeholders ?? []));
    if (patterns === undefined || built === undefined) continue;
    const gateway = gatewayOrigin(patterns, fields, path, checks);
    routes.push({
      name,
      patterns: patterns.map(({ pattern }) => pattern),
      deny: fields.deny,
      injections: built.injections,
      ...(built.issued !== undefined && { issued: built.issued }),
      ...(preset !== undefined && { preset: preset.name }),
      variables: built.injections.length === 0 ? [] : fields.env === undefined ? (preset?.env ?? []) : [fields.env],
      placeholder: built.placeholders[0]?.text ?? placeholder(0),
      maxAgeMs: fields.max_age,
      staleWhileErrorMs: fields.stale_while_error,
      timeouts: {
        connectMs: fields.timeouts.connect,
        headersMs: fields.timeouts.headers,
        idleMs: fields.timeouts.idle,
      },
      cleartext: fields.cleartext,
      allowRange: fields.allow_range,
      cookies: fields.cookies,
      ...(fields.on_reflection !== undefined && { onReflection: fields.on_reflection }),
      ...(gateway !== undefined && { gateway }),
    });
  }
  reportTies(placed, checks);
  reportSharedPlaceholders(placeholders, checks.report);
  return routes;
};

/** `matchPath` is where a `match` comes from: a preset's has no places of its own. */
const placePatterns = (
  name: string,
  matchPath: KeyPath,
  { match }: RouteFields,
  checks: RouteChecks,
): readonly Placed[] | undefined => {
  const isWritten = matchPath.at(-1) === "match";
  if (Array.isArray(match)) {
    return match.map((pattern, index) => ({ pattern, path: isWritten ? [...matchPath, index] : matchPath }));
  }
  if (match !== undefined) return [{ pattern: match, path: matchPath }];
  const path: KeyPath = ["routes", name];
  const pattern: Pattern | PatternProblem = parseHostKey(name);
  if (isPatternProblem(pattern)) {
    checks.report({ path, message: "has no 'match', and its name is not a host", hint: MATCH_HINT });
    return undefined;
  }
  if (/^[a-z0-9_-]+$/.test(name) && name !== "localhost") {
    checks.warn({ path, message: "has no 'match', so its name is the host it matches", hint: MATCH_HINT });
  }
  return [{ pattern, path }];
};

/** Policy matches what comes in by the gateway afresh, so an origin that no pattern names could only ever be refused. */
const gatewayOrigin = (
  patterns: readonly Placed[],
  { gateway }: RouteFields,
  path: KeyPath,
  checks: RouteChecks,
): Origin | undefined => {
  if (gateway === undefined) {
    for (const { pattern } of patterns) {
      if (pattern.host.kind === "exact") return { scheme: pattern.scheme, authority: pattern.host.authority };
    }
    return undefined;
  }
  if (!patterns.some(({ pattern }) => pattern.scheme === gateway.scheme && matchesHost(pattern, gateway.authority))) {
    checks.report({
      path: [...path, "gateway"],
      message: "is an origin that no 'match' of this route covers",
      hint: "Only what the route matches can be asked for through the gateway.",
    });
  }
  return gateway;
};

const MATCH_HINT = "For example match: https://api.example.com/**";

/** Ruling 11; what a name leads to is judged again where the socket connects. */
const checkCleartext = ({ pattern, path }: Placed, { cleartext }: RouteFields, checks: RouteChecks): void => {
  if (pattern.scheme !== "http" || cleartext || isLoopback(pattern, checks.connect)) return;
  checks.report({
    path,
    message: "would send the credential over cleartext HTTP",
    hint: "Use https, or write 'cleartext: true' and open the address with egress.allow.",
  });
};

const isLoopback = ({ host }: Pattern, connect: RouteChecks["connect"]): boolean => {
  if (host.kind !== "exact") return false;
  const name = connect.get(host.authority.key)?.address ?? host.authority.host.name;
  return name === "localhost" || name === "::1" || /^127\.[0-9]+\.[0-9]+\.[0-9]+$/.test(name);
};

const reportTies = (placed: ReadonlyMap<string, readonly Placed[]>, checks: RouteChecks): void => {
  const rules = [...placed].map(([name, patterns]) => ({
    name,
    patterns: patterns.map(({ pattern }) => pattern),
    deny: [],
    route: name,
  }));
  for (const { first, second } of createRouteTable(rules).conflicts ?? []) {
    const place = placed.get(second.route)?.find(({ pattern }) => pattern === second.pattern);
    checks.report({
      path: place?.path ?? ["routes", second.route],
      message: `routes '${first.route}' and '${second.route}' are equally specific`,
      hint: "They match the same host, path and method: give one a longer path, other methods, or remove it.",
    });
  }
};
