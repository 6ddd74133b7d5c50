/**
 * Requests of agents to the line and refusals back: the rescue layer, the only place that turns an error into a reply.
 * Shared by every way in.
 */
import type { Socket } from "node:net";
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { framesOf } from "../../core/frames.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Log } from "../../core/log.ts";
import type { InboundRequest, RequestContext } from "../pipeline/messages.ts";
import { AgentConnection, type ConnectionOwner } from "./agent-connection.ts";
import type { AgentRequest } from "./agent-request.ts";
import type { AgentResponse } from "./agent-response.ts";
import type { ConnectionKind, GatewayTarget } from "./connection-kind.ts";
import type { Framing } from "./framing.ts";
import type { CurrentGeneration, GatewayOrigins } from "./generation.ts";
import type { Load } from "./load.ts";
import { refuseOnSocket } from "./reply.ts";
import { parseAbsoluteTarget, parseOriginTarget, requireSameAuthority, type Target } from "./target.ts";

/** `sent`: what came behind the CONNECT. The socket is paused. */
export type ConnectListener = (request: ConnectRequest, socket: Socket, sent: Buffer) => void;

export interface ConnectRequest {
  readonly target: string;
  readonly framing: Framing;
}

export interface RequestHandler {
  /** Reads requests from a connection. `connect`: takes CONNECT on it; without, it is refused. */
  serve(socket: Socket, kind: ConnectionKind, connect?: ConnectListener): void;
  /** The connection carries something that is no request, until it closes. */
  occupy(socket: Socket): void;
  /** No request in flight on it. */
  isIdle(socket: Socket): boolean;
  createContext(): RequestContext;
  /** Puts a refusal that never reached the line on record. */
  recordRefusal(ctx: RequestContext, error: SidekeyError, facts: RefusalFacts): Promise<void>;
}

/** Between two looks at connections on which nothing goes on: their deadlines are that much late at most. `ms` */
const SWEEP_MS = 1_000;

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
  const connections = new WeakMap<Socket, AgentConnection>();
  const open = new Set<AgentConnection>();
  let sweep: NodeJS.Timeout | undefined;
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
    { head, body }: AgentRequest,
    connection: AgentConnection,
    framing: Framing,
    origins: GatewayOrigins,
  ): InboundRequest => {
    const target = parseTarget(head.target, head.headers, connection, framing, origins);
    return {
      method: head.method,
      named: "route" in target ? target.route : undefined,
      scheme: target.scheme,
      authority: target.authority,
      path: target.path,
      query: target.query,
      headers: head.headers,
      reason: framing.reason,
      connection: framing.connection,
      body: body === undefined ? undefined : { length: framing.bodyLength, stream: body },
    };
  };

  /** `isOnLine`: what the line refuses it has recorded itself; what never got there is recorded here. */
  const refuse = (
    error: SidekeyError,
    request: AgentRequest,
    response: AgentResponse,
    ctx: RequestContext,
    isOnLine: boolean,
  ): void => {
    const facts = { requestId: ctx.id, code: error.code, detail: error.detail };
    if (error.code === "INTERNAL") log.error("request failed", { ...facts, stack: framesOf(error.cause).join(" < ") });
    // What the operator can mend, and what the agent did.
    else if (/^(?:UPSTREAM|TLS|SOURCE|AUDIT)_/.test(error.code)) log.warn("request failed", facts);
    else log.debug("request refused", facts);
    if (!isOnLine) void recordRefusal(ctx, error, { method: request.head.method });
    response.refuse(error, ctx.id);
  };

  const run = (request: AgentRequest, response: AgentResponse, connection: AgentConnection): void => {
    const ctx = createContext();
    const { line, origins, limits } = current();
    let inbound: InboundRequest;
    try {
      const { framing } = request;
      if (framing instanceof SidekeyError) throw framing;
      if (draining()) throw new SidekeyError("DRAINING");
      if (load.streams > limits.streams) throw new SidekeyError("OVERLOADED");
      inbound = parse(request, connection, framing, origins);
    } catch (thrown) {
      refuse(toSidekeyError(thrown), request, response, ctx, false);
      return;
    }
    load.underway += 1;
    try {
      line(inbound, response, ctx, (error) => {
        load.underway -= 1;
        if (error !== undefined) refuse(error, request, response, ctx, true);
      });
    } catch (thrown) {
      // A mistake of ours; whoever called waits for nothing, and the agent would wait for ever.
      refuse(toSidekeyError(thrown), request, response, ctx, false);
    }
  };

  const ownerWith = (connect: ConnectListener | undefined): ConnectionOwner => ({
    takesConnect: connect !== undefined,
    answer(request, response, connection) {
      load.streams += 1;
      run(request, response, connection);
    },
    answered() {
      load.streams -= 1;
    },
    connect: (request, socket, sent) => connect?.(request, socket, sent),
    refuse(error, socket) {
      const ctx = createContext();
      void recordRefusal(ctx, error, {});
      if (socket !== undefined) refuseOnSocket(socket, error, ctx.id);
    },
    closed(connection) {
      open.delete(connection);
      if (open.size > 0) return;
      clearInterval(sweep);
      sweep = undefined;
    },
  });
  const withoutConnect = ownerWith(undefined);

  const look = (): void => {
    const now = clock.monotonic();
    for (const connection of open) connection.tick(now);
  };

  return {
    serve(socket, kind, connect) {
      const owner = connect === undefined ? withoutConnect : ownerWith(connect);
      const connection = new AgentConnection(socket, kind, owner, () => clock.monotonic());
      connections.set(socket, connection);
      open.add(connection);
      sweep ??= setInterval(look, SWEEP_MS).unref();
    },
    occupy(socket) {
      connections.get(socket)?.occupy();
    },
    isIdle(socket) {
      return connections.get(socket)?.isBusy !== true;
    },
    createContext,
    recordRefusal,
  };
};

const parseTarget = (
  text: string,
  headers: HeaderList,
  connection: AgentConnection,
  framing: Framing,
  origins: GatewayOrigins,
): Target | GatewayTarget => {
  const { kind, serverName } = connection;
  if (kind.way === "gateway") return kind.target({ target: text, headers }, framing, origins);
  if (kind.way === "forward") {
    const target = parseAbsoluteTarget(text);
    // The agent asked for TLS: what it sends must not cross a network without. Some clients (axios) ask so on loopback.
    if (target.scheme === "https" && !kind.isLocal) throw new SidekeyError("POLICY_CLEARTEXT");
    requireSameAuthority(framing.host, target);
    return target;
  }
  // RFC 6066 section 3 allows no SNI for an address, and old clients send none at all; a different one is refused.
  if (serverName !== undefined && serverName.toLowerCase() !== kind.authority.host.name) {
    throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
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
