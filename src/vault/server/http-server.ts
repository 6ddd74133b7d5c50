/** The server's sockets: HTTP or HTTPS with every limit that keeps a slow or greedy client from the others. */
import { createServer as createPlain, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createSecure, type Server as SecureServer } from "node:https";
import type { SecureContextOptions } from "node:tls";

/** Header lines of one request. */
export const MAX_HEADERS = 100;

const OPTIONS: ServerOptions = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 60_000,
  connectionsCheckingInterval: 1_000,
  noDelay: true,
};

export interface TlsMaterial extends SecureContextOptions {
  readonly requestCert: boolean;
}

export const createHttpServer = (
  listener: RequestListener,
  tls: TlsMaterial | undefined,
  maxConnections: number,
): Server | SecureServer => {
  const server =
    tls === undefined
      ? createPlain(OPTIONS, listener)
      : createSecure(
          { ...OPTIONS, ...tls, rejectUnauthorized: true, minVersion: "TLSv1.2", handshakeTimeout: 10_000 },
          listener,
        );
  server.maxConnections = maxConnections;
  // Node 20 drops what is past its own count and still frames by it: one more than we take is enough to see it.
  server.maxHeadersCount = MAX_HEADERS + 1;
  return server;
};
