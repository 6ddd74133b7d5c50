/** The built program with an SDK of the user's, loaded by NODE_OPTIONS, and without one. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Api, createApi } from "../support/api.ts";
import { startSidekey } from "../support/program.ts";
import { openTlsTunnel } from "../support/raw-client.ts";

/** Keeps its spans until it is told to send them, as a batching processor does. */
const SDK = `
import { writeFileSync } from "node:fs";
import { trace } from "${import.meta.resolve("@opentelemetry/api")}";
import { BasicTracerProvider, BatchSpanProcessor } from "${import.meta.resolve("@opentelemetry/sdk-trace-base")}";
const exporter = {
  export(spans, done) {
    writeFileSync("spans.json", JSON.stringify(spans.map(({ name, attributes }) => ({ name, attributes }))));
    done({ code: 0 });
  },
  shutdown: () => Promise.resolve(),
};
trace.setGlobalTracerProvider(new BasicTracerProvider({
  spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: 600_000 })],
}));
`;

let api: Api;
beforeEach(async () => {
  api = await createApi((_, response) => void response.end("through"));
});
afterEach(() => api.close());

const askThrough = async (environment: Readonly<Record<string, string>>, traceparent?: string): Promise<void> => {
  const running = await startSidekey([], { cwd: api.work.path, environment });
  const ca = readFileSync(api.work.at(".sidekey/ca.pem"), "utf8");
  const port = Number(String(running.ready["proxy"]).split(":").at(-1));
  const connection = await openTlsTunnel(port, "api.example.test:443", ca);
  const header = traceparent === undefined ? "" : `traceparent: ${traceparent}\r\n`;
  connection.send(`GET /v1/models?q=1 HTTP/1.1\r\nHost: api.example.test\r\n${header}\r\n`);
  expect((await connection.receive()).status).toBe(200);
  connection.destroy();
  expect((await running.stop()).code).toBe(0);
};

describe("sidekey start", () => {
  it("sends its spans before it ends, where an SDK is registered", async () => {
    api.work.write("otel.mjs", SDK);
    await askThrough({ NODE_OPTIONS: `--import "${api.work.at("otel.mjs")}"` });
    const spans = JSON.parse(readFileSync(api.work.at("spans.json"), "utf8"));
    expect(spans.at(-1)).toMatchObject({
      name: "GET",
      attributes: { "server.address": "api.example.test", "url.path": "/v1/models", "http.response.status_code": 200 },
    });
  });

  it("passes on what the agent sent, and adds nothing, where there is none", async () => {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    await askThrough({}, traceparent);
    await askThrough({});
    const received = api.upstream.requests.map((request) => request.header("traceparent"));
    expect(received).toEqual([[traceparent], []]);
  });
});
