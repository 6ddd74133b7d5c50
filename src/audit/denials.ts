/**
 * Keeps a flood of refusals from filling the disk: past a rate, refusals of one caller, event and code are counted and
 * told in one record. It is only ever asked about refusals, so it can't touch the record of an allowed request.
 */
import type { Clock } from "../core/clock.ts";
import type { AuditEvent } from "./record.ts";

/** Refusals of one agent and code stored in full within a second. */
const DENIALS_PER_SECOND = 10;

const WINDOW_MS = 1000;

const REASON = `refusals past ${DENIALS_PER_SECOND} a second`;

interface Tally {
  readonly first: AuditEvent;
  /** Where all came from, if all came from one address. */
  ip: string | undefined;
  seen: number;
}

export interface DenialLimit {
  /** True when the refusal is past the rate and was counted instead. */
  absorbs(event: AuditEvent): boolean;
  /** Ends the second and returns one event for each agent and code with counted refusals. */
  drain(): AuditEvent[];
}

export const createDenialLimit = (clock: Clock): DenialLimit => {
  let tallies = new Map<string, Tally>();
  let windowEnd = Number.NEGATIVE_INFINITY;
  let owed: AuditEvent[] = [];

  const closeWindow = (): void => {
    for (const { first, ip, seen } of tallies.values()) {
      const count = seen - DENIALS_PER_SECOND;
      if (count <= 0) continue;
      const { type, event, agent, actor, actorType, decision, code, status, outcome } = first;
      owed.push({ type, event, agent, actor, actorType, ip, decision, code, status, outcome, count, reason: REASON });
    }
    tallies = new Map();
  };

  return {
    absorbs(event) {
      const now = clock.monotonic();
      if (now >= windowEnd) {
        closeWindow();
        windowEnd = now + WINDOW_MS;
      }
      const key = `${event.agent} ${event.code} ${event.event} ${event.actor}`;
      const tally = tallies.get(key);
      if (tally === undefined) {
        tallies.set(key, { first: event, ip: event.ip, seen: 1 });
        return false;
      }
      if (event.ip !== tally.ip) tally.ip = undefined;
      tally.seen += 1;
      return tally.seen > DENIALS_PER_SECOND;
    },
    drain() {
      closeWindow();
      windowEnd = Number.NEGATIVE_INFINITY;
      const events = owed;
      owed = [];
      return events;
    },
  };
};
