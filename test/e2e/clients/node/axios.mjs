import axios from "axios";

const client = axios.create({
  baseURL: process.argv[2],
  headers: { authorization: `Bearer ${process.env.API_KEY}` },
  responseType: "text",
  transformResponse: (text) => text,
});
process.stdout.write((await client.get("/v1/models")).data);
process.stdout.write((await client.post("/v1/echo", "x".repeat(1_000_000))).data);
const { data } = await client.get("/v1/stream", { responseType: "stream" });
for await (const chunk of data) process.stdout.write(chunk);
