/** http-mitm-proxy set up as favourably as it goes: P-256 leaf, keep-alive agent to the upstream, no body handlers. */
import { readFileSync } from "node:fs";
import { Agent } from "node:https";
import { Proxy as MitmProxy } from "http-mitm-proxy";

interface MitmPlan {
  readonly host: string;
  readonly upstreamPort: number;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  readonly secret: string;
  /** Directory for the RSA CA that the proxy makes; only cold hosts need it. */
  readonly state: string;
}

const plan = JSON.parse(process.argv[2] ?? "") as MitmPlan;
const authorization = `Bearer ${plan.secret}`;
const proxy = new MitmProxy();
/** Its own way, for hosts that only bench:workloads asks for. */
const mint = proxy.onCertificateRequired.bind(proxy);
proxy.onCertificateRequired = (host, callback) =>
  host === plan.host
    ? callback(null, { keyFile: plan.key, certFile: plan.certificate, hosts: [host] })
    : mint(host, callback);
proxy.onRequest((context, callback) => {
  const options = context.proxyToServerRequestOptions;
  if (options !== undefined) {
    options.host = "127.0.0.1";
    options.port = plan.upstreamPort;
    options.headers["authorization"] = authorization;
  }
  callback();
});
proxy.onError((_context, error) => {
  process.stderr.write(`http-mitm-proxy: ${String(error)}\n`);
});
console.debug = () => undefined;
proxy.listen(
  {
    host: "127.0.0.1",
    port: 0,
    sslCaDir: plan.state,
    keepAlive: true,
    httpsAgent: new Agent({ keepAlive: true, servername: plan.host, ca: readFileSync(plan.ca) }),
  },
  () => process.stdout.write(`${proxy.httpPort}\n`),
);
