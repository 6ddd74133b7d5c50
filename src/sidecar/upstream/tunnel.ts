/** Bytes through, unread and without a credential: for hosts that no route names, when the file says `unmatched: tunnel`. */
import type { Socket } from "node:net";
import type { Authority } from "../../core/authority.ts";
import type { Connection } from "../net/connection.ts";
import type { Connector } from "../net/connector.ts";
import { upstreamFailure } from "./failure.ts";

/** `ms` */
const CONNECT_MS = 10_000;
/** Silence both ways. `ms` */
const IDLE_MS = 300_000;

export interface TunnelOutcome {
  readonly outcome: "ok" | "client_aborted" | "upstream_aborted";
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface Tunnel {
  /** Both ends are connected: to be called once, after the agent was told so. Settles when the tunnel has ended. */
  splice(client: Socket, head: Buffer): Promise<TunnelOutcome>;
  /** Breaks it off on both sides. */
  cut(): void;
}

/**
 * Rejects with POLICY_ADDRESS, POLICY_LOOP, UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT, or UPSTREAM_RESET when `client`, who
 * waits for it, closes meanwhile.
 */
export const openTunnel = (connector: Connector, authority: Authority, client: Socket): Promise<Tunnel> =>
  new Promise((resolve, reject) => {
    const left = (): void => giveUp();
    const giveUp = connector(
      {
        scheme: "http",
        authority,
        cleartext: "uncredentialed",
        timeoutMs: CONNECT_MS,
        written: false,
        watchEnd: false,
      },
      (error, connection) => {
        client.off("close", left);
        if (connection === null) reject(upstreamFailure(error));
        else {
          resolve({
            splice: (client, head) => splice(client, head, connection),
            cut: () => void connection.socket.destroy(new Error("cut")),
          });
        }
      },
    );
    if (client.destroyed) left();
    else client.once("close", left);
  });

const splice = (client: Socket, head: Buffer, connection: Connection): Promise<TunnelOutcome> =>
  new Promise((resolve) => {
    const { socket: upstream } = connection;
    let first: TunnelOutcome["outcome"] | undefined;
    const end = (outcome: TunnelOutcome["outcome"]) => () => {
      first ??= outcome;
      // What broke off on one side must not end in order on the other. A unix socket has neither address nor reset.
      if (outcome === "upstream_aborted" && client.remoteAddress !== undefined) reset(client);
      else client.destroy();
      if (outcome === "client_aborted") reset(upstream);
      else upstream.destroy();
    };
    client.on("error", end("client_aborted"));
    upstream.on("error", end("upstream_aborted"));
    // Before `pipe` passes it on.
    upstream.once("end", () => {
      if (!connection.endedInOrder()) end("upstream_aborted")();
    });
    client.setTimeout(IDLE_MS, end("client_aborted"));
    upstream.setTimeout(IDLE_MS, end("upstream_aborted"));
    // Half-closes pass through `pipe`; a whole close of one side is the end of the other.
    client.once("close", end("ok"));
    upstream.once("close", () => {
      end("ok")();
      resolve({ outcome: first ?? "ok", bytesUp: upstream.bytesWritten, bytesDown: upstream.bytesRead });
    });
    // It left while the upstream was connected: no event of its tells so any more.
    if (client.destroyed) {
      end("client_aborted")();
      return;
    }
    if (head.length > 0) upstream.write(head);
    client.pipe(upstream).pipe(client);
  });

/**
 * While its FIN is on the way, libuv refuses a reset (EINVAL), and Node forgets the socket without closing its file. It has
 * ended in order by then: closing is all that is left.
 */
const reset = (socket: Socket): void => {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
};
