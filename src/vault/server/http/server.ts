/** The server's sockets: HTTP or HTTPS with every limit that keeps a slow or greedy client from the others. */
import { createServer as createPlain, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createSecure, type Server as SecureServer } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions } from "node:tls";
import { networkOf } from "../callers/network.ts";

/** Header lines of one request. */
export const MAX_HEADERS = 100;
export const MIN_TLS = "TLSv1.2";

export interface TlsMaterial extends SecureContextOptions {
  /** Only clients with a certificate of `ca`. */
  readonly requestCert: boolean;
}

export interface SocketLimits {
  readonly connections: number;
  /** Of one address; of IPv6, of one /64. */
  readonly perAddress: number;
  /** Whether an address speaks for many others, and is not counted. */
  readonly isProxy: (ip: string) => boolean;
  /** Until a request's headers are here, the whole of it, and TLS is agreed on. Default 10 s, 60 s and 10 s. `ms` */
  readonly headersTimeout?: number;
  readonly requestTimeout?: number;
  readonly handshakeTimeout?: number;
}

const OPTIONS: ServerOptions = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 60_000,
  connectionsCheckingInterval: 500,
  noDelay: true,
};

export const createHttpServer = (
  listener: RequestListener,
  tls: TlsMaterial | undefined,
  { connections, perAddress, isProxy, headersTimeout, requestTimeout, handshakeTimeout = 10_000 }: SocketLimits,
): Server | SecureServer => {
  const options = {
    ...OPTIONS,
    ...(headersTimeout !== undefined && { headersTimeout }),
    ...(requestTimeout !== undefined && { requestTimeout }),
  };
  const server =
    tls === undefined
      ? createPlain(options, listener)
      : createSecure({ ...options, ...tls, rejectUnauthorized: true, minVersion: MIN_TLS, handshakeTimeout }, listener);
  server.maxConnections = connections;
  limitAddresses(server, perAddress, isProxy);
  // Node 20 drops what is past its own count and still frames by it: one more than we take is enough to see it.
  server.maxHeadersCount = MAX_HEADERS + 1;
  // 100-continue is Node's to answer; any other expectation is no request of ours.
  server.on("checkExpectation", (_request, response) => {
    response.writeHead(417, { connection: "close", "content-length": "0" });
    response.end();
  });
  return server;
};

/** So that one client alone cannot take all connections there are. A unix socket has no address, and is not counted. */
const limitAddresses = (server: Server, most: number, isProxy: SocketLimits["isProxy"]): void => {
  const open = new Map<string, number>();
  // Before TLS: what a handshake costs is not spent on it.
  server.on("connection", (socket: Socket) => {
    const { remoteAddress } = socket;
    if (remoteAddress === undefined || isProxy(remoteAddress)) return;
    const network = networkOf(remoteAddress);
    const count = (open.get(network) ?? 0) + 1;
    if (count > most) return void socket.destroy();
    open.set(network, count);
    socket.once("close", () => {
      const left = (open.get(network) ?? 1) - 1;
      if (left > 0) open.set(network, left);
      else open.delete(network);
    });
  });
};
