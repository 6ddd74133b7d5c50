import { EnvHttpProxyAgent, request, setGlobalDispatcher } from "undici";

// undici itself looks at no variable unless it is asked to.
setGlobalDispatcher(new EnvHttpProxyAgent());
const base = process.argv[2];
const headers = { authorization: `Bearer ${process.env.API_KEY}` };
process.stdout.write(await (await request(`${base}/v1/models`, { headers })).body.text());
const post = { method: "POST", headers, body: "x".repeat(1_000_000) };
process.stdout.write(await (await request(`${base}/v1/echo`, post)).body.text());
const { body } = await request(`${base}/v1/stream`, { headers });
for await (const chunk of body) process.stdout.write(chunk);
