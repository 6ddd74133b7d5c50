/** What leaves: the agent's request less what is ours, plus the credentials; and what must not come back. */
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import { applyInjections, buildHeaders, passthroughRules } from "../../injection/apply.ts";
import { onTheWire } from "../../injection/injector.ts";
import { type Placeholder, type Swapped, swapPlaceholders } from "../../injection/placeholder.ts";
import { isWeak } from "../../scrub/strength.ts";
import { namesOf, type SecretBundle } from "../../secrets/bundle.ts";
import type { Injected, Resolved, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

/** `placeholders`: finds those of the whole file, which leave in no request; undefined: it has none. */
export const createInject = (clock: Clock, log: Log, placeholders: RegExp | undefined): Stage<Resolved, Injected> => {
  /** What went over the wire for these secrets, and for those that they replaced lately. */
  const sentBytes = (route: Route, { materials }: SecretBundle): readonly Buffer[] =>
    materials.flatMap(({ value, replaced = [] }, i) => {
      const sent = onTheWire(route.injections, i, value);
      // Once for each version of it. `sidekey check` says it earlier, where it can read the secret.
      if (isWeak(sent)) log.warn("the secret could be guessed", { route: route.name, secret: route.secrets[i]?.text });
      return [...sent, ...replaced.flatMap((old) => onTheWire(route.injections, i, old.value))];
    });

  return function inject(resolved) {
    const { routed, secrets } = resolved;
    const { route } = routed;
    const { request } = routed.identified;
    if (route === undefined || secrets === undefined) {
      const headers = buildHeaders(request.headers, passthroughRules, request.connection);
      if (placeholders !== undefined) swapPlaceholders(headers, request, placeholders, NONE, []);
      const target = request.path + request.query;
      return { resolved, target, headers, sent: undefined, redaction: undefined } as Partial<Injected> as Injected;
    }
    // Here and not where it is routed: what is in flight when a route closes goes on.
    if (route.reflection.limit.isClosed(clock.monotonic())) {
      throw new SidekeyError("UPSTREAM_REFLECTED", { detail: `route ${route.name} is closed for up to an hour` });
    }
    const headers = buildHeaders(request.headers, route.rules, request.connection);
    const { sets, placeholders: own } = route;
    const { materials } = secrets;
    const swapped = placeholders && swapPlaceholders(headers, request, placeholders, own, materials);
    const target = applyInjections(headers, swapped ?? request, unsent(sets, swapped), materials);
    const sent = own.size === 0 ? secrets : namesOf(secrets, route.secrets, usedBy(sets, swapped));
    const redaction = route.redactions.get(secrets, () => sentBytes(route, secrets));
    return { resolved, target, headers, sent, redaction } as Partial<Injected> as Injected;
  };
};

const NONE: ReadonlyMap<string, Placeholder> = new Map();

/**
 * What the agent's placeholder has put into a place of its own is not sent once more in a header of ours: there are APIs
 * that refuse a request with two credentials. The agent's copies of that header are gone either way.
 */
const unsent = (sets: Route["sets"], swapped: Swapped | undefined): Route["sets"] =>
  swapped === undefined || swapped.used.size === 0
    ? sets
    : sets.filter(
        ({ injector, secret }) => !swapped.used.has(secret) || injector.places.some(({ in: at }) => at !== "header"),
      );

/** A placeholder that the agent did not send puts no secret in. */
const usedBy = (sets: Route["sets"], swapped: Swapped | undefined): ReadonlySet<number> =>
  new Set([...sets.map(({ secret }) => secret), ...(swapped?.used ?? [])]);
