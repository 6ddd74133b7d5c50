/** What leaves: the agent's headers less what is ours, plus the credential; and what must not come back. */
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { buildHeaders, passthroughRules } from "../../injection/apply.ts";
import type { SecretMaterial } from "../../secrets/source.ts";
import type { Injected, Resolved, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createInject = (clock: Clock): Stage<Resolved, Injected> =>
  function inject(resolved) {
    const { routed, material } = resolved;
    const { route } = routed;
    const { request } = routed.identified;
    const target = request.path + request.query;
    if (route === undefined || material === undefined) {
      const headers = buildHeaders(request.headers, passthroughRules, request.connection, undefined);
      return { resolved, target, headers, redaction: undefined } as Partial<Injected> as Injected;
    }
    // Here and not where it is routed: what is in flight when a route closes goes on.
    if (route.reflection.limit.isClosed(clock.monotonic())) {
      throw new SidekeyError("UPSTREAM_REFLECTED", { detail: `route ${route.name} is closed for up to an hour` });
    }
    const patch = route.injector.plan(request, material.value);
    const headers = buildHeaders(request.headers, route.rules, request.connection, patch);
    const redaction = route.redactions.get(material, () => secretBytes(route, material));
    return { resolved, target, headers, redaction } as Injected;
  };

/** The secret and what its injector makes of it, and the same of what it replaced lately: none of it may come back. */
const secretBytes = (route: Route, { value, replaced = [] }: SecretMaterial): readonly Buffer[] =>
  [value, ...replaced.map((old) => old.value)].flatMap((one) => [
    one.lend((bytes) => Buffer.from(bytes)),
    ...route.injector.derived(one),
  ]);
