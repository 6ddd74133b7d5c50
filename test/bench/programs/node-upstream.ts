/** The upstream where nginx is not installed: the same answers as upstream.conf, from node:https. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";

interface UpstreamPlan {
  readonly certificate: string;
  readonly key: string;
  readonly secret: string;
  readonly body: string;
}

const { certificate, key, secret, body } = JSON.parse(process.argv[2] ?? "") as UpstreamPlan;
const headers = ["Content-Type", "application/json", "Content-Length", String(Buffer.byteLength(body))];
const server = createServer(
  { cert: readFileSync(certificate), key: readFileSync(key), noDelay: true, keepAliveTimeout: 300_000 },
  (request, response) => {
    if (request.headers.authorization !== `Bearer ${secret}`) response.writeHead(401).end();
    else response.writeHead(200, headers).end(body);
  },
);
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
