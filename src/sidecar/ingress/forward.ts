/**
 * The forward proxy: absolute-form requests, and CONNECT with TLS interception for hosts that a route names. A refused
 * CONNECT is answered on the CONNECT itself, and no certificate is made to say no (ruling 18).
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { type Authority, type Host, parseAuthority } from "../../core/authority.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { BlindTunnel } from "./blind-tunnel.ts";
import { judgeFraming } from "./framing.ts";
import type { RequestHandler } from "./handler.ts";
import { refuseOnSocket } from "./reply.ts";

/** Until the first byte inside a tunnel, and again until the TLS handshake is done. `ms` */
const HANDSHAKE_MS = 10_000;
const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 120_000;
const MAX_HEADER_BYTES = 64 * 1024;

/** First byte of a TLS record that carries a handshake (RFC 8446 section 5.1). */
const TLS_HANDSHAKE = 0x16;

export interface ForwardProxyOptions {
  readonly handler: RequestHandler;
  /** Some route names this host and port: its traffic is read. */
  readonly namesHost: (authority: Authority) => boolean;
  readonly contexts: { get(host: Host): SecureContext | Promise<SecureContext> };
  /** Passes bytes to a host that no route names; undefined = denied. */
  readonly tunnel: BlindTunnel | undefined;
  readonly log: Log;
  readonly draining: () => boolean;
  /** Open client connections, and CONNECT tunnels among them; past them OVERLOADED. */
  readonly limits: { readonly connections: number; readonly tunnels: number };
}

export interface ForwardProxy {
  /** For `listen()`. */
  readonly server: Server;
  /** Stops accepting, lets requests in flight end, and cuts what is left after `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

export const createForwardProxy = (options: ForwardProxyOptions): ForwardProxy => {
  const { handler, namesHost, contexts, tunnel, log, draining, limits } = options;
  const sockets = new Set<Socket>();
  let tunnels = 0;

  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  };

  const httpOptions = {
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: HEADERS_MS,
    requestTimeout: 0,
    connectionsCheckingInterval: 2_000,
    maxHeaderSize: MAX_HEADER_BYTES,
    noDelay: true,
    keepAlive: true,
  } as const;

  const prepare = (server: Server): Server => {
    // No silent cap: what is past the limit is refused in framing.
    server.maxHeadersCount = 0;
    server.on("request", handler.handle);
    server.on("checkContinue", handler.handle);
    server.on("checkExpectation", handler.handle);
    server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
      const refusal = new SidekeyError(parseFailure(error.code));
      const ctx = handler.createContext();
      if (error.code === "ECONNRESET" || socket.destroyed) return void socket.destroy();
      void handler.recordRefusal(ctx, refusal, {});
      // In the middle of an answer a second one can't be told from the first.
      if (handler.isIdle(socket)) refuseOnSocket(socket, refusal, ctx.id);
      else socket.destroy();
    });
    return server;
  };

  /** Never listens: gets the decrypted side of intercepted tunnels. */
  const inner = prepare(createServer(httpOptions));
  const outer = prepare(createServer(httpOptions));

  const serveTunnel = (socket: Socket, authority: Authority, scheme: "http" | "https"): void => {
    handler.accept(socket, { way: "tunnel", scheme, authority });
    inner.emit("connection", socket);
  };

  const startTls = (socket: Socket, authority: Authority, secureContext: SecureContext): void => {
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ["http/1.1"] });
    // From here on the TLS socket stands for the connection.
    sockets.delete(socket);
    track(secure);
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
    serveTunnel(secure, authority, "https");
  };

  /** TLS or plain HTTP: some clients tunnel cleartext too, so the first byte decides. */
  const sniff = (socket: Socket, head: Buffer, begin: (first: number) => void): void => {
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    const onData = (chunk: Buffer): void => {
      clearTimeout(timer);
      socket.pause();
      socket.unshift(chunk);
      begin(chunk[0] ?? 0);
    };
    socket.once("close", () => clearTimeout(timer));
    if (head.length > 0) onData(head);
    else socket.once("data", onData);
  };

  const connect = async (request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> => {
    const ctx = handler.createContext();
    const name = request.url ?? "";
    let authority: Authority | undefined;
    try {
      const framing = judgeFraming(request);
      authority = parseAuthority(name);
      if (authority === undefined || framing.bodyLength !== 0) {
        throw new SidekeyError("INGRESS_BAD_REQUEST", { detail: "CONNECT needs host:port and no body" });
      }
      const { host } = framing;
      if (host !== undefined && (parseAuthority(host, authority.port) ?? authority).key !== authority.key) {
        throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
      }
      if (draining()) throw new SidekeyError("DRAINING");
      if (tunnels >= limits.tunnels) throw new SidekeyError("OVERLOADED");
      tunnels += 1;
      socket.once("close", () => {
        tunnels -= 1;
      });
      if (!namesHost(authority)) {
        if (tunnel === undefined) throw new SidekeyError("POLICY_NO_ROUTE");
        return await tunnel(authority, socket, head, ctx);
      }
      const settled = authority;
      // Before the 200, so that a CA that can't sign is an answer and not a broken handshake.
      const secureContext = await contexts.get(authority.host);
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      sniff(socket, head, (first) => {
        if (first === TLS_HANDSHAKE) startTls(socket, settled, secureContext);
        else serveTunnel(socket, settled, "http");
      });
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      await handler.recordRefusal(ctx, error, { method: "CONNECT", authority: authority?.key });
      refuseOnSocket(socket, error, ctx.id);
    }
  };

  outer.on("connection", (socket: Socket) => {
    if (sockets.size >= limits.connections) {
      // Not on record one by one: a flood must not fill the audit.
      refuseOnSocket(socket, new SidekeyError("OVERLOADED"), handler.createContext().id);
      return;
    }
    track(socket);
    handler.accept(socket, { way: "forward" });
  });
  outer.on("connect", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    void connect(request, socket, head);
  });

  return {
    server: outer,
    async drain(graceMs) {
      const closed = new Promise<void>((resolve) => outer.close(() => resolve()));
      const idle = setInterval(() => {
        for (const socket of sockets) if (handler.isIdle(socket)) socket.destroy();
      }, 50);
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearInterval(idle);
      clearTimeout(cut);
    },
  };
};

const parseFailure = (
  code: string | undefined,
): "INGRESS_BAD_REQUEST" | "INGRESS_HEADERS_TOO_LARGE" | "INGRESS_TIMEOUT" => {
  if (code === "HPE_HEADER_OVERFLOW") return "INGRESS_HEADERS_TOO_LARGE";
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? "INGRESS_TIMEOUT" : "INGRESS_BAD_REQUEST";
};
