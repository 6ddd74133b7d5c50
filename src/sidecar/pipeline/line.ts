/**
 * The line itself: identify → route → resolve → inject → record → dispatch → relay. Straight down for every request,
 * whatever way it came in. Whatever ends it is on record: a refusal if nothing was sent, an outcome if an intent was.
 */
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { type SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ResponseSink } from "../upstream/upstream.ts";
import { FirstAttempt, type SecondAttempt } from "./first-attempt.ts";
import type {
  ClientResponse,
  Identified,
  InboundRequest,
  Injected,
  Outcome,
  Recorded,
  RequestBody,
  RequestContext,
  Resolved,
  Routed,
  Stage,
  WaitingStage,
} from "./messages.ts";
import { keepBody, type ReplayBudget, type ReplayBuffer } from "./replay-buffer.ts";
import type { LiveExchanges } from "./revocation.ts";
import { Relay } from "./stages/relay.ts";

export interface LineStages {
  readonly identify: Stage<InboundRequest, Identified>;
  readonly route: Stage<Identified, Routed>;
  readonly resolve: WaitingStage<Routed, Resolved>;
  readonly inject: Stage<Resolved, Injected>;
  readonly record: (injected: Injected, ctx: RequestContext, attempt?: 1 | 2) => Promise<Recorded>;
  /** `body`: default the agent's. */
  readonly dispatch: (recorded: Recorded, sink: ResponseSink, body?: RequestBody) => void;
  /** Undefined: there is no other secret than the one it was sent with. */
  readonly renew: WaitingStage<Resolved, Resolved | undefined>;
}

/** Answers one request; rejects with a `SidekeyError` that is already on record when nothing was sent to the agent. */
export type Line = (request: InboundRequest, client: ClientResponse, ctx: RequestContext) => Promise<void>;

export interface LineParts {
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
  /** Where an exchange is listed while it is in flight, so that a revocation can end it. */
  readonly live: LiveExchanges;
  /** For bodies that may have to be sent once more. */
  readonly replay: ReplayBudget;
}

export const createLine = (stages: LineStages, { broker, clock, log, live, replay }: LineParts): Line => {
  const recordOutcome = (
    recorded: Recorded,
    ctx: RequestContext,
    outcome: Outcome | undefined,
    error?: SidekeyError,
    reflected = outcome?.reflected ?? 0,
    reason?: string,
  ) => {
    const { resolved, sent } = recorded.injected;
    const { route, identified } = resolved.routed;
    return broker
      .record({
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
        secret: routed?.route?.secretNames,
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

  /** The same request with a newer secret, judged and recorded like any other; undefined: it stays with the first. */
  const prepareSecond = async (first: Recorded, ctx: RequestContext, relay: Relay): Promise<Recorded | undefined> => {
    try {
      const resolved = await stages.renew(first.injected.resolved, ctx);
      if (resolved === undefined) return undefined;
      const revoked = await live.judge().exchange(resolved.routed);
      if (revoked !== undefined || relay.over) return undefined;
      return await stages.record(stages.inject(resolved, ctx), ctx, 2);
    } catch (thrown) {
      // The 401 is an answer too; what keeps the secret from use refuses the next request by its own name.
      log.warn("not repeated after a 401", { requestId: ctx.id, code: toSidekeyError(thrown).code });
      return undefined;
    }
  };

  /** `adopt`: told which of the two the agent's answer is of. */
  const createSecond = (
    first: Recorded,
    ctx: RequestContext,
    relay: Relay,
    { bytes: bytesUp }: ReplayBuffer,
    adopt: (second: Recorded) => void,
  ): SecondAttempt => {
    const upstreamMs = clock.monotonic() - ctx.startedAt - first.injected.resolved.sourceMs;
    return {
      prepare: () => prepareSecond(first, ctx, relay),
      begin(second, bytesDown) {
        adopt(second);
        const dropped: Outcome = { outcome: "ok", status: 401, bytesUp, bytesDown, upstreamMs, reflected: 0 };
        void recordOutcome(first, ctx, dropped, undefined, 0, "repeated with a newer secret");
      },
      abandon(second) {
        const unsent = { bytesUp: 0, bytesDown: 0, upstreamMs: 0, reflected: 0, status: undefined };
        void recordOutcome(second, ctx, { outcome: "client_aborted", ...unsent });
      },
      send: (second, body, sink) => stages.dispatch(second, sink, body),
    };
  };

  return async function line(request, client, ctx) {
    const reached: Reached = { request, agent: undefined, routed: undefined };
    let recorded: Recorded;
    try {
      const identified = stages.identify(request, ctx);
      reached.agent = identified.agent;
      const routed = stages.route(identified, ctx);
      reached.routed = routed;
      const found = stages.resolve(routed, ctx);
      // Nearly always it is there: a promise for what is there costs a turn of the microtask queue.
      const resolved = found instanceof Promise ? await found : found;
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
    const { route, identified } = recorded.injected.resolved.routed;
    let buffer: ReplayBuffer | undefined;
    let reflected = 0;
    let relay: Relay | undefined;
    try {
      client.continue();
      const outcome = await new Promise<Outcome>((resolve, reject) => {
        const answer = new Relay(recorded, client, clock, {
          resolve,
          reject: (error, count) => {
            reflected = count;
            reject(error);
          },
        });
        relay = answer;
        if (answer.over) return;
        live.add(answer);
        // Where every version is pinned, or no secret was sent, there is nothing to try again with.
        if (route?.isRenewable !== true || recorded.injected.sent === undefined) {
          stages.dispatch(recorded, answer);
          return;
        }
        const kept = keepBody(identified.request.body, replay);
        buffer = kept;
        const second = (): SecondAttempt =>
          createSecond(recorded, ctx, answer, kept, (next) => {
            recorded = next;
          });
        stages.dispatch(recorded, new FirstAttempt(answer, kept, second));
      });
      // Nobody waits for it.
      void recordOutcome(recorded, ctx, outcome);
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await recordOutcome(recorded, ctx, undefined, error, reflected);
      throw error;
    } finally {
      if (relay !== undefined) live.delete(relay);
      buffer?.release();
    }
  };
};

/** How far a request got before it was refused. */
interface Reached {
  readonly request: InboundRequest;
  agent: string | undefined;
  routed: Routed | undefined;
}
