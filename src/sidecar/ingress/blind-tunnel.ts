/** CONNECT to a host that no route names, with its intent and outcome on record like any other exchange. */
import type { Socket } from "node:net";
import type { AuditBroker } from "../../audit/broker.ts";
import type { Authority } from "../../core/authority.ts";
import type { Clock } from "../../core/clock.ts";
import { toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connector } from "../net/connector.ts";
import type { RequestContext } from "../pipeline/messages.ts";
import { openTunnel } from "../upstream/tunnel.ts";
import { refuseOnSocket } from "./reply.ts";

export type BlindTunnel = (authority: Authority, socket: Socket, head: Buffer, ctx: RequestContext) => Promise<void>;

export interface BlindTunnelOptions {
  readonly connector: Connector;
  readonly broker: AuditBroker;
  readonly agent: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Rejects with AUDIT_UNAVAILABLE before anything was opened; later failures are answered and recorded here. */
export const createBlindTunnel = ({ connector, broker, agent, clock, log }: BlindTunnelOptions): BlindTunnel =>
  async function blindTunnel(authority, socket, head, ctx) {
    const facts = { requestId: ctx.id, agent, method: "CONNECT", authority: authority.key } as const;
    await broker.record({ type: "intent", ...facts, decision: "tunnel" });
    const end = (event: Omit<Parameters<AuditBroker["record"]>[0], "type">): Promise<void> =>
      broker.record({ type: "outcome", ...facts, ms: { total: clock.monotonic() - ctx.startedAt }, ...event }).then(
        () => undefined,
        () => log.error("outcome not recorded", { requestId: ctx.id }),
      );
    try {
      const tunnel = await openTunnel(connector, authority);
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      await end({ status: 200, ...(await tunnel.splice(socket, head)) });
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await end({ code: error.code, status: error.status, outcome: "upstream_aborted" });
      refuseOnSocket(socket, error, ctx.id);
    }
  };
