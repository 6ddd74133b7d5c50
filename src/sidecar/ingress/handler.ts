/**
 * Requests from node:http to the line and refusals back to the agent: the rescue layer, the only place that turns an
 * error into a reply. Shared by every way in.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { framesOf } from "../../core/frames.ts";
import type { Log } from "../../core/log.ts";
import type { InboundRequest, RequestContext } from "../pipeline/messages.ts";
import { NodeClientResponse } from "./client-response.ts";
import { ClientConnection, type ConnectionKind, type GatewayTarget } from "./connection.ts";
import { type Framing, judgeFraming } from "./framing.ts";
import type { CurrentGeneration, GatewayOrigins } from "./generation.ts";
import type { Load } from "./load.ts";
import { parseAbsoluteTarget, parseOriginTarget, requireSameAuthority, type Target } from "./target.ts";

export interface RequestHandler {
  /** Registers a connection before its first request. */
  accept(socket: Socket, kind: ConnectionKind): void;
  /** For the `request` and `checkContinue` events. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** The connection carries something that is no request, until it closes. */
  occupy(socket: Socket): void;
  /** No request in flight on it. */
  isIdle(socket: Socket): boolean;
  /** The answer to the one in flight is complete, if not yet sent. */
  isAnswered(socket: Socket): boolean;
  createContext(): RequestContext;
  /** Puts a refusal that never reached the line on record. */
  recordRefusal(ctx: RequestContext, error: SidekeyError, facts: RefusalFacts): Promise<void>;
}

export interface RefusalFacts {
  readonly method?: string | undefined;
  readonly authority?: string | undefined;
}

export interface RequestHandlerOptions {
  readonly current: CurrentGeneration;
  readonly broker: AuditBroker;
  readonly agent: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Unique to this process: request ids begin with it. */
  readonly instance: string;
  /** True once the sidecar is stopping. */
  readonly draining: () => boolean;
  readonly load: Load;
}

export const createRequestHandler = (options: RequestHandlerOptions): RequestHandler => {
  const { current, broker, agent, clock, log, instance, draining, load } = options;
  const connections = new WeakMap<Socket, ClientConnection>();
  let counter = 0;

  const createContext = (): RequestContext => {
    counter += 1;
    return { id: `${instance}-${counter.toString(36)}`, startedAt: clock.monotonic() };
  };

  const recordRefusal = (ctx: RequestContext, error: SidekeyError, facts: RefusalFacts): Promise<void> =>
    broker
      .record({
        type: "refusal",
        requestId: ctx.id,
        agent,
        ...facts,
        decision: "deny",
        code: error.code,
        status: error.status,
        outcome: "refused",
      })
      .then(
        () => undefined,
        () => log.error("refusal not recorded", { requestId: ctx.id, code: error.code }),
      );

  const parse = (
    request: IncomingMessage,
    kind: ConnectionKind,
    framing: Framing,
    origins: GatewayOrigins,
  ): InboundRequest => {
    const target = parseTarget(request, kind, framing, origins);
    return {
      method: request.method ?? "",
      named: "route" in target ? target.route : undefined,
      scheme: target.scheme,
      authority: target.authority,
      path: target.path,
      query: target.query,
      headers: request.rawHeaders,
      connection: framing.connection,
      body: framing.bodyLength === 0 ? undefined : { length: framing.bodyLength, stream: request },
    };
  };

  const run = async (request: IncomingMessage, response: ServerResponse, connection: ClientConnection) => {
    const ctx = createContext();
    let client: NodeClientResponse | undefined;
    let isOnLine = false;
    const { line, origins, limits } = current();
    try {
      const framing = judgeFraming(request);
      if (framing.upgrades) response.shouldKeepAlive = false;
      client = new NodeClientResponse(request, response, framing.expectsContinue, connection.kind.way);
      if (draining()) throw new SidekeyError("DRAINING");
      if (load.streams > limits.streams) throw new SidekeyError("OVERLOADED");
      const inbound = parse(request, connection.kind, framing, origins);
      isOnLine = true;
      await line(inbound, client, ctx);
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      const facts = { requestId: ctx.id, code: error.code, detail: error.detail };
      if (error.code === "INTERNAL")
        log.error("request failed", { ...facts, stack: framesOf(error.cause).join(" < ") });
      // What the operator can mend, and what the agent did.
      else if (/^(?:UPSTREAM|TLS|SOURCE|AUDIT)_/.test(error.code)) log.warn("request failed", facts);
      else log.debug("request refused", facts);
      // What the line refuses it has recorded itself; what never got there is recorded here.
      // In the same turn: when the parser fails on the same request right after, its answer must be under way.
      if (!isOnLine) void recordRefusal(ctx, error, { method: request.method });
      (client ?? new NodeClientResponse(request, response)).refuse(error, ctx.id);
    }
  };

  const start = (request: IncomingMessage, response: ServerResponse, connection: ClientConnection): void => {
    load.streams += 1;
    response.once("close", () => {
      load.streams -= 1;
      // Our side is closed, by Connection: close or because the client left: what came behind has no answer to come.
      if (!request.socket.writable) connection.end();
      const next = connection.next();
      if (next !== undefined) start(next[0], next[1], connection);
    });
    void run(request, response, connection);
  };

  return {
    accept(socket, kind) {
      connections.set(socket, new ClientConnection(kind));
    },
    handle(request, response) {
      const connection = connections.get(request.socket);
      if (connection === undefined) {
        request.socket.destroy();
        return;
      }
      const verdict = connection.admit([request, response]);
      if (verdict === "run") start(request, response, connection);
      else if (verdict === "flood") request.socket.destroy();
      else if (verdict === "full") {
        const error = new SidekeyError("INGRESS_PIPELINE");
        const ctx = createContext();
        void recordRefusal(ctx, error, { method: request.method });
        new NodeClientResponse(request, response).refuse(error, ctx.id);
      }
    },
    occupy(socket) {
      connections.get(socket)?.occupy();
    },
    isIdle(socket) {
      return connections.get(socket)?.busy !== true;
    },
    isAnswered(socket) {
      return connections.get(socket)?.answered === true;
    },
    createContext,
    recordRefusal,
  };
};

const parseTarget = (
  request: IncomingMessage,
  kind: ConnectionKind,
  framing: Framing,
  origins: GatewayOrigins,
): Target | GatewayTarget => {
  if (kind.way === "gateway") return kind.target(request, framing, origins);
  const text = request.url ?? "";
  if (kind.way === "forward") {
    const target = parseAbsoluteTarget(text);
    // The agent asked for TLS: what it sends must not cross a network without. Some clients (axios) ask so on loopback.
    if (target.scheme === "https" && !kind.isLocal) throw new SidekeyError("POLICY_CLEARTEXT");
    requireSameAuthority(framing.host, target);
    return target;
  }
  // RFC 6066 section 3 allows no SNI for an address, and old clients send none at all; a different one is refused.
  const { socket } = request;
  if (socket instanceof TLSSocket) {
    const named = (socket as TLSSocket & { servername?: string | false | null }).servername;
    if (typeof named === "string" && named.toLowerCase() !== kind.authority.host.name) {
      throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
    }
  }
  const target = text.startsWith("/")
    ? parseOriginTarget(text, kind.scheme, kind.authority)
    : parseAbsoluteTarget(text);
  if (target.scheme !== kind.scheme || target.authority.key !== kind.authority.key) {
    throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
  }
  requireSameAuthority(framing.host, target);
  return target;
};
