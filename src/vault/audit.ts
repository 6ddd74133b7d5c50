/**
 * What the vault puts on record: one event for each thing that happens to a secret, a token, an agent, before its answer
 * goes out. Reads and refusals whose record cannot be stored must not be answered; a change that was made and could not
 * be recorded is recorded as soon as the log can be written again, and until then the vault says that it is not ready.
 * Must never take a value, a key or a token: only names, paths, ids and numbers.
 */
import type { AuditBroker, AuditEvent, AuditType } from "../audit/index.ts";
import type { Clock, EpochMs } from "../core/clock.ts";
import { type ErrorCode, SidekeyError, toSidekeyError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";

/** Names of Agent Secret Store where it has one, and the kind of record each is. */
export const VAULT_EVENTS = {
  "secret.created": "secret",
  "secret.read": "secret",
  "secret.used": "secret",
  "secret.updated": "secret",
  "secret.deleted": "secret",
  "secret.rotated": "secret",
  "secret.imported": "secret",
  "secret.expired": "secret",
  "secret.rolled_back": "secret",
  "secret.read.denied": "refusal",
  "secret.use.denied": "refusal",
  "token.issued": "token",
  "token.used": "token",
  "token.revoked": "token",
  // One that was presented after its time: nobody learns of the end of a token that is not used any more.
  "token.expired": "refusal",
  "token.denied": "refusal",
  "approval.requested": "admin",
  "approval.granted": "admin",
  "approval.denied": "admin",
  "approval.timed_out": "admin",
  "agent.created": "admin",
  "agent.updated": "admin",
  "agent.revoked": "admin",
  "sidecar.enrolled": "admin",
  "sidecar.revoked": "admin",
  "key.rotated": "admin",
  // A caller that did not hear it asked again: nothing was done, and what the answer holds went out once more.
  "answer.repeated": "admin",
  "auth.failed": "refusal",
} as const satisfies Readonly<Record<string, AuditType>>;

export type VaultEventName = keyof typeof VAULT_EVENTS;

/** `system` is the vault itself: what expires is nobody's doing. */
export type ActorType = "operator" | "agent" | "token" | "sidecar" | "anonymous" | "system";

export interface VaultActor {
  readonly type: ActorType;
  /** Of the agent, the token or the sidecar; never a key. */
  readonly id?: string | undefined;
  /** Name of the agent. */
  readonly agent?: string | undefined;
}

/** More about an event than the record has members for. Cut where it passes 1 KiB of JSON. */
export type EventMetadata = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

interface EventFrame {
  readonly actor: VaultActor;
  readonly requestId?: string | undefined;
  readonly ip?: string | undefined;
  /** Who the caller says it acts for, and why: `X-Agent-Name`, `X-Reason`. */
  readonly agentName?: string | undefined;
  readonly reason?: string | undefined;
  readonly metadata?: EventMetadata | undefined;
}

interface OfSecret {
  /** Path; of `secret.imported` too, which is one for each secret. */
  readonly secret: string;
  readonly version?: number | undefined;
}

interface OfUse extends OfSecret {
  /** `HOST` or `HOST:PORT` the value is for, as the sidecar said. */
  readonly authority?: string | undefined;
}

interface OfRefusal {
  readonly code: ErrorCode;
  /** HTTP status of the answer. */
  readonly status: number;
}

interface OfToken {
  /** `jti` */
  readonly tokenId: string;
}

interface OfApproval {
  readonly approvalId: string;
}

interface OfAgent {
  readonly agentId: string;
  /** Name of the agent that it is about; `actor` is who did it. */
  readonly name: string;
}

interface OfSidecar {
  readonly sidecarId: string;
}

interface Facts {
  readonly "secret.used": OfUse;
  readonly "secret.read.denied": OfSecret & OfRefusal;
  readonly "secret.use.denied": Partial<OfUse> & OfRefusal;
  readonly "token.denied": Partial<OfToken> & OfRefusal;
  readonly "token.expired": OfToken & OfRefusal;
  readonly "key.rotated": { readonly kid: string };
  readonly "answer.repeated": { readonly firstRequestId: string };
  readonly "auth.failed": OfRefusal;
}

type FactsOf<Name extends VaultEventName> = Name extends keyof Facts
  ? Facts[Name]
  : Name extends `secret.${string}`
    ? OfSecret
    : Name extends `token.${string}`
      ? OfToken
      : Name extends `approval.${string}`
        ? OfApproval
        : Name extends `agent.${string}`
          ? OfAgent
          : OfSidecar;

export type VaultEvent = {
  readonly [Name in VaultEventName]: EventFrame & { readonly event: Name } & FactsOf<Name>;
}[VaultEventName];

export interface VaultAudit {
  /**
   * Resolves once the record is stored; only then may the answer go out. Of a change that was made and cannot be
   * recorded now, the record is kept and stored when it can be, with the time the change was made.
   * Errors: AUDIT_UNAVAILABLE.
   */
  record(event: VaultEvent): Promise<void>;
  /** All of them, or an error. */
  recordAll(events: readonly VaultEvent[]): Promise<void>;
  /** Before a change is made: throws AUDIT_UNAVAILABLE while its record could not be stored. */
  assertWritable(): void;
  /** False while records cannot be stored, or changes wait for theirs. */
  healthy(): boolean;
  /** Stores what waits, if it can, and closes the log. */
  close(): Promise<void>;
}

export interface VaultAuditOptions {
  readonly broker: AuditBroker;
  readonly clock: Pick<Clock, "now">;
  readonly log: Log;
  /** Runs every so many `ms` until the returned function is called. */
  readonly every?: (ms: number, run: () => void) => () => void;
}

/** How often records of changes that wait are tried again; the log's own attempts come as often. `ms` */
const RETRY_MS = 500;

/** Changes are refused while the log cannot be written, so only those under way when it broke can be here. */
const MAX_OWED = 10_000;

/** Longest metadata that is kept whole, in UTF-16 code units of its JSON. */
const MAX_METADATA = 1000;

/**
 * None of them changed anything: what cannot be recorded is not answered, and nothing is left to tell. Whoever finds that
 * a secret's time is over takes it up again until that is on record.
 */
const LEAVES_NOTHING: ReadonlySet<VaultEventName> = new Set([
  "secret.read",
  "answer.repeated",
  "secret.expired",
  "secret.read.denied",
  "secret.use.denied",
  "token.expired",
  "token.denied",
  "auth.failed",
]);

interface Owed {
  readonly event: VaultEvent;
  readonly at: EpochMs;
}

export const createVaultAudit = ({ broker, clock, log, every = systemEvery }: VaultAuditOptions): VaultAudit => {
  let owed: Owed[] = [];
  let lost = 0;
  let stopRetrying: (() => void) | undefined;
  let settling: Promise<void> | undefined;

  const owe = (event: VaultEvent): void => {
    if (owed.length >= MAX_OWED) {
      lost += 1;
      log.error("a change is not on record and cannot be kept for it", { event: event.event, lost });
      return;
    }
    owed.push({ event, at: clock.now() });
    stopRetrying ??= every(RETRY_MS, () => void settle());
  };

  const settle = (): Promise<void> => {
    settling ??= storeOwed().finally(() => {
      settling = undefined;
    });
    return settling;
  };

  /** In the order they happened, up to the first that still cannot be stored. */
  const storeOwed = async (): Promise<void> => {
    if (!broker.healthy()) return;
    try {
      for (let next = owed[0]; next !== undefined; next = owed[0]) {
        const { event, at } = next;
        const metadata = { ...event.metadata, answered: 503, happened_at: new Date(at).toISOString() };
        await broker.record(auditEventOf({ ...event, metadata }));
        owed = owed.slice(1);
      }
      stopRetrying?.();
      stopRetrying = undefined;
    } catch (error) {
      log.warn("changes still wait for their record", { waiting: owed.length, code: toSidekeyError(error).code });
    }
  };

  const record = async (event: VaultEvent): Promise<void> => {
    try {
      await broker.record(auditEventOf(event));
    } catch (error) {
      if (!LEAVES_NOTHING.has(event.event)) owe(event);
      throw error;
    }
  };

  const healthy = (): boolean => broker.healthy() && owed.length === 0;

  return {
    record,
    async recordAll(events) {
      // All are tried, also behind one that fails: each change that was made is owed its record.
      const results = await Promise.allSettled(events.map(record));
      for (const result of results) if (result.status === "rejected") throw result.reason;
    },
    assertWritable() {
      if (!healthy()) throw new SidekeyError("AUDIT_UNAVAILABLE", { detail: "The audit log cannot be written." });
    },
    healthy,
    async close() {
      await settle();
      stopRetrying?.();
      if (owed.length > 0)
        log.error("changes are not on record", { events: owed.map(({ event }) => event.event).join(" ") });
      await broker.close();
    },
  };
};

const systemEvery = (ms: number, run: () => void): (() => void) => {
  const timer = setInterval(run, ms).unref();
  return () => clearInterval(timer);
};

/** An event as the record that stands for it. */
export const auditEventOf = (event: VaultEvent): AuditEvent => {
  const { actor, requestId, ip, agentName, reason } = event;
  return {
    type: VAULT_EVENTS[event.event],
    event: event.event,
    requestId,
    agent: actor.agent,
    actor: actor.id,
    actorType: actor.type,
    ip,
    agentName,
    secret: "secret" in event ? event.secret : undefined,
    version: "version" in event && event.version !== undefined ? String(event.version) : undefined,
    authority: "authority" in event ? event.authority : undefined,
    code: "code" in event ? event.code : undefined,
    status: "status" in event ? event.status : undefined,
    outcome: "code" in event ? "refused" : "ok",
    reason,
    metadata: metadataText({ ...resourceOf(event), ...event.metadata }),
  };
};

/** What the event is about, where that is no secret; the names are those of the HTTP API. */
const resourceOf = (event: VaultEvent): EventMetadata => ({
  ...("tokenId" in event && { token_id: event.tokenId }),
  ...("approvalId" in event && { approval_id: event.approvalId }),
  ...("agentId" in event && { agent_id: event.agentId, name: event.name }),
  ...("sidecarId" in event && { sidecar_id: event.sidecarId }),
  ...("kid" in event && { kid: event.kid }),
  ...("firstRequestId" in event && { first_request_id: event.firstRequestId }),
});

/** JSON text within its cap, whole members first to last; `truncated` says that something is missing. */
const metadataText = (metadata: EventMetadata): string | undefined => {
  const text = JSON.stringify(metadata);
  if (text === "{}") return undefined;
  if (text.length <= MAX_METADATA) return text;
  let kept: EventMetadata = { truncated: true };
  for (const [name, value] of Object.entries(metadata)) {
    const more = { ...kept, [name]: value };
    if (JSON.stringify(more).length <= MAX_METADATA) kept = more;
  }
  return JSON.stringify(kept);
};
