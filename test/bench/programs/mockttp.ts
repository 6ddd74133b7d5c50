/** mockttp with a CA of its own and one rule: every request goes to the upstream with one header set. */
import { writeFileSync } from "node:fs";
import { requirePeer } from "../peers.ts";

interface MockttpPlan {
  readonly upstreamPort: number;
  readonly ca: string;
  readonly secret: string;
  /** Where to write the certificate that clients are to trust. */
  readonly ownCa: string;
}

interface Mockttp {
  generateCACertificate(): Promise<{ readonly key: string; readonly cert: string }>;
  getLocal(options: object): {
    readonly port: number;
    start(): Promise<void>;
    forAnyRequest(): { thenPassThrough(options: object): Promise<unknown> };
  };
}

const plan = JSON.parse(process.argv[2] ?? "") as MockttpPlan;
const { generateCACertificate, getLocal } = requirePeer("mockttp") as Mockttp;
const https = await generateCACertificate();
writeFileSync(plan.ownCa, https.cert);
const server = getLocal({ https, http2: false, recordTraffic: false });
await server.start();
await server.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ certPath: plan.ca }],
  transformRequest: {
    updateHeaders: { authorization: `Bearer ${plan.secret}` },
    replaceHost: { targetHost: `127.0.0.1:${plan.upstreamPort}`, updateHostHeader: false },
  },
});
console.log(server.port);
