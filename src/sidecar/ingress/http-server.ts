/** The node:http server behind every way in: its limits, and what becomes of bytes that are no request. */
import { createServer, type Server } from "node:http";
import type { Socket } from "node:net";
import { SidekeyError } from "../../core/errors.ts";
import type { RequestHandler } from "./handler.ts";
import { refuseOnSocket } from "./reply.ts";

const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 120_000;
const MAX_HEADER_BYTES = 64 * 1024;

const OPTIONS = {
  keepAliveTimeout: KEEP_ALIVE_MS,
  headersTimeout: HEADERS_MS,
  requestTimeout: 0,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: MAX_HEADER_BYTES,
  // Ours to judge: Node would answer 400 with no code and no record.
  requireHostHeader: false,
  noDelay: true,
  keepAlive: true,
} as const;

/** Its requests go to `handler`, which must have accepted their connection. */
export const createHttpServer = (handler: RequestHandler): Server => {
  const server = createServer(OPTIONS);
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

const parseFailure = (
  code: string | undefined,
): "INGRESS_BAD_REQUEST" | "INGRESS_HEADERS_TOO_LARGE" | "INGRESS_TIMEOUT" => {
  if (code === "HPE_HEADER_OVERFLOW") return "INGRESS_HEADERS_TOO_LARGE";
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? "INGRESS_TIMEOUT" : "INGRESS_BAD_REQUEST";
};
