/** The node:http server behind every way in: its limits, and what becomes of bytes that are no request. */
import { createServer, type IncomingMessage, type Server } from "node:http";
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
  noDelay: true,
  keepAlive: true,
  // Node's own answer has no code and is on no record; framing refuses it.
  requireHostHeader: false,
} as const;

export type ConnectListener = (request: IncomingMessage, socket: Socket, head: Buffer) => void;

/** Its requests go to `handler`, which must have accepted their connection. Without `connect`, CONNECT is refused. */
export const createHttpServer = (handler: RequestHandler, connect?: ConnectListener): Server => {
  const server = createServer(OPTIONS);
  // No silent cap: what is past the limit is refused in framing.
  server.maxHeadersCount = 0;
  server.on("request", handler.handle);
  server.on("checkContinue", handler.handle);
  server.on("checkExpectation", handler.handle);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === "ECONNRESET" || socket.destroyed) return void socket.destroy();
    // Bytes behind a request that said it is the last are not read (RFC 9112 section 9.6); its answer is still to come.
    if (error.code === "HPE_CLOSED_CONNECTION") return;
    // A complete answer goes out; often it is the refusal of what the parser then failed on too.
    if (handler.isAnswered(socket)) return void socket.destroySoon();
    const refusal = new SidekeyError(parseFailure(error.code));
    const ctx = handler.createContext();
    void handler.recordRefusal(ctx, refusal, {});
    // In the middle of an answer a second one can't be told from the first.
    if (handler.isIdle(socket)) refuseOnSocket(socket, refusal, ctx.id);
    else socket.destroy();
  });
  server.on("connect", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    const isIdle = handler.isIdle(socket);
    if (isIdle && connect !== undefined) return connect(request, socket, head);
    const refusal = new SidekeyError("INGRESS_BAD_REQUEST", { detail: "no CONNECT here" });
    const ctx = handler.createContext();
    void handler.recordRefusal(ctx, refusal, { method: "CONNECT" });
    // An answer still to come would end up inside the tunnel.
    if (isIdle) refuseOnSocket(socket, refusal, ctx.id);
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
