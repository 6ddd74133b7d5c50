/** A bare http-proxy: keep-alive agent to the upstream, one header set. */
import { readFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { Agent } from "node:https";
import type { AddressInfo } from "node:net";
import { requirePeer } from "../peers.ts";

interface ProxyPlan {
  readonly host: string;
  readonly upstreamPort: number;
  readonly ca: string;
  readonly secret: string;
}

interface HttpProxy {
  createProxyServer(options: object): {
    web: RequestListener;
    on(event: "error", listener: (error: Error) => void): void;
  };
}

const plan = JSON.parse(process.argv[2] ?? "") as ProxyPlan;
const { createProxyServer } = requirePeer("http-proxy") as HttpProxy;
const proxy = createProxyServer({
  target: `https://127.0.0.1:${plan.upstreamPort}`,
  agent: new Agent({ keepAlive: true, maxSockets: 128, servername: plan.host, ca: readFileSync(plan.ca) }),
  headers: { authorization: `Bearer ${plan.secret}` },
});
proxy.on("error", (error) => process.stderr.write(`http-proxy: ${error.message}\n`));
const server = createServer({ keepAliveTimeout: 300_000 }, (request, response) => proxy.web(request, response));
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
