/**
 * Which route, if any. Unmatched is denied; only a host that no route names may pass, and only if the file says so. A
 * request that names its route is never served by another one, nor without one.
 */
import { SidekeyError } from "../../../core/errors.ts";
import type { RouteTable } from "../../policy/route-table.ts";
import type { Identified, Routed, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createRoute = (table: RouteTable<Route>, unmatched: "deny" | "tunnel"): Stage<Identified, Routed> =>
  function route(identified) {
    const { named } = identified.request;
    const match = table.lookup(identified.request);
    if (match.decision === "route") {
      if (named === undefined || named === match.name) {
        const { route } = match;
        return { identified, route: route.issued?.(identified.request) ?? route } as Routed;
      }
      throw new SidekeyError("POLICY_DENIED", { detail: `route ${match.name} covers what was asked of ${named}` });
    }
    if (match.decision === "denied") throw new SidekeyError("POLICY_DENIED", { detail: `route ${match.name}` });
    if (unmatched === "tunnel" && !match.hostNamed && named === undefined)
      return { identified, route: undefined } as Routed;
    throw new SidekeyError("POLICY_NO_ROUTE");
  };
