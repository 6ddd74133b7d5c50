/**
 * The line itself: identify → route → resolve → inject → record → dispatch → relay. Straight down for every request,
 * whatever way it came in. Whatever ends it is on record: a refusal if nothing was sent, an outcome if an intent was.
 */
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { type SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ResponseSink } from "../upstream/upstream.ts";
import type {
  ClientResponse,
  Identified,
  InboundRequest,
  Injected,
  Outcome,
  Recorded,
  RequestContext,
  Resolved,
  Routed,
  Stage,
  WaitingStage,
} from "./messages.ts";
import type { LiveExchanges } from "./revocation.ts";
import { Relay } from "./stages/relay.ts";

export interface LineStages {
  readonly identify: Stage<InboundRequest, Identified>;
  readonly route: Stage<Identified, Routed>;
  readonly resolve: WaitingStage<Routed, Resolved>;
  readonly inject: Stage<Resolved, Injected>;
  readonly record: WaitingStage<Injected, Recorded>;
  readonly dispatch: (recorded: Recorded, sink: ResponseSink) => void;
}

/** Answers one request; rejects with a `SidekeyError` that is already on record when nothing was sent to the agent. */
export type Line = (request: InboundRequest, client: ClientResponse, ctx: RequestContext) => Promise<void>;

export interface LineParts {
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
  /** Where an exchange is listed while it is in flight, so that a revocation can end it. */
  readonly live: LiveExchanges;
}

export const createLine = (stages: LineStages, { broker, clock, log, live }: LineParts): Line => {
  const recordOutcome = (
    recorded: Recorded,
    ctx: RequestContext,
    outcome: Outcome | undefined,
    error?: SidekeyError,
    reflected = outcome?.reflected ?? 0,
  ) => {
    const { resolved } = recorded.injected;
    const { route, identified } = resolved.routed;
    return broker
      .record({
        type: "outcome",
        requestId: ctx.id,
        agent: identified.agent,
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
      })
      .then(
        () => undefined,
        // It was sent and answered; the broker is unhealthy now and refuses what comes next.
        () => log.error("outcome not recorded", { requestId: ctx.id }),
      );
  };

  const recordRefusal = (reached: Reached, ctx: RequestContext, error: SidekeyError): Promise<void> => {
    const { request, routed } = reached;
    return broker
      .record({
        type: "refusal",
        requestId: ctx.id,
        agent: routed?.identified.agent ?? reached.agent,
        route: routed?.route?.name,
        secret: routed?.route?.ref.text,
        method: request.method,
        scheme: request.scheme,
        authority: request.authority.key,
        path: request.path,
        decision: "deny",
        code: error.code,
        status: error.status,
        outcome: "refused",
      })
      .then(
        () => undefined,
        () => log.error("refusal not recorded", { requestId: ctx.id, code: error.code }),
      );
  };

  return async function line(request, client, ctx) {
    const reached: Reached = { request, agent: undefined, routed: undefined };
    let recorded: Recorded;
    try {
      const identified = stages.identify(request, ctx);
      reached.agent = identified.agent;
      const routed = stages.route(identified, ctx);
      reached.routed = routed;
      const resolved = await stages.resolve(routed, ctx);
      if (resolved.sourceMs > 0) {
        // It waited for its secret, and may be one of those that a revocation meanwhile was about.
        const revoked = await live.judge().exchange(routed);
        if (revoked !== undefined) throw revoked;
      }
      recorded = await stages.record(stages.inject(resolved, ctx), ctx);
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await recordRefusal(reached, ctx, error);
      throw error;
    }
    let reflected = 0;
    let relay: Relay | undefined;
    try {
      client.continue();
      const outcome = await new Promise<Outcome>((resolve, reject) => {
        relay = new Relay(recorded, client, clock, {
          resolve,
          reject: (error, count) => {
            reflected = count;
            reject(error);
          },
        });
        if (relay.over) return;
        live.add(relay);
        stages.dispatch(recorded, relay);
      });
      await recordOutcome(recorded, ctx, outcome);
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await recordOutcome(recorded, ctx, undefined, error, reflected);
      throw error;
    } finally {
      if (relay !== undefined) live.delete(relay);
    }
  };
};

/** How far a request got before it was refused. */
interface Reached {
  readonly request: InboundRequest;
  agent: string | undefined;
  routed: Routed | undefined;
}
