/** What is settled for a whole client connection, and its one request in flight. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Authority } from "../../core/authority.ts";
import type { Framing } from "./framing.ts";
import type { GatewayOrigins } from "./generation.ts";
import type { Target } from "./target.ts";

/** How requests on this connection name their target. */
export type ConnectionKind =
  /** Absolute targets, each with an authority of its own. `isLocal`: nothing but this machine is between us and the client. */
  | { readonly way: "forward"; readonly isLocal: boolean }
  /** Origin targets that begin with a route's name. */
  | { readonly way: "gateway"; readonly target: GatewayReader }
  /** Inside CONNECT: origin targets under one authority. */
  | { readonly way: "tunnel"; readonly scheme: "http" | "https"; readonly authority: Authority };

/** The target behind a route's name. */
export interface GatewayTarget extends Target {
  /** The route that the agent named; policy must choose the same. */
  readonly route: string;
}

/** Throws INGRESS_BAD_REQUEST, INGRESS_AUTHORITY_MISMATCH, INGRESS_BROWSER or POLICY_NO_ROUTE. */
export type GatewayReader = (request: IncomingMessage, framing: Framing, origins: GatewayOrigins) => GatewayTarget;

export type Exchange = readonly [IncomingMessage, ServerResponse];

/** Requests that were parsed while one was in flight wait here; past this many the client is told to stop. */
const MAX_WAITING = 64;

export class ClientConnection {
  readonly kind: ConnectionKind;
  readonly #waiting: Exchange[] = [];
  #current: Exchange | undefined;
  #full = false;
  #occupied = false;
  #ended = false;

  constructor(kind: ConnectionKind) {
    this.kind = kind;
  }

  get busy(): boolean {
    return this.#occupied || this.#current !== undefined;
  }

  /** The answer to the one in flight is complete, if not yet sent. */
  get answered(): boolean {
    return this.#current?.[1].writableEnded === true;
  }

  /**
   * "run": it may start now. "wait": it starts when those before it have ended. "full": refuse it, as the last on this
   * connection. "flood": the client did not stop, cut it. "late": it came behind the last
   * answer, and nobody may read it.
   */
  admit(exchange: Exchange): "run" | "wait" | "full" | "flood" | "late" {
    if (this.#ended) return "late";
    if (this.#full) return "flood";
    if (this.#current === undefined) {
      this.#current = exchange;
      return "run";
    }
    if (this.#waiting.length >= MAX_WAITING) {
      this.#full = true;
      return "full";
    }
    this.#waiting.push(exchange);
    return "wait";
  }

  /** In use for as long as it lasts: a tunnel that passes unread. */
  occupy(): void {
    this.#occupied = true;
  }

  /** The one in flight has ended; the next to start, if there is one. */
  next(): Exchange | undefined {
    this.#current = this.#waiting.shift();
    return this.#current;
  }

  /** The last answer is out, or the client has gone: what waits will never be started (RFC 9112 section 9.6). */
  end(): void {
    this.#ended = true;
    this.#waiting.length = 0;
  }
}
