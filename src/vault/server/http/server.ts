/** The server's sockets: HTTP or HTTPS with every limit that keeps a slow or greedy client from the others. */
import { createServer as createPlain, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createSecure, type Server as SecureServer } from "node:https";
import type { SecureContextOptions } from "node:tls";

/** Header lines of one request. */
export const MAX_HEADERS = 100;
export const MIN_TLS = "TLSv1.2";

export interface TlsMaterial extends SecureContextOptions {
  /** Only clients with a certificate of `ca`. */
  readonly requestCert: boolean;
}

export interface SocketLimits {
  readonly connections: number;
  /** Until a request's headers are here, and the whole of it. Default 10 s and 60 s. `ms` */
  readonly headersTimeout?: number;
  readonly requestTimeout?: number;
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
  { connections, headersTimeout, requestTimeout }: SocketLimits,
): Server | SecureServer => {
  const options = {
    ...OPTIONS,
    ...(headersTimeout !== undefined && { headersTimeout }),
    ...(requestTimeout !== undefined && { requestTimeout }),
  };
  const server =
    tls === undefined
      ? createPlain(options, listener)
      : createSecure(
          { ...options, ...tls, rejectUnauthorized: true, minVersion: MIN_TLS, handshakeTimeout: 10_000 },
          listener,
        );
  server.maxConnections = connections;
  // Node 20 drops what is past its own count and still frames by it: one more than we take is enough to see it.
  server.maxHeadersCount = MAX_HEADERS + 1;
  // 100-continue is Node's to answer; any other expectation is no request of ours.
  server.on("checkExpectation", (_request, response) => {
    response.writeHead(417, { connection: "close", "content-length": "0" });
    response.end();
  });
  return server;
};
