/**
 * The audit's front door: takes events, hands them to the sinks, and answers with a receipt once at least one sink has
 * them. Must never answer before that, and never drop an intent or an outcome. While there is traffic, all that comes
 * in one turn of the event loop is one write; a lone request does not wait for the end of its turn; outcomes, for
 * which nobody waits, go along with what comes next.
 */
import type { Clock } from "../core/clock.ts";
import type { Closable } from "../core/closer.ts";
import { SidekeyError, toSidekeyError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { createDenialLimit } from "./denials.ts";
import { type AuditEvent, type AuditType, createPhrases, createTimestamp, encodeEvent } from "./record.ts";
import { type Schedule, systemSchedule } from "./schedule.ts";
import type { AuditSink } from "./sink.ts";

const stored: unique symbol = Symbol("stored");

/** Proof that a record of this type is stored. Only the broker can make one. */
export interface AuditReceipt<Type extends AuditType = AuditType> {
  readonly [stored]: Type;
  /** Sequence number in the first sink that has it; 0 for a refusal that is only counted (see `record`). */
  readonly seq: number;
}

/** Who waits for a record: one of the two is called, once. Neither may throw. */
export interface AuditWaiter<Type extends AuditType = AuditType> {
  /** The operating system has it. */
  stored(receipt: AuditReceipt<Type>): void;
  /** No sink could store it. An outcome is stored as soon as one can again. */
  lost(error: SidekeyError, event: AuditEvent<Type>): void;
}

export interface AuditBroker extends Closable {
  /** As `record`, without a promise, which costs less. `waiter` may be called before this returns. */
  store<Type extends AuditType>(event: AuditEvent<Type>, waiter: AuditWaiter<Type>): void;
  /**
   * Resolves when the operating system has the record. Refusals past 10 a second for one agent and code resolve at
   * once and are stored within a second as one record with their `count`.
   *
   * Errors: AUDIT_UNAVAILABLE when no sink could store it; nothing may be sent then.
   */
  record<Type extends AuditType>(event: AuditEvent<Type>): Promise<AuditReceipt<Type>>;
  /** True while some sink can store. */
  healthy(): boolean;
  /** Records that no sink could store. */
  failures(): number;
  /** Intents on record whose outcome has not been told yet. */
  unended(): number;
  /** Stores what is pending and a `stop` record, then closes the sinks. */
  close(): Promise<void>;
}

export interface AuditBrokerOptions {
  readonly sinks: readonly AuditSink[];
  readonly clock: Clock;
  readonly log: Log;
  /** Named by the start and stop records. */
  readonly agent?: string | undefined;
  readonly schedule?: Schedule;
}

interface Waiting {
  readonly event: AuditEvent;
  readonly waiter: AuditWaiter;
}

/** How long an outcome waits for company, `ms`. */
const OUTCOME_WAIT_MS = 5;

/** Records further apart than this have no company to wait for. To end a turn for one costs as much as writing it. `ms` */
const QUIET_MS = 0.25;

const CLOSED = "The audit log is closed.";

export const createAuditBroker = ({
  sinks,
  clock,
  log,
  agent,
  schedule = systemSchedule,
}: AuditBrokerOptions): AuditBroker => {
  const timestamp = createTimestamp(clock.now);
  const phrases = createPhrases();
  const denials = createDenialLimit(clock);
  let bodies: string[] = [];
  let waiting: Waiting[] = [];
  let closed = false;
  let failures = 0;
  let unended = 0;
  let summary: (() => void) | undefined;
  /** When the last intent or refusal came. Monotonic, `ms`. */
  let lastAt = Number.NEGATIVE_INFINITY;
  /** Records wait for the end of this turn of the loop. */
  let turnEnds = false;
  /** An outcome waits, and its timer runs. */
  let outcomeWaits = false;

  const append = (batch: readonly string[]): number => {
    let first: number | undefined;
    let failure: unknown;
    for (const sink of sinks) {
      try {
        const seq = sink.append(batch);
        first ??= seq;
      } catch (error) {
        failure ??= error;
      }
    }
    if (first === undefined) throw failure ?? new SidekeyError("AUDIT_UNAVAILABLE", { detail: "No sink is set." });
    return first;
  };

  const oweAll = (event: AuditEvent): void => {
    for (const sink of sinks) sink.owe(event);
  };

  const flush = (): void => {
    if (bodies.length === 0) return;
    const batch = bodies;
    const waiters = waiting;
    bodies = [];
    waiting = [];
    let seq: number;
    try {
      seq = append(batch);
    } catch (error) {
      const failure = toSidekeyError(error);
      failures += waiters.length;
      for (const { waiter, event } of waiters) {
        // Its intent is on record. There are no more of them than requests in flight: what comes next is refused.
        if (event.type === "outcome") oweAll(event);
        waiter.lost(failure, event);
      }
      return;
    }
    for (const { waiter, event } of waiters) {
      if (event.type === "intent") unended += 1;
      waiter.stored({ [stored]: event.type, seq: seq++ });
    }
  };

  const endTurn = (): void => {
    turnEnds = false;
    flush();
  };

  const flushOutcomes = (): void => {
    outcomeWaits = false;
    flush();
  };

  const enqueue = (event: AuditEvent, waiter: AuditWaiter): void => {
    bodies.push(encodeEvent(event, timestamp(), phrases));
    waiting.push({ event, waiter });
    if (event.type === "outcome") {
      unended -= 1;
      if (!outcomeWaits) schedule.after(OUTCOME_WAIT_MS, flushOutcomes);
      outcomeWaits = true;
      return;
    }
    const now = clock.monotonic();
    const isAlone = now - lastAt >= QUIET_MS;
    lastAt = now;
    if (turnEnds) return;
    if (isAlone) {
      flush();
      return;
    }
    turnEnds = true;
    schedule.soon(endTurn);
  };

  const healthy = (): boolean => !closed && sinks.some((sink) => sink.healthy());

  /** A count that cannot be stored now is owed: it comes before the next record that can. */
  const owing: AuditWaiter = {
    stored() {},
    lost(error, event) {
      log.warn("counted refusals cannot be stored yet", { code: error.code });
      oweAll(event);
    },
  };

  const store = <Type extends AuditType>(event: AuditEvent<Type>, waiter: AuditWaiter<Type>): void => {
    if (closed) {
      waiter.lost(new SidekeyError("AUDIT_UNAVAILABLE", { detail: CLOSED }), event);
    } else if (event.type === "refusal" && healthy() && denials.absorbs(event)) {
      summary ??= schedule.every(1000, summarise);
      waiter.stored({ [stored]: event.type, seq: 0 });
    } else {
      // Each waiter gets its own event's receipt.
      enqueue(event, waiter as AuditWaiter<AuditType>);
    }
  };

  const summarise = (): void => {
    summary?.();
    summary = undefined;
    for (const event of denials.drain()) enqueue(event, owing);
  };

  const start = (sink: AuditSink): void => {
    const { seq, hash } = sink.head();
    sink.owe({ type: "start", agent, reason: seq === 0 ? "new chain" : `previous head ${seq} ${hash}` });
    try {
      sink.append([]);
    } catch (error) {
      log.error("the audit log cannot be written; requests are refused until it can", {
        sink: sink.kind,
        error: toSidekeyError(error).message,
      });
    }
  };
  for (const sink of sinks) start(sink);

  return {
    store,
    record: <Type extends AuditType>(event: AuditEvent<Type>) =>
      new Promise<AuditReceipt<Type>>((resolve, reject) => store(event, { stored: resolve, lost: reject })),
    healthy,
    failures: () => failures,
    unended: () => unended,
    async close() {
      if (closed) return;
      closed = true;
      summarise();
      flush();
      for (const sink of sinks) {
        sink.owe({ type: "stop", agent });
        try {
          sink.append([]);
        } catch (error) {
          log.error("the audit log's stop record cannot be written", { error: toSidekeyError(error).message });
        }
        sink.close();
      }
    },
  };
};
