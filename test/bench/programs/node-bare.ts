/**
 * A bare interception proxy of Sidekey's design: node:http and one TLSSocket in, undici's Pool.dispatch out, one header
 * set. No policy, audit or scrub: what it costs is the floor, and Sidekey's distance from it is Sidekey's own work.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, TLSSocket } from "node:tls";
import { type Dispatcher, Pool } from "undici";

interface BarePlan {
  readonly host: string;
  readonly upstreamPort: number;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  readonly secret: string;
}

const plan = JSON.parse(process.argv[2] ?? "") as BarePlan;
const authorization = `Bearer ${plan.secret}`;
const HOP_BY_HOP = new Set(["connection", "keep-alive", "transfer-encoding", "proxy-connection", "te", "upgrade"]);
/** Set by the proxy itself or by undici. */
const OWN = new Set(["authorization", "host", "content-length"]);

const trust = createSecureContext({ ca: readFileSync(plan.ca) });
const pool = new Pool(`https://${plan.host}`, {
  connections: 128,
  connect: (_options, callback) => {
    const socket = connect({ host: "127.0.0.1", port: plan.upstreamPort, noDelay: true });
    const secure = connectTls({ socket, servername: plan.host, secureContext: trust }, () => callback(null, secure));
    secure.once("error", (error) => callback(error, null));
  },
});

const buildRequestHeaders = (raw: readonly string[]): string[] => {
  const headers = ["authorization", authorization];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? "";
    const lower = name.toLowerCase();
    if (!OWN.has(lower) && !HOP_BY_HOP.has(lower)) headers.push(name, raw[index + 1] ?? "");
  }
  return headers;
};

const buildResponseHeaders = (raw: readonly Buffer[]): string[] => {
  const headers: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]?.toString("latin1") ?? "";
    if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, raw[index + 1]?.toString("latin1") ?? "");
  }
  return headers;
};

const exchange = (request: IncomingMessage, response: ServerResponse): void => {
  const hasBody = request.method !== "GET" && request.method !== "HEAD";
  const handler: Dispatcher.DispatchHandler = {
    onConnect() {},
    onHeaders(status, raw, resume) {
      response.on("drain", resume);
      response.writeHead(status, buildResponseHeaders(raw));
      return true;
    },
    onData: (chunk) => response.write(chunk),
    onComplete: () => response.end(),
    onError: () => response.destroy(),
  };
  pool.dispatch(
    {
      path: request.url ?? "/",
      method: request.method as Dispatcher.HttpMethod,
      headers: buildRequestHeaders(request.rawHeaders),
      body: hasBody ? request : null,
    },
    handler,
  );
};

const context = createSecureContext({ cert: readFileSync(plan.certificate), key: readFileSync(plan.key) });
const inner = createServer({ keepAliveTimeout: 300_000 }, exchange);
const outer = createServer();
outer.on("connect", (_request, socket: Socket) => {
  socket.setNoDelay(true);
  socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
  const secure = new TLSSocket(socket, { isServer: true, secureContext: context });
  secure.on("error", () => socket.destroy());
  inner.emit("connection", secure);
});
outer.listen(0, "127.0.0.1", () => console.log((outer.address() as AddressInfo).port));
