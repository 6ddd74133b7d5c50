/** The audit, with what goes on record counted on the way: one place sees how every request ends. */
import type { AuditBroker, AuditEvent, AuditType } from "../../audit/index.ts";
import type { Tally } from "../admin/tally.ts";

export const counted = (broker: AuditBroker, tally: Tally): AuditBroker => ({
  ...broker,
  record<Type extends AuditType>(event: AuditEvent<Type>) {
    tally.record(event);
    return broker.record(event);
  },
});
