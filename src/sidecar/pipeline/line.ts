/**
 * The line itself: identify → route → resolve → inject → record → dispatch → relay. Straight down for every request,
 * whatever way it came in. Whatever ends it is on record: a refusal if nothing was sent, an outcome if an intent was.
 */
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { type SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ResponseSink } from "../upstream/upstream.ts";
import { createEndings, type Endings, type Reached } from "./endings.ts";
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
import type { RecordListener } from "./stages/record.ts";
import { Relay, type Settle } from "./stages/relay.ts";

export interface LineStages {
  readonly identify: Stage<InboundRequest, Identified>;
  readonly route: Stage<Identified, Routed>;
  readonly resolve: WaitingStage<Routed, Resolved>;
  readonly inject: Stage<Resolved, Injected>;
  readonly record: (injected: Injected, ctx: RequestContext, attempt: 1 | 2, listener: RecordListener) => void;
  /** `body`: default the agent's. */
  readonly dispatch: (recorded: Recorded, sink: ResponseSink, body?: RequestBody) => void;
  /** Undefined: there is no other secret than the one it was sent with. */
  readonly renew: WaitingStage<Resolved, Resolved | undefined>;
}

/** Called once: with an error, already on record, when nothing was sent to the agent. May not throw. */
export type LineEnd = (error: SidekeyError | undefined) => void;

/** Answers one request. `end` may be called before this returns. */
export type Line = (request: InboundRequest, client: ClientResponse, ctx: RequestContext, end: LineEnd) => void;

export interface LineParts {
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
  /** Where an exchange is listed while it is in flight, so that a revocation can end it. */
  readonly live: LiveExchanges;
  /** For bodies that may have to be sent once more. */
  readonly replay: ReplayBudget;
}

interface Tools extends LineParts {
  readonly stages: LineStages;
  readonly endings: Endings;
}

export const createLine = (stages: LineStages, parts: LineParts): Line => {
  const tools: Tools = { ...parts, stages, endings: createEndings(parts) };
  return (request, client, ctx, end) => new Passage(tools, request, client, ctx, end).start();
};

/** One request on its way. One object with calls back and forth instead of promises: it is made for every request. */
class Passage implements Reached, RecordListener, Settle {
  readonly request: InboundRequest;
  agent: string | undefined;
  routed: Routed | undefined;
  readonly #tools: Tools;
  readonly #client: ClientResponse;
  readonly #ctx: RequestContext;
  readonly #end: LineEnd;
  /** The attempt that the agent's answer is of. */
  #recorded: Recorded | undefined;
  #relay: Relay | undefined;
  #kept: ReplayBuffer | undefined;
  #isOver = false;

  constructor(tools: Tools, request: InboundRequest, client: ClientResponse, ctx: RequestContext, end: LineEnd) {
    this.#tools = tools;
    this.request = request;
    this.agent = undefined;
    this.routed = undefined;
    this.#client = client;
    this.#ctx = ctx;
    this.#end = end;
  }

  start(): void {
    const { stages } = this.#tools;
    const ctx = this.#ctx;
    try {
      const identified = stages.identify(this.request, ctx);
      this.agent = identified.agent;
      const routed = stages.route(identified, ctx);
      this.routed = routed;
      const found = stages.resolve(routed, ctx);
      // Nearly always it is there: a promise for what is there costs a turn of the microtask queue.
      if (found instanceof Promise || found.sourceMs > 0) void this.#await(found, routed);
      else stages.record(stages.inject(found, ctx), ctx, 1, this);
    } catch (thrown) {
      this.#refuse(thrown);
    }
  }

  /** It waits for its secret, and may be one of those that a revocation meanwhile is about. */
  async #await(found: Resolved | Promise<Resolved>, routed: Routed): Promise<void> {
    const { stages, live } = this.#tools;
    const ctx = this.#ctx;
    try {
      const resolved = await found;
      if (resolved.sourceMs > 0) {
        const revoked = await live.judge().exchange(routed);
        if (revoked !== undefined) throw revoked;
      }
      stages.record(stages.inject(resolved, ctx), ctx, 1, this);
    } catch (thrown) {
      this.#refuse(thrown);
    }
  }

  #refuse(thrown: unknown): void {
    const error = toSidekeyError(thrown);
    this.#tools.endings.refusal(this, this.#ctx, error, () => this.#end(error));
  }

  unrecorded(error: SidekeyError): void {
    this.#refuse(error);
  }

  recorded(recorded: Recorded): void {
    this.#recorded = recorded;
    let relay: Relay | undefined;
    try {
      this.#client.continue();
      relay = new Relay(recorded, this.#client, this.#tools.clock, this);
      if (relay.over) return;
      this.#relay = relay;
      this.#tools.live.add(relay);
      this.#send(recorded, relay);
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      // It must let go of the agent's body and connection as well.
      if (relay === undefined) this.reject(error, 0);
      else relay.fail(error);
    }
  }

  #send(recorded: Recorded, relay: Relay): void {
    const { stages, replay } = this.#tools;
    const { route, identified } = recorded.injected.resolved.routed;
    // Where every version is pinned, or no secret was sent, there is nothing to try again with.
    if (route?.isRenewable !== true || recorded.injected.sent === undefined) {
      stages.dispatch(recorded, relay);
      return;
    }
    const kept = keepBody(identified.request.body, replay);
    this.#kept = kept;
    stages.dispatch(recorded, new FirstAttempt(relay, kept, () => this.#second(recorded, relay, kept)));
  }

  resolve(outcome: Outcome): void {
    if (this.#isOver) return;
    const recorded = this.#close();
    if (recorded !== undefined) this.#tools.endings.outcome(recorded, this.#ctx, outcome);
    this.#end(undefined);
  }

  reject(error: SidekeyError, reflected: number): void {
    if (this.#isOver) return;
    const recorded = this.#close();
    const end = (): void => this.#end(error);
    if (recorded === undefined) end();
    else this.#tools.endings.outcome(recorded, this.#ctx, undefined, { error, reflected }, end);
  }

  /** Nothing may be said about it twice, nor anything be kept for it. */
  #close(): Recorded | undefined {
    this.#isOver = true;
    if (this.#relay !== undefined) this.#tools.live.delete(this.#relay);
    this.#kept?.release();
    return this.#recorded;
  }

  #second(first: Recorded, relay: Relay, { bytes: bytesUp }: ReplayBuffer): SecondAttempt {
    const { stages, endings, clock } = this.#tools;
    const ctx = this.#ctx;
    const upstreamMs = clock.monotonic() - ctx.startedAt - first.injected.resolved.sourceMs;
    return {
      prepare: () => this.#prepareSecond(first, relay),
      begin: (second, bytesDown) => {
        this.#recorded = second;
        const dropped: Outcome = { outcome: "ok", status: 401, bytesUp, bytesDown, upstreamMs, reflected: 0 };
        endings.outcome(first, ctx, dropped, { reason: "repeated with a newer secret" });
      },
      abandon(second) {
        const unsent = { bytesUp: 0, bytesDown: 0, upstreamMs: 0, reflected: 0, status: undefined };
        endings.outcome(second, ctx, { outcome: "client_aborted", ...unsent });
      },
      send: (second, body, sink) => stages.dispatch(second, sink, body),
    };
  }

  /** The same request with a newer secret, judged and recorded like any other; undefined: it stays with the first. */
  async #prepareSecond(first: Recorded, relay: Relay): Promise<Recorded | undefined> {
    const { stages, live, log } = this.#tools;
    const ctx = this.#ctx;
    try {
      const resolved = await stages.renew(first.injected.resolved, ctx);
      if (resolved === undefined) return undefined;
      const revoked = await live.judge().exchange(resolved.routed);
      if (revoked !== undefined || relay.over) return undefined;
      const injected = stages.inject(resolved, ctx);
      return await new Promise<Recorded>((recorded, unrecorded) =>
        stages.record(injected, ctx, 2, { recorded, unrecorded }),
      );
    } catch (thrown) {
      // The 401 is an answer too; what keeps the secret from use refuses the next request by its own name.
      log.warn("not repeated after a 401", { requestId: ctx.id, code: toSidekeyError(thrown).code });
      return undefined;
    }
  }
}
