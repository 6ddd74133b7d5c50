/** The stage of the gateway's tests: a TLS upstream and a plain one behind routes, some of which lie inside another's host. */
import { createTestAuthority } from "./certificates.ts";
import { openConnection, type RawConnection, type RawResponse } from "./raw-client.ts";
import { startTestSidecar, type TestSidecar } from "./sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "./upstream.ts";

export const GATEWAY_CANARY = "canary-5c1e7aa09d3b42f8";
export const ADMIN_CANARY = "canary-e0b7d4612f98ac35";

export interface GatewayStage {
  readonly upstream: TestUpstream;
  readonly plain: TestUpstream;
  readonly sidecar: TestSidecar;
  /** `127.0.0.1:PORT` of the gateway. */
  readonly host: string;
  connect(): Promise<RawConnection>;
  /** One request on a connection of its own. */
  ask(bytes: string, method?: string): Promise<RawResponse>;
  /** A GET with the right Host. `extra`: more header lines, each with its CRLF. */
  get(path: string, extra?: string): Promise<RawResponse>;
  /** Requests that reached an upstream. */
  readonly reached: number;
  close(): Promise<void>;
}

export const createGatewayStage = async (options: {
  readonly handler?: UpstreamHandler;
  /** Added to the file. */
  readonly more?: string;
  /** Default `127.0.0.1:0`. */
  readonly gateway?: string;
  /** Added to `listen`. */
  readonly listen?: string;
}): Promise<GatewayStage> => {
  const authority = await createTestAuthority();
  const names = ["api.test", "host.test", "a.named.test", "other.test"];
  const handler = options.handler === undefined ? {} : { handler: options.handler };
  const upstream = await startUpstream({ tls: await authority.issue({ names }), ...handler });
  const plain = await startUpstream();
  const connect = names.map((name) => `    "${name}:443": "${upstream.address}"`).join("\n");
  const sidecar = await startTestSidecar({
    environment: { API_KEY: GATEWAY_CANARY, ADMIN_KEY: ADMIN_CANARY },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
agent: tester
listen: { proxy: "127.0.0.1:0", gateway: "${options.gateway ?? "127.0.0.1:0"}", ${options.listen ?? ""} }
sources: { env: { kind: env } }
routes:
  api:
    match: ["https://api.test/v1/**", "GET https://other.test/only-get"]
    secret: API_KEY
    deny: ["DELETE **", "* /v1/closed/**"]
  admin: { match: "https://api.test/v1/admin/**", secret: ADMIN_KEY }
  host.test: API_KEY
  plain: { match: "http://127.0.0.1:${plain.port}/**", secret: API_KEY }
  wild: { match: "https://*.wild.test/**", secret: API_KEY }
  named: { match: "https://**.named.test/named/**", secret: API_KEY, gateway: "https://a.named.test" }
upstream:
  ca: ./ca.pem
  connect:
${connect}
${options.more ?? ""}`,
  });
  const host = `127.0.0.1:${sidecar.gatewayPort}`;
  const open = (): Promise<RawConnection> => openConnection(sidecar.gatewayPort);
  const ask = async (bytes: string, method = "GET"): Promise<RawResponse> => {
    const connection = await open();
    connection.send(bytes);
    const response = await connection.receive(method);
    connection.destroy();
    return response;
  };
  return {
    upstream,
    plain,
    sidecar,
    host,
    connect: open,
    ask,
    get: (path, extra = "") => ask(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${extra}\r\n`),
    get reached() {
      return upstream.requests.length + plain.requests.length;
    },
    async close() {
      await sidecar.close();
      await upstream.close();
      await plain.close();
    },
  };
};

/** `[status, code]`, to compare in one go. */
export const verdictOf = ({ status, headers }: RawResponse): readonly [number, string | undefined] => [
  status,
  headers.get("x-sidekey-error")?.[0],
];
