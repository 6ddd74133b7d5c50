/** The intent on record, before the first upstream byte. Without a receipt nothing can be sent. */
import type { AuditBroker, AuditReceipt, AuditWaiter } from "../../../audit/broker.ts";
import type { SidekeyError } from "../../../core/errors.ts";
import type { Injected, Recorded, RequestContext } from "../messages.ts";

/** Who waits for a request to be on record: one of the two is called, once, perhaps at once. Neither may throw. */
export interface RecordListener {
  recorded(recorded: Recorded): void;
  /** AUDIT_UNAVAILABLE. */
  unrecorded(error: SidekeyError): void;
}

/** What becomes a `Recorded` when its receipt comes. */
class Intent implements AuditWaiter<"intent"> {
  readonly injected: Injected;
  readonly attempt: 1 | 2;
  receipt: AuditReceipt<"intent"> | undefined;
  readonly #listener: RecordListener;

  constructor(injected: Injected, attempt: 1 | 2, listener: RecordListener) {
    this.injected = injected;
    this.attempt = attempt;
    this.receipt = undefined;
    this.#listener = listener;
  }

  stored(receipt: AuditReceipt<"intent">): void {
    this.receipt = receipt;
    this.#listener.recorded(this as unknown as Recorded);
  }

  lost(error: SidekeyError): void {
    this.#listener.unrecorded(error);
  }
}

export const createRecord =
  (broker: AuditBroker) =>
  (injected: Injected, ctx: RequestContext, attempt: 1 | 2, listener: RecordListener): void => {
    const { sent } = injected;
    const { routed } = injected.resolved;
    const { request, agent } = routed.identified;
    const { route } = routed;
    broker.store(
      {
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
        reason: request.reason,
      },
      new Intent(injected, attempt, listener),
    );
  };
