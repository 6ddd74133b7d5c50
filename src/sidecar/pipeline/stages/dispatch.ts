/** Sends what is on record, exactly as injected, and hands the response to the relay. */
import type { Cleartext } from "../../net/connector.ts";
import type { ResponseSink, Upstream } from "../../upstream/upstream.ts";
import type { Recorded } from "../messages.ts";
import type { Route, RouteTimeouts } from "../route.ts";

/** For what passes without a route. `ms` */
const DEFAULT_TIMEOUTS: RouteTimeouts = { connectMs: 10_000, headersMs: 600_000, idleMs: 300_000 };

const cleartextOf = (route: Route | undefined): Cleartext => {
  if (route === undefined) return "uncredentialed";
  return route.cleartext ? "opened" : "loopback";
};

export const createDispatch =
  (upstream: Upstream) =>
  (recorded: Recorded, sink: ResponseSink, body = recorded.injected.resolved.routed.identified.request.body): void => {
    const { injected } = recorded;
    const { route, identified } = injected.resolved.routed;
    const { method, scheme, authority } = identified.request;
    upstream.send(
      {
        method,
        scheme,
        authority,
        target: injected.target,
        headers: injected.headers,
        body,
        cleartext: scheme === "https" ? "never" : cleartextOf(route),
        // A literal only ever matches a pattern in which the operator wrote it.
        written: route !== undefined && authority.host.kind !== "name",
        timeouts: route?.timeouts ?? DEFAULT_TIMEOUTS,
      },
      sink,
    );
  };
