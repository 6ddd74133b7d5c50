/**
 * Which route a request belongs to: compiled once per file, then only read. The most specific pattern wins, never the
 * order of the file (interface.md section 2), so two patterns that tie are refused when the table is made. Decides from
 * the canonical path alone; where that has a second reading (path.ts), both must lead to the same route.
 */
import { type Authority, formatHost, type Host } from "../../core/authority.ts";
import { generousPath } from "./path.ts";
import {
  type DenyPattern,
  formatHostPattern,
  type HostPattern,
  type Methods,
  matchesMethod,
  matchesPath,
  type PathPattern,
  type Pattern,
  type Reading,
  type Scheme,
} from "./pattern.ts";

export interface RouteRules<R> {
  readonly name: string;
  readonly patterns: readonly Pattern[];
  readonly deny: readonly DenyPattern[];
  /** What a match hands back. */
  readonly route: R;
}

export interface RouteRequest {
  readonly method: string;
  readonly scheme: Scheme;
  readonly authority: Authority;
  /** Canonical, without query. */
  readonly path: string;
}

export type RouteDecision<R> =
  | { readonly decision: "route"; readonly name: string; readonly route: R; readonly pattern: Pattern }
  | { readonly decision: "denied"; readonly name: string; readonly reason: string }
  | {
      readonly decision: "none";
      /** Some pattern names this host, on whatever port, so that `unmatched: tunnel` does not open it (ruling 18). */
      readonly hostNamed: boolean;
    };

export interface RouteTable<R> {
  lookup(request: RouteRequest): RouteDecision<R>;
  /** Some pattern names this host and port, whatever its scheme: a CONNECT to it is intercepted (ruling 18). */
  namesAuthority(authority: Authority): boolean;
  /** Some pattern names this host, whatever its scheme and port: it is never tunnelled unread (ruling 18). */
  namesHost(host: Host): boolean;
}

/** Two patterns of different routes that are equally specific and share a method. */
export interface TieConflict {
  readonly first: { readonly route: string; readonly pattern: Pattern };
  readonly second: { readonly route: string; readonly pattern: Pattern };
}

export type RouteTableResult<R> =
  | { readonly table: RouteTable<R>; readonly conflicts?: never }
  | { readonly conflicts: readonly TieConflict[]; readonly table?: never };

/** A pattern with what belongs to its route, and its decisions made beforehand. */
interface Entry<R> {
  readonly pattern: Pattern;
  readonly matched: RouteDecision<R> & { readonly decision: "route" };
  readonly denied: readonly DenyRule[];
}

interface DenyRule {
  readonly methods: Methods;
  readonly path: PathPattern;
  readonly verdict: RouteDecision<never> & { readonly decision: "denied" };
}

/** Entries of one scheme: by `host:port`, and by `suffix:port` for each kind of wildcard. Most specific first. */
interface HostIndex<R> {
  readonly exact: Map<string, Entry<R>[]>;
  readonly one: Map<string, Entry<R>[]>;
  readonly many: Map<string, Entry<R>[]>;
}

export const createRouteTable = <R>(routes: readonly RouteRules<R>[]): RouteTableResult<R> => {
  const conflicts = findTies(routes);
  if (conflicts.length > 0) return { conflicts };
  const https = createHostIndex(routes, "https");
  const http = createHostIndex(routes, "http");
  const namesHost = createHostNames(routes);

  const lookup = (request: RouteRequest): RouteDecision<R> => {
    const index = request.scheme === "https" ? https : http;
    const found = find(index, request, request.path, "canonical");
    const generous = generousPath(request.path);
    if (generous !== request.path) {
      const other = find(index, request, generous, "generous");
      if (other?.matched.name !== found?.matched.name) return twoReadings(found ?? other);
    }
    if (found !== undefined) return denial(found, request.method, generous) ?? found.matched;
    return namesHost(request.authority.host) ? NAMED : NOT_NAMED;
  };

  const namesAuthority = (authority: Authority): boolean => names(https, authority) || names(http, authority);
  return { table: { lookup, namesAuthority, namesHost } };
};

const NAMED = { decision: "none", hostNamed: true } as const;
const NOT_NAMED = { decision: "none", hostNamed: false } as const;

const twoReadings = (entry: Entry<unknown> | undefined): RouteDecision<never> => ({
  decision: "denied",
  name: entry?.matched.name ?? "",
  reason: "the path has escapes or parameters that lead to another route when decoded",
});

const find = <R>(index: HostIndex<R>, request: RouteRequest, path: string, reading: Reading): Entry<R> | undefined => {
  const { authority, method } = request;
  const exact = index.exact.get(authority.key);
  const found = exact === undefined ? undefined : firstMatch(exact, method, path, reading);
  if (found !== undefined || !hasWildcards(index)) return found;
  for (const entries of wildcardLists(index, authority)) {
    const match = firstMatch(entries, method, path, reading);
    if (match !== undefined) return match;
  }
  return undefined;
};

const firstMatch = <R>(
  entries: readonly Entry<R>[],
  method: string,
  path: string,
  reading: Reading,
): Entry<R> | undefined => {
  for (const entry of entries) {
    const { pattern } = entry;
    if (matchesMethod(pattern.methods, method) && matchesPath(pattern.path, path, reading)) return entry;
  }
  return undefined;
};

const names = <R>(index: HostIndex<R>, authority: Authority): boolean =>
  index.exact.has(authority.key) || (hasWildcards(index) && wildcardLists(index, authority).length > 0);

const hasWildcards = <R>(index: HostIndex<R>): boolean => index.one.size > 0 || index.many.size > 0;

/** Entries whose wildcard covers the authority, longest suffix first, `*.` before `**.`. */
const wildcardLists = <R>(index: HostIndex<R>, { host, key }: Authority): readonly (readonly Entry<R>[])[] => {
  const lists: (readonly Entry<R>[])[] = [];
  if (host.kind !== "name") return lists;
  // Only the first cut leaves exactly one label in front.
  let isFirst = true;
  for (let dot = key.indexOf("."); dot !== -1; dot = key.indexOf(".", dot + 1)) {
    const suffix = key.slice(dot + 1);
    const one = isFirst ? index.one.get(suffix) : undefined;
    if (one !== undefined) lists.push(one);
    const many = index.many.get(suffix);
    if (many !== undefined) lists.push(many);
    isFirst = false;
  }
  return lists;
};

/** `deny` binds whichever way the path is read, and with a trailing slash as without. */
const denial = <R>(entry: Entry<R>, method: string, generous: string): RouteDecision<never> | undefined => {
  if (entry.denied.length === 0) return undefined;
  const path = generous.length > 1 && generous.endsWith("/") ? generous.slice(0, -1) : generous;
  const upper = method.toUpperCase();
  for (const rule of entry.denied) {
    if (rule.methods !== undefined && !rule.methods.has(upper)) continue;
    // Both, so that a pattern with `*` in its last place keeps covering what it covers with the slash.
    if (matchesPath(rule.path, path, "generous") || matchesPath(rule.path, generous, "generous")) return rule.verdict;
  }
  return undefined;
};

/** Whether any pattern names a host; ports are left out. */
const createHostNames = (routes: readonly RouteRules<unknown>[]): ((host: Host) => boolean) => {
  const named = { exact: new Set<string>(), one: new Set<string>(), many: new Set<string>() };
  for (const { patterns } of routes) {
    for (const { host } of patterns) {
      named[host.kind].add(host.kind === "exact" ? formatHost(host.authority.host) : host.suffix);
    }
  }
  return (host) => {
    if (named.exact.has(formatHost(host))) return true;
    if (host.kind !== "name") return false;
    const { name } = host;
    const first = name.indexOf(".");
    for (let dot = first; dot !== -1; dot = name.indexOf(".", dot + 1)) {
      const suffix = name.slice(dot + 1);
      if (named.many.has(suffix) || (dot === first && named.one.has(suffix))) return true;
    }
    return false;
  };
};

const createHostIndex = <R>(routes: readonly RouteRules<R>[], scheme: Scheme): HostIndex<R> => {
  const index: HostIndex<R> = { exact: new Map(), one: new Map(), many: new Map() };
  for (const { name, patterns, deny, route } of routes) {
    const denied = deny.map(({ methods, path }) => ({
      methods,
      path: withoutTrailingSlash(path),
      verdict: denialOf(name),
    }));
    for (const pattern of patterns) {
      if (pattern.scheme !== scheme) continue;
      const list = index[pattern.host.kind];
      const key = hostKey(pattern.host, pattern.port);
      const entry: Entry<R> = { pattern, denied, matched: { decision: "route", name, route, pattern } };
      const entries = list.get(key);
      if (entries === undefined) list.set(key, [entry]);
      else entries.push(entry);
    }
  }
  for (const list of [index.exact, index.one, index.many]) {
    for (const entries of list.values()) entries.sort((a, b) => compareWithinHost(a.pattern, b.pattern));
  }
  return index;
};

const hostKey = (host: HostPattern, port: number): string =>
  host.kind === "exact" ? host.authority.key : `${host.suffix}:${port}`;

const denialOf = (name: string): RouteDecision<never> & { readonly decision: "denied" } => ({
  decision: "denied",
  name,
  reason: "the route's 'deny' covers this method and path",
});

const withoutTrailingSlash = (path: PathPattern): PathPattern => {
  const isSlash = !path.rest && path.segments.length > 1 && path.segments.at(-1)?.canonical === "";
  return isSlash ? { ...path, segments: path.segments.slice(0, -1) } : path;
};

/** Negative when `a` is more specific: path segment by segment (literal, `*`, `**`), then a METHODS list before none. */
const compareWithinHost = (a: Pattern, b: Pattern): number =>
  comparePaths(a.path, b.path) || Number(a.methods === undefined) - Number(b.methods === undefined);

const comparePaths = (a: PathPattern, b: PathPattern): number => {
  const length = Math.max(a.segments.length, b.segments.length);
  for (let index = 0; index <= length; index++) {
    const difference = rank(a, index) - rank(b, index);
    if (difference !== 0) return difference;
  }
  return 0;
};

/** Two patterns that both cover a path have the same literals where they have literals, so a rank is enough. */
const rank = ({ segments, rest }: PathPattern, index: number): number => {
  if (index < segments.length) return segments[index] === undefined ? 1 : 0;
  return rest ? 2 : 0;
};

/** Equal host, port and path means the same text but for methods; anything else is ordered by specificity. */
const findTies = <R>(routes: readonly RouteRules<R>[]): TieConflict[] => {
  const places = new Map<string, TieConflict["first"][]>();
  const conflicts: TieConflict[] = [];
  for (const { name, patterns } of routes) {
    for (const pattern of patterns) {
      const place = `${pattern.scheme}://${formatHostPattern(pattern)}${formatPath(pattern.path)}`;
      const others = places.get(place) ?? [];
      const second = { route: name, pattern };
      for (const first of others) {
        if (first.route !== name && shareMethods(first.pattern.methods, pattern.methods))
          conflicts.push({ first, second });
      }
      others.push(second);
      places.set(place, others);
    }
  }
  return conflicts;
};

const formatPath = ({ segments, rest }: PathPattern): string =>
  [...segments.map((segment) => segment?.canonical ?? "*"), ...(rest ? ["**"] : [])].map((word) => `/${word}`).join("");

/** A list and no list are not equally specific, so they don't tie. */
const shareMethods = (a: Methods, b: Methods): boolean => {
  if (a === undefined || b === undefined) return a === b;
  for (const method of a) if (b.has(method)) return true;
  return false;
};
