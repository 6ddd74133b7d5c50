/** CONNECT to a host that no route names, with its intent and outcome on record like any other exchange. */
import type { Socket } from "node:net";
import type { AuditBroker } from "../../audit/broker.ts";
import type { Authority } from "../../core/authority.ts";
import type { Clock } from "../../core/clock.ts";
import { type ErrorCode, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connector } from "../net/connector.ts";
import type { RequestContext } from "../pipeline/messages.ts";
import type { LiveExchanges, Revocable } from "../pipeline/revocation.ts";
import { openTunnel } from "../upstream/tunnel.ts";
import { refuseOnSocket } from "./reply.ts";

export type BlindTunnel = (authority: Authority, socket: Socket, head: Buffer, ctx: RequestContext) => Promise<void>;

export interface BlindTunnelOptions {
  readonly connector: Connector;
  readonly broker: AuditBroker;
  readonly agent: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly live: LiveExchanges;
}

/** Rejects with AUDIT_UNAVAILABLE before anything was opened; later failures are answered and recorded here. */
export const createBlindTunnel = ({ connector, broker, agent, clock, log, live }: BlindTunnelOptions): BlindTunnel =>
  async function blindTunnel(authority, socket, head, ctx) {
    const facts = { requestId: ctx.id, agent, method: "CONNECT", authority: authority.key } as const;
    await broker.record({ type: "intent", ...facts, decision: "tunnel" });
    const end = (event: Omit<Parameters<AuditBroker["record"]>[0], "type">): Promise<void> =>
      broker.record({ type: "outcome", ...facts, ms: { total: clock.monotonic() - ctx.startedAt }, ...event }).then(
        () => undefined,
        () => log.error("outcome not recorded yet", { requestId: ctx.id }),
      );
    try {
      const tunnel = await openTunnel(connector, authority, socket);
      // Connecting took its time: what was allowed before may be denied by now.
      const revoked = await live.judge().tunnel(authority);
      if (revoked !== undefined) {
        tunnel.cut();
        throw revoked;
      }
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      let code: ErrorCode | undefined;
      const entry: Revocable = {
        judge: (judge) => judge.tunnel(authority),
        revoke(error) {
          code ??= error.code;
          tunnel.cut();
        },
      };
      live.add(entry);
      const outcome = await tunnel.splice(socket, head);
      live.delete(entry);
      await end({ status: 200, code, ...outcome });
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      // Who has left gets no status.
      if (socket.destroyed) await end({ outcome: "client_aborted" });
      else await end({ code: error.code, status: error.status, outcome: "upstream_aborted" });
      refuseOnSocket(socket, error, ctx.id);
    }
  };
