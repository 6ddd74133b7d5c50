/** The intent on record, before the first upstream byte. Without a receipt nothing can be sent. */
import type { AuditBroker } from "../../../audit/broker.ts";
import type { Injected, Recorded, RequestContext } from "../messages.ts";

export const createRecord =
  (broker: AuditBroker) =>
  (injected: Injected, ctx: RequestContext, attempt: 1 | 2 = 1): Promise<Recorded> => {
    const { sent } = injected;
    const { routed } = injected.resolved;
    const { request, agent } = routed.identified;
    const { route } = routed;
    return broker
      .record({
        type: "intent",
        requestId: ctx.id,
        attempt: attempt === 1 ? undefined : attempt,
        agent: sent?.agent ?? agent,
        route: route?.name,
        secret: sent?.secret,
        version: sent?.version,
        method: request.method,
        scheme: request.scheme,
        authority: request.authority.key,
        path: request.path,
        decision: route === undefined ? "tunnel" : "inject",
      })
      .then((receipt) => ({ injected, receipt, attempt }) as Recorded);
  };
