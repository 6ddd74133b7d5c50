/**
 * The sidecar's own small HTTP API, for its operator: on a unix socket that only this user can open, and the two probes
 * and the metrics on a port of their own. Never behind the proxy, never with a secret's value. It knows whole targets and nothing else:
 * no query, no body, no second request while one is served.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Cidr, cidrContains, parsePeer } from "../../core/ip.ts";
import type { Scrape } from "./metrics.ts";
import type { Readiness, ReloadAnswer, StatusReport } from "./report.ts";

const OPTIONS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8 * 1024,
  noDelay: true,
} as const;

/** Of one listener, at once. */
const MAX_CONNECTIONS = 64;

interface Telling {
  readonly readiness: () => Readiness | Promise<Readiness>;
  readonly metrics: () => Promise<Scrape>;
  /** Told what an endpoint threw; whoever asked gets 500. */
  readonly failed: (path: string, error: unknown) => void;
}

export interface ProbeOptions extends Telling {
  /** Who may connect; undefined = whoever reaches it, because only this machine can. */
  readonly clients: readonly Cidr[] | undefined;
}

export interface AdminOptions extends Telling {
  readonly status: () => StatusReport;
  readonly reload: () => Promise<ReloadAnswer>;
}

interface Answer {
  readonly status: number;
  /** Sent as JSON, but for a scrape. */
  readonly body: object | Scrape;
}

/** Undefined: no such thing for this method. */
type Endpoint = Readonly<Partial<Record<string, () => Answer | Promise<Answer>>>>;
type Endpoints = ReadonlyMap<string, Endpoint>;

/** `/healthz`, `/readyz` and `/metrics` only. For `listen()`. */
export const createProbeServer = ({ clients, ...telling }: ProbeOptions): Server => {
  const server = serve(new Map(endpointsOf(telling)), telling.failed);
  if (clients !== undefined) {
    server.prependListener("connection", (socket: Socket) => {
      if (!isAmong(socket.remoteAddress, clients)) socket.destroy();
    });
  }
  return server;
};

/** Everything. For `listen()` on a unix socket that is its owner's alone. */
export const createAdminServer = ({ status, reload, ...telling }: AdminOptions): Server =>
  serve(
    new Map<string, Endpoint>([
      ...endpointsOf(telling),
      ["/status", readOnly(() => ({ status: 200, body: status() }))],
      [
        "/reload",
        {
          POST: async () => {
            const answer = await reload();
            return { status: "problems" in answer ? 422 : 200, body: answer };
          },
        },
      ],
    ]),
    telling.failed,
  );

const readOnly = (get: () => Answer | Promise<Answer>): Endpoint => ({ GET: get, HEAD: get });

const endpointsOf = ({ readiness, metrics }: Telling): [string, Endpoint][] => [
  ["/healthz", readOnly(() => ({ status: 200, body: { status: "ok" } }))],
  [
    "/readyz",
    readOnly(async () => {
      const { reasons } = await readiness();
      if (reasons.length === 0) return { status: 200, body: { status: "ready" } };
      return { status: 503, body: { status: "unready", reasons } };
    }),
  ],
  ["/metrics", readOnly(async () => ({ status: 200, body: await metrics() }))],
];

const serve = (endpoints: Endpoints, failed: Telling["failed"]): Server => {
  const server = createServer(OPTIONS, (request, response) => {
    respond(request, response, endpoints).catch((error: unknown) => {
      failed(request.url ?? "", error);
      if (response.headersSent) response.destroy();
      else send(request, response, { status: 500, body: refusal("the sidecar failed; see its log") });
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Node's own answers are as good as ours here; nothing that is no HTTP is worth another word.
  server.on("connect", (_request, socket: Socket) => socket.destroy());
  server.on("upgrade", (_request, socket: Socket) => socket.destroy());
  return server;
};

const respond = async (request: IncomingMessage, response: ServerResponse, endpoints: Endpoints): Promise<void> => {
  const { method = "", url = "", headers } = request;
  const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) !== 0;
  const endpoint = endpoints.get(url);
  if (endpoint === undefined) return send(request, response, { status: 404, body: refusal("no such path") });
  const act = Object.hasOwn(endpoint, method) ? endpoint[method] : undefined;
  if (act === undefined) {
    response.setHeader("allow", Object.keys(endpoint).join(", "));
    return send(request, response, { status: 405, body: refusal("no such method here") });
  }
  if (hasBody) return send(request, response, { status: 413, body: refusal("nothing here takes a body") });
  send(request, response, await act());
};

const refusal = (message: string): object => ({ error: { message } });

const send = (request: IncomingMessage, response: ServerResponse, { status, body }: Answer): void => {
  const isScrape = "contentType" in body;
  const text = Buffer.from(isScrape ? body.text : `${JSON.stringify(body)}\n`);
  response.setHeader("content-type", isScrape ? body.contentType : "application/json");
  response.setHeader("content-length", text.length);
  response.setHeader("cache-control", "no-store");
  // What was not read is not waited for.
  if (!request.complete || status >= 400) response.setHeader("connection", "close");
  response.writeHead(status);
  response.end(request.method === "HEAD" ? undefined : text);
};

const isAmong = (address: string | undefined, clients: readonly Cidr[]): boolean => {
  // A peer that is gone already has no address.
  const bytes = address === undefined ? undefined : parsePeer(address);
  return bytes !== undefined && clients.some((range) => cidrContains(range, bytes));
};
