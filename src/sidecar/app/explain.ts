/**
 * What would become of a request, by the file alone: the same grammar, the same table and the same words as the sidecar
 * that serves it. It reads no secret, resolves no name and opens nothing, so a route whose secret is missing explains
 * well all the same.
 */
import { nearest } from "../../config/suggest.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { isHeaderName } from "../../core/headers.ts";
import { parseAbsoluteTarget, type Target } from "../ingress/target.ts";
import { isIssued, isSwap } from "../injection/injector.ts";
import { createInjector } from "../injection/kinds/index.ts";
import { isRemovable, placeText } from "../injection/place.ts";
import { createEgressGuard } from "../policy/egress.ts";
import { matchesHost, NEVER_FORWARDED } from "../policy/pattern.ts";
import { createRouteTable } from "../policy/route-table.ts";
import type { RouteConfig, SidecarConfig } from "./config/model.ts";

/** JSON of `sidekey explain` (interface.md section 5); what does not apply is left out. */
export interface Explanation {
  readonly decision: "inject" | "tunnel" | "deny";
  readonly route?: string;
  /** Of the route, where what it sends comes from one. */
  readonly preset?: string;
  /** As the file has it, or its preset. */
  readonly pattern?: string;
  /** Of the secret; with commas where there are several. */
  readonly source?: string;
  /** Canonical reference; several with commas, as in the audit. */
  readonly secret?: string;
  readonly inject?: readonly ExplainedInjection[];
  /** What of the agent's own does not leave, in every spelling. */
  readonly removed?: readonly string[];
  /** Of the refusal. */
  readonly code?: string;
  readonly reason: string;
}

export interface ExplainedInjection {
  readonly kind: string;
  readonly where: string;
  /** What is swapped there; absent: it is set, whatever the agent sends. */
  readonly placeholder?: string;
  /** Which of the route's secrets, where it has several. */
  readonly secret?: string;
}

export type Explainer = (method: string, url: string) => Explanation;

export const createExplainer = (config: SidecarConfig): Explainer => {
  const { table } = createRouteTable(
    config.routes.map((route) => ({ name: route.name, patterns: route.patterns, deny: route.deny, route })),
  );
  // The file was checked for ties when it was loaded.
  if (table === undefined) throw new SidekeyError("INTERNAL", { detail: "two routes tie" });
  const guard = createEgressGuard(config.egress);

  const unmatched = (target: Target, hostNamed: boolean): Explanation => {
    const { authority } = target;
    if (hostNamed) return refusal("POLICY_NO_ROUTE", coverage(config.routes, target));
    if (config.unmatched === "deny")
      return refusal("POLICY_NO_ROUTE", `no route names this host${meantHost(config.routes, authority)}`);
    if (authority.host.kind !== "name" && !guard.permits(authority.host.name)) {
      return refusal("POLICY_ADDRESS", "the address is in a closed range, which egress.allow does not open");
    }
    return { decision: "tunnel", reason: "no route names this host, and unmatched is 'tunnel': it passes unread" };
  };

  return (method, url) => {
    if (!isHeaderName(method)) return refusal("INGRESS_BAD_REQUEST", "the method is not a word of HTTP");
    if (method === "CONNECT") return refusal("POLICY_DENIED", "CONNECT is not forwarded: explain what is asked inside");
    if (NEVER_FORWARDED.has(method)) return refusal("INGRESS_METHOD_REFUSED", `${method} is never forwarded`);
    const target = readTarget(url);
    if ("decision" in target) return target;
    const match = table.lookup({ method, ...target });
    if (match.decision === "none") return unmatched(target, match.hostNamed);
    if (match.decision === "denied") return { ...refusal("POLICY_DENIED", match.reason), route: match.name };
    return injected(match.route, match.pattern.text, match.pattern.methods !== undefined);
  };
};

const refusal = (code: string, reason: string): Explanation => ({ decision: "deny", code, reason });

const readTarget = (url: string): Target | Explanation => {
  // A fragment is the client's own and is never sent.
  const hash = url.indexOf("#");
  const text = hash === -1 ? url : url.slice(0, hash);
  if (!/^https?:\/\//i.test(text)) {
    return refusal("INGRESS_BAD_REQUEST", "the URL must begin with https:// or http://");
  }
  try {
    return parseAbsoluteTarget(text);
  } catch (error) {
    if (!isSidekeyError(error)) throw error;
    return refusal(error.code, error.detail ?? error.publicMessage);
  }
};

const injected = (route: RouteConfig, pattern: string, byMethod: boolean): Explanation => {
  const refs = [...new Map(route.injections.map(({ ref }) => [ref.text, ref])).values()];
  const sent = route.injections.map(({ fields, ref }) => ({ injector: createInjector(fields), ref }));
  const { issued } = route;
  return {
    decision: "inject",
    route: route.name,
    ...(route.preset !== undefined && { preset: route.preset }),
    // The short form has its pattern from its name.
    pattern,
    source: [...new Set([...refs.map(({ source }) => source), ...(issued === undefined ? [] : [issued.source])])].join(
      ",",
    ),
    secret: refs.map(({ text }) => text).join(","),
    inject: [
      ...sent.map(({ injector, ref }) => ({
        kind: injector.kind,
        where: injector.places.map(placeText).join(", "),
        ...(isSwap(injector) && { placeholder: injector.placeholder }),
        ...(refs.length > 1 && { secret: ref.text }),
      })),
      ...(issued === undefined
        ? []
        : [{ kind: issued.fields.kind, where: issued.fields.in.map(placeText).join(", ") }]),
    ],
    removed: sent.flatMap(({ injector }) =>
      isSwap(injector) || isIssued(injector) ? [] : injector.places.filter(isRemovable).map(placeText),
    ),
    reason: `the most specific pattern that covers this host${byMethod ? ", method" : ""} and path`,
  };
};

const meantHost = (routes: readonly RouteConfig[], { key }: Target["authority"]): string => {
  const hosts = routes.flatMap(({ patterns }) =>
    patterns.flatMap(({ host }) => (host.kind === "exact" ? [host.authority.key] : [])),
  );
  const meant = nearest(key, hosts);
  return meant === undefined ? "" : `; did you mean ${meant.replace(/:443$/, "")}?`;
};

/** Why a host that is named does not match: what its patterns cover. */
const coverage = (routes: readonly RouteConfig[], { scheme, authority }: Target): string => {
  const texts = routes.flatMap(({ name, patterns }) =>
    patterns
      .filter((pattern) => pattern.scheme === scheme && matchesHost(pattern, authority))
      .map(({ text }) => `${text} (route ${name})`),
  );
  if (texts.length === 0) return "a route names this host, with another scheme or port";
  return `the host is routed, but this method and path are not: its patterns are ${texts.join(", ")}`;
};
