import got from "got";
import { HttpsProxyAgent } from "hpagent";

// got looks at no variable; from Node 24.5 on Node does it for got, and this is not needed.
const client = got.extend({
  prefixUrl: process.argv[2],
  headers: { authorization: `Bearer ${process.env.API_KEY}` },
  agent: { https: new HttpsProxyAgent({ proxy: process.env.HTTPS_PROXY }) },
});
process.stdout.write(await client.get("v1/models").text());
process.stdout.write(await client.post("v1/echo", { body: "x".repeat(1_000_000) }).text());
for await (const chunk of client.stream("v1/stream")) process.stdout.write(chunk);
