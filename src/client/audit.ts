/** The vault's audit, read page by page, newest first. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { given, name, optional, type PageRequest, pageMembers, text, time } from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";

export interface AuditFilter {
  readonly since?: EpochMs;
  readonly until?: EpochMs;
  readonly agent?: string;
  /** Id of who did it. */
  readonly actor?: string;
  readonly secret?: string;
  /** `secret.read` */
  readonly event?: string;
}

export interface AuditRequest extends AuditFilter, PageRequest {}

export interface AuditEntry {
  readonly id: string;
  readonly event: string;
  readonly at: EpochMs;
  readonly actorId?: string;
  readonly actorType?: string;
  readonly resourceType?: string;
  readonly resourceId?: string;
  readonly ip?: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface AuditPage {
  readonly events: readonly AuditEntry[];
  readonly total?: number;
}

const auditSchema = z.object({
  ...pageMembers,
  events: z.array(
    z.object({
      id: z.union([name, z.int().min(0)]),
      event_type: name,
      actor_id: optional(text),
      actor_type: optional(text),
      resource_type: optional(text),
      resource_id: optional(text),
      ip_address: optional(text),
      metadata: optional(z.record(z.string(), z.unknown())),
      created_at: time,
    }),
  ),
});

/** Errors: all of errors.ts. */
export const readAudit = async (
  calls: Calls,
  credentials: Pick<Credentials, "own">,
  { page, limit, signal, ...filter }: AuditRequest,
): Promise<AuditPage> => {
  const query = { page, limit, ...filterQuery(filter) };
  const call = { method: "GET", path: "/v1/audit", query, credential: credentials.own(), repeatable: true } as const;
  const { events, total } = await calls.json({ ...call, signal }, auditSchema);
  return given({
    events: events.map((entry) =>
      given({
        id: String(entry.id),
        event: entry.event_type,
        at: entry.created_at,
        actorId: entry.actor_id,
        actorType: entry.actor_type,
        resourceType: entry.resource_type,
        resourceId: entry.resource_id,
        ip: entry.ip_address,
        metadata: entry.metadata ?? {},
      }),
    ),
    total,
  });
};

export const filterQuery = ({ since, until, agent, actor, secret, event }: AuditFilter) => ({
  since: iso(since),
  until: iso(until),
  agent,
  actor,
  secret,
  event,
});

const iso = (at: EpochMs | undefined): string | undefined =>
  at === undefined ? undefined : new Date(at).toISOString();
