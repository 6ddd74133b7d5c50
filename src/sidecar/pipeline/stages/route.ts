/** Which route, if any. Unmatched is denied; only a host that no route names may pass, and only if the file says so. */
import { SidekeyError } from "../../../core/errors.ts";
import type { RouteTable } from "../../policy/route-table.ts";
import type { Identified, Routed, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createRoute = (table: RouteTable<Route>, unmatched: "deny" | "tunnel"): Stage<Identified, Routed> =>
  function route(identified) {
    const match = table.lookup(identified.request);
    if (match.decision === "route") return { identified, route: match.route } as Routed;
    if (match.decision === "denied") throw new SidekeyError("POLICY_DENIED", { detail: `route ${match.name}` });
    if (unmatched === "tunnel" && !match.hostNamed) return { identified, route: undefined } as Routed;
    throw new SidekeyError("POLICY_NO_ROUTE");
  };
