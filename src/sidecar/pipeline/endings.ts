/** How requests end, on record: a refusal where nothing was sent, an outcome where an intent was. */
import type { AuditBroker, AuditWaiter } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import type { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { InboundRequest, Outcome, Recorded, RequestContext, Routed } from "./messages.ts";

/** How far a request got before it was refused. */
export interface Reached {
  readonly request: InboundRequest;
  readonly agent: string | undefined;
  readonly routed: Routed | undefined;
}

/** What is said beside or in place of an outcome. */
export interface OutcomeNotes {
  readonly error?: SidekeyError;
  /** Default the outcome's. */
  readonly reflected?: number;
  readonly reason?: string;
}

export interface Endings {
  /** `done`: called once it is stored, or can't be; left out: nobody waits for it. */
  outcome(
    recorded: Recorded,
    ctx: RequestContext,
    outcome: Outcome | undefined,
    notes?: OutcomeNotes,
    done?: () => void,
  ): void;
  refusal(reached: Reached, ctx: RequestContext, error: SidekeyError, done: () => void): void;
}

export interface EndingsParts {
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
}

export const createEndings = ({ broker, clock, log }: EndingsParts): Endings => {
  const nobodyWaits: AuditWaiter<"outcome"> = {
    stored() {},
    // It was sent and answered; the broker refuses what comes next, and stores this once it can.
    lost: (_error, { requestId }) => log.error("outcome not recorded yet", { requestId }),
  };

  return {
    outcome(recorded, ctx, outcome, { error, reflected = outcome?.reflected ?? 0, reason } = NOTHING, done) {
      const { resolved, sent } = recorded.injected;
      const { route, identified } = resolved.routed;
      broker.store(
        {
          type: "outcome",
          requestId: ctx.id,
          attempt: recorded.attempt === 2 ? 2 : undefined,
          agent: sent?.agent ?? identified.agent,
          route: route?.name,
          code: error?.code ?? outcome?.code,
          status: outcome?.status ?? error?.status,
          bytesUp: outcome?.bytesUp,
          bytesDown: outcome?.bytesDown,
          ms: {
            total: clock.monotonic() - ctx.startedAt,
            source: resolved.sourceMs,
            upstream: outcome?.upstreamMs,
          },
          reflected: reflected === 0 ? undefined : reflected,
          outcome: outcome?.outcome ?? "upstream_aborted",
          reason,
        },
        done === undefined
          ? nobodyWaits
          : {
              stored: done,
              lost(failure, event) {
                nobodyWaits.lost(failure, event);
                done();
              },
            },
      );
    },
    refusal({ request, agent, routed }, ctx, error, done) {
      broker.store(
        {
          type: "refusal",
          requestId: ctx.id,
          agent: routed?.identified.agent ?? agent,
          route: routed?.route?.name,
          secret: routed?.route?.secretNames,
          method: request.method,
          scheme: request.scheme,
          authority: request.authority.key,
          path: request.path,
          decision: "deny",
          code: error.code,
          status: error.status,
          outcome: "refused",
          reason: request.reason,
        },
        {
          stored: done,
          lost() {
            log.error("refusal not recorded", { requestId: ctx.id, code: error.code });
            done();
          },
        },
      );
    },
  };
};

const NOTHING: OutcomeNotes = {};
