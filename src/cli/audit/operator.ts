/**
 * Puts what an operator changes on record, in a log of the state directory beside the sidecar's own, which the running
 * sidecar holds. One record goes before the change and one after it, so that a command that is killed half-way has left
 * a trace too. Must never hold a value, and never let a change happen that cannot be recorded.
 */
import { randomUUID } from "node:crypto";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { AuditBroker, AuditEvent } from "../../audit/index.ts";
import { systemClock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { silentLog } from "../../core/log.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";

export type OperatorEvent = AuditEvent<"secret" | "token" | "admin">;

/** Events of the vault (vault/audit.ts) by the words of the commands. */
const EVENTS: Readonly<Record<string, string>> = {
  set: "secret.updated",
  rotate: "secret.rotated",
  rm: "secret.deleted",
  import: "secret.imported",
  issue: "token.issued",
  revoke: "token.revoked",
};

export interface RecordedChange<T> {
  /** What is about to happen, one for each thing that changes. */
  readonly events: readonly OperatorEvent[];
  change(): Promise<T>;
  /** It may take longer than others would wait: they get at the log meanwhile. */
  readonly isLong?: boolean;
  /** What happened. */
  done(result: T): readonly OperatorEvent[];
}

/** Other commands hold the log for as long as their change takes. */
const WAIT_MS = 10_000;
const PAUSE_MS = 15;

/** Errors: AUDIT_UNAVAILABLE, AUDIT_KEY_UNREADABLE, AUDIT_LOCKED, and what `change` throws. */
export const onRecord = async <T>(
  config: Pick<SidecarConfig, "state" | "agent" | "audit">,
  { events, change, done, isLong = false }: RecordedChange<T>,
): Promise<T> => {
  let broker = await openLog(config);
  const requestId = randomUUID();
  const record = async (list: readonly OperatorEvent[], more: Partial<OperatorEvent>): Promise<void> => {
    await Promise.all(list.map((event) => broker.record({ ...event, ...more, requestId })));
  };
  // Named once it has happened.
  const unnamed = { event: undefined };
  try {
    await record(events, unnamed);
    if (isLong) await broker.close();
    const changed = change();
    if (isLong) {
      await changed.catch(() => undefined);
      broker = await openLog(config).catch(async (error: unknown) => {
        // Its own error counts, where it has one.
        await changed;
        throw unrecordedEnd(error);
      });
    }
    let result: T;
    try {
      result = await changed;
    } catch (error) {
      await record(events, { ...unnamed, outcome: "refused", code: toSidekeyError(error).code });
      throw error;
    }
    await record(done(result), { outcome: "ok" }).catch((error: unknown) => {
      throw unrecordedEnd(error);
    });
    return result;
  } finally {
    await broker.close();
  }
};

const unrecordedEnd = (cause: unknown): SidekeyError =>
  new SidekeyError("AUDIT_UNAVAILABLE", {
    detail: "The change was made, and that it was about to be made is on record; its end is not.",
    cause,
  });

const openLog = async ({
  state,
  agent,
  audit,
}: Pick<SidecarConfig, "state" | "agent" | "audit">): Promise<AuditBroker> => {
  const { openAudit } = await import("../../audit/index.ts");
  const { createDirectSync } = await import("../../audit/disk-sync.ts");
  const { nodeAuditFs } = await import("../../audit/file-access.ts");
  const until = systemClock.monotonic() + WAIT_MS;
  for (;;) {
    try {
      return await openAudit({
        path: join(state, "audit-operator.jsonl"),
        keyPath: audit.key,
        sync: audit.sync === "never" ? "never" : "always",
        maxSize: audit.maxSize,
        keep: audit.keep,
        clock: systemClock,
        log: silentLog,
        agent,
        lock: true,
        // No thread for a handful of records.
        disk: createDirectSync(nodeAuditFs),
      });
    } catch (error) {
      if (!isSidekeyError(error) || error.code !== "AUDIT_LOCKED" || systemClock.monotonic() > until) throw error;
      await pause(PAUSE_MS);
    }
  }
};

/** Name of the user who runs this, or `uid N` where that has no name. */
export const operatorName = (): string => {
  const uid = `uid ${process.getuid?.() ?? "unknown"}`;
  try {
    const { username } = userInfo();
    return /^[!-~]{1,64}$/.test(username) ? username : uid;
  } catch {
    // No entry in the password file: a container with a bare uid.
    return uid;
  }
};

const operatorActor = () => ({ actor: operatorName(), actorType: "operator" }) as const;

/** `secret` is spelled as in a route. */
export const secretEvent = (verb: string, source: string, path: string, version?: number): OperatorEvent => ({
  type: "secret",
  event: verb === "set" && version === 1 ? "secret.created" : EVENTS[verb],
  ...operatorActor(),
  secret: `${source}:${path}`,
  ...(version !== undefined && { version: String(version) }),
  reason: `${verb} by ${operatorName()}`,
});

export const tokenEvent = (verb: string, agent: string | undefined, id?: string): OperatorEvent => ({
  type: "token",
  event: EVENTS[verb],
  ...operatorActor(),
  ...(id !== undefined && { metadata: JSON.stringify({ token_id: id }) }),
  agent,
  reason: `${verb}${id === undefined ? "" : ` ${id}`} by ${operatorName()}`,
});

/** `what` follows the command: `vault backup of local`. */
export const adminEvent = (what: string): OperatorEvent => ({ type: "admin", reason: `${what} by ${operatorName()}` });
