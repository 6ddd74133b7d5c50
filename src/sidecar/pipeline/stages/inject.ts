/** What leaves: the agent's headers less what is ours, plus the credential; and what must not come back. */
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import { buildHeaders, passthroughRules } from "../../injection/apply.ts";
import { isWeak } from "../../scrub/strength.ts";
import type { Injected, Resolved, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createInject = (clock: Clock, log: Log): Stage<Resolved, Injected> =>
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
    const redaction = route.redactions.get(material, () => {
      const sent = onTheWire(route, material.value);
      // Once for each version of it. `sidekey check` says it earlier, where it can read the secret.
      if (isWeak(sent)) log.warn("the secret could be guessed", { route: route.name, secret: route.ref.text });
      const { replaced = [] } = material;
      return [...sent, ...replaced.flatMap((old) => onTheWire(route, old.value))];
    });
    return { resolved, target, headers, redaction } as Injected;
  };

/** The secret and what its injector makes of it. What it replaced lately went over the wire too: none of it may come back. */
const onTheWire = (route: Route, value: SecretValue): readonly Buffer[] => [
  value.lend((bytes) => Buffer.from(bytes)),
  ...route.injector.derived(value),
];
