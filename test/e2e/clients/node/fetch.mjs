const base = process.argv[2];
const headers = { authorization: `Bearer ${process.env.API_KEY}` };
process.stdout.write(await (await fetch(`${base}/v1/models`, { headers })).text());
const post = { method: "POST", headers, body: "x".repeat(1_000_000) };
process.stdout.write(await (await fetch(`${base}/v1/echo`, post)).text());
const { body } = await fetch(`${base}/v1/stream`, { headers });
for await (const chunk of body.pipeThrough(new TextDecoderStream())) process.stdout.write(chunk);
