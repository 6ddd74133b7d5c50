/**
 * What travels down the line identify → route → resolve → inject → record → dispatch → relay. Each type carries a
 * brand that is not exported, so that no object literal can pass for it: only the stage named in its comment makes
 * one, by the one cast in its file (a test counts the casts). A request that skipped a stage does not compile.
 */
import type { Readable } from "node:stream";
import type { AuditReceipt } from "../../audit/broker.ts";
import type { Authority } from "../../core/authority.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Redaction } from "../scrub/redaction.ts";
import type { SecretBundle, SecretNames } from "../secrets/bundle.ts";
import type { Route } from "./route.ts";

declare const stage: unique symbol;

export type Scheme = "http" | "https";

export interface RequestBody {
  /** From Content-Length; undefined = chunked. */
  readonly length: number | undefined;
  readonly stream: Readable;
}

/** Made by ingress: parsed, canonical, framing judged. */
export interface InboundRequest {
  readonly method: string;
  /** The route that the agent named (gateway): policy must choose the same. Undefined on the other ways in. */
  readonly named: string | undefined;
  readonly scheme: Scheme;
  readonly authority: Authority;
  /** Canonical: what policy sees and what the wire carries. */
  readonly path: string;
  /** The agent's own bytes with the `?`, or empty. */
  readonly query: string;
  /** As the agent sent them. */
  readonly headers: HeaderList;
  /** Why the agent asks, in its own words: for the audit. At most 256 characters, none of them a control. */
  readonly reason: string | undefined;
  /** The agent's Connection header when it lists more than close or keep-alive. */
  readonly connection: string | undefined;
  readonly body: RequestBody | undefined;
}

/** Facts about one request that every stage may read. */
export interface RequestContext {
  readonly id: string;
  /** Monotonic, `ms`. */
  readonly startedAt: number;
}

/** Made by identify. */
export interface Identified {
  readonly [stage]: "identified";
  readonly request: InboundRequest;
  readonly agent: string;
}

/** Made by route. `route` is undefined for what passes without a credential (`unmatched: tunnel`). */
export interface Routed {
  readonly [stage]: "routed";
  readonly identified: Identified;
  readonly route: Route | undefined;
}

/** Made by resolve. */
export interface Resolved {
  readonly [stage]: "resolved";
  readonly routed: Routed;
  /** Of its route; undefined without one. */
  readonly secrets: SecretBundle | undefined;
  /** Spent on fetching them, `ms`; 0 from the cache. */
  readonly sourceMs: number;
}

/** Made by inject: exactly what leaves. */
export interface Injected {
  readonly [stage]: "injected";
  readonly resolved: Resolved;
  /** Canonical path and query. */
  readonly target: string;
  /** Flat, without Host and framing. */
  readonly headers: string[];
  /** The secrets in it; undefined for none. */
  readonly sent: SecretNames | undefined;
  /** What must not come back; undefined where nothing was injected. */
  readonly redaction: Redaction | undefined;
}

/** Made by record: the intent is on record, so it may leave. */
export interface Recorded {
  readonly [stage]: "recorded";
  readonly injected: Injected;
  readonly receipt: AuditReceipt<"intent">;
  /** 2: sent before with an older secret, which the upstream refused (ruling 6). */
  readonly attempt: 1 | 2;
}

/** How an exchange ended. */
export interface Outcome {
  readonly outcome: "ok" | "client_aborted" | "upstream_aborted";
  /** Why we cut it ourselves; absent when we did not. */
  readonly code?: ErrorCode | undefined;
  /** Status sent to the agent; undefined when none was. */
  readonly status: number | undefined;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Until the upstream's answer ended, `ms`. */
  readonly upstreamMs: number;
  /** How many pieces of the response held the credential. */
  readonly reflected: number;
}

/** A stage that never waits: a promise for nothing costs a turn of the microtask queue on every request. */
export type Stage<In, Out> = (input: In, ctx: RequestContext) => Out;
/** A stage that may have to ask somebody. */
export type WaitingStage<In, Out> = (input: In, ctx: RequestContext) => Out | Promise<Out>;

/** The agent's side of an exchange: where a response goes. Implemented by ingress. */
export interface ClientResponse {
  /** True once a head has been written: from then on an error can only cut the connection. */
  readonly started: boolean;
  /** False once the agent has gone. */
  readonly open: boolean;
  /** Answers `Expect: 100-continue` where the agent asked for it. */
  continue(): void;
  /** `length`: of the body, when known. `headers`: flat. */
  head(status: number, headers: string[], length: number | undefined): void;
  /** False: wait for `onDrain`. */
  write(chunk: Buffer): boolean;
  end(): void;
  /** Cuts the connection so that the agent can tell a broken body from a whole one. */
  abort(): void;
  /** The agent left before the end. At most one listener. */
  onClose(listener: () => void): void;
  /** One-shot. */
  onDrain(listener: () => void): void;
}
