/** The audit, with what goes on record counted on the way: one place sees how every request ends. */
import type { AuditBroker, AuditEvent, AuditType, AuditWaiter } from "../../audit/index.ts";
import type { Tally } from "../admin/tally.ts";

export const counted = (broker: AuditBroker, tally: Tally): AuditBroker => ({
  ...broker,
  store<Type extends AuditType>(event: AuditEvent<Type>, waiter: AuditWaiter<Type>) {
    tally.record(event);
    broker.store(event, waiter);
  },
  record<Type extends AuditType>(event: AuditEvent<Type>) {
    tally.record(event);
    return broker.record(event);
  },
});
