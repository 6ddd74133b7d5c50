/**
 * The forward proxy: absolute-form requests, and CONNECT with TLS interception for hosts that a route names. A refused
 * CONNECT is answered on the CONNECT itself, and no certificate is made to say no (ruling 18).
 */
import type { Server, Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { type Authority, type Host, parseAuthority } from "../../core/authority.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Door } from "./door.ts";
import type { CurrentGeneration } from "./generation.ts";
import type { ConnectRequest, RequestHandler } from "./handler.ts";
import { createListener } from "./listener.ts";
import { isLocalPeer, type ListenerTraits } from "./listener-traits.ts";
import type { Load } from "./load.ts";
import { refuseOnSocket } from "./reply.ts";

/** Until the first byte inside a tunnel, and again until the TLS handshake is done. `ms` */
const HANDSHAKE_MS = 10_000;

/** First byte of a TLS record that carries a handshake (RFC 8446 section 5.1). */
const TLS_HANDSHAKE = 0x16;

export interface ForwardProxyOptions {
  readonly handler: RequestHandler;
  readonly door: Door;
  readonly listener: ListenerTraits;
  readonly current: CurrentGeneration;
  readonly contexts: { get(host: Host): SecureContext | Promise<SecureContext> };
  readonly log: Log;
  readonly draining: () => boolean;
  readonly load: Load;
}

/** For `listen()`. */
export const createForwardProxy = (options: ForwardProxyOptions): Server => {
  const { handler, door, listener, current, contexts, log, draining, load } = options;

  const startTls = (socket: Socket, authority: Authority, secureContext: SecureContext): void => {
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ["http/1.1"] });
    door.replace(socket, secure);
    const timer = setTimeout(() => secure.destroy(), HANDSHAKE_MS);
    secure.once("secure", () => clearTimeout(timer));
    secure.once("close", () => clearTimeout(timer));
    secure.on("error", (error: NodeJS.ErrnoException) => {
      const code = error.code ?? "unknown";
      if (/UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN/.test(code)) {
        log.warn("the client does not trust this sidecar's CA: see sidekey ca print", {
          authority: authority.key,
          code,
        });
      }
      secure.destroy();
    });
    handler.serve(secure, { way: "tunnel", scheme: "https", authority });
  };

  /** TLS or plain HTTP: some clients tunnel cleartext too, so the first byte decides. */
  const sniff = (socket: Socket, head: Buffer, begin: (first: number) => void): void => {
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    const onData = (chunk: Buffer): void => {
      clearTimeout(timer);
      socket.off("end", onEnd);
      socket.pause();
      socket.unshift(chunk);
      begin(chunk[0] ?? 0);
    };
    // Nothing reads this socket yet, and what is half open would stay until the timer.
    const onEnd = (): void => void socket.destroy();
    socket.once("end", onEnd);
    socket.once("close", () => clearTimeout(timer));
    if (head.length > 0) onData(head);
    else socket.once("data", onData).resume();
  };

  const connect = async ({ target, framing }: ConnectRequest, socket: Socket, head: Buffer): Promise<void> => {
    const ctx = handler.createContext();
    let authority: Authority | undefined;
    socket.on("error", () => socket.destroy());
    try {
      authority = parseAuthority(target);
      if (authority === undefined || framing.bodyLength !== 0) {
        throw new SidekeyError("INGRESS_BAD_REQUEST", { detail: "CONNECT needs host:port and no body" });
      }
      const { host } = framing;
      const named = host === undefined ? authority : parseAuthority(host, authority.port);
      if (named === undefined) {
        throw new SidekeyError("INGRESS_BAD_REQUEST", { detail: "the Host header is not a valid host and port" });
      }
      if (named.key !== authority.key) throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
      if (draining()) throw new SidekeyError("DRAINING");
      const { limits, namesAuthority, namesHost, tunnel } = current();
      if (load.tunnels >= limits.tunnels) throw new SidekeyError("OVERLOADED");
      load.tunnels += 1;
      socket.once("close", () => {
        load.tunnels -= 1;
      });
      if (!namesAuthority(authority)) {
        if (tunnel === undefined || namesHost(authority.host)) throw new SidekeyError("POLICY_NO_ROUTE");
        handler.occupy(socket);
        return await tunnel(authority, socket, head, ctx);
      }
      const settled = authority;
      // Before the 200, so that a CA that can't sign is an answer and not a broken handshake.
      const secureContext = await contexts.get(authority.host);
      if (socket.destroyed) return;
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      sniff(socket, head, (first) => {
        if (first === TLS_HANDSHAKE) startTls(socket, settled, secureContext);
        else handler.serve(socket, { way: "tunnel", scheme: "http", authority: settled });
      });
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await handler.recordRefusal(ctx, error, { method: "CONNECT", authority: authority?.key });
      refuseOnSocket(socket, error, ctx.id);
    }
  };

  return createListener((socket) => {
    if (!door.admit(socket, listener.clients)) return;
    const kind = { way: "forward", isLocal: isLocalPeer(socket, listener) } as const;
    handler.serve(socket, kind, (request, from, head) => void connect(request, from, head));
  });
};
