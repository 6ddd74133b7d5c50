/** Spans of requests with a real SDK in this process, and trace headers on their way through. */
import { propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

const CANARY = "canary-93b1f0c27de85a46";
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";
const PARENT = `00-${TRACE}-${SPAN}-01`;

const exporter = new InMemorySpanExporter();
/** What a processor of the user's throws. */
let fault: Error | undefined;
const faulty: SpanProcessor = {
  onStart() {
    if (fault !== undefined) throw fault;
  },
  onEnd() {
    if (fault !== undefined) throw fault;
  },
  forceFlush: () => Promise.resolve(),
  shutdown: () => Promise.resolve(),
};

beforeAll(() => {
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter), faulty] }),
  );
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
});
afterAll(() => {
  trace.disable();
  propagation.disable();
});

let upstream: TestUpstream;
let sidecar: TestSidecar;
let handler: UpstreamHandler;
let secret: string;

beforeEach(async () => {
  handler = (_request, response) => void response.end("ok");
  upstream = await startUpstream({ handler: (...parts) => handler(...parts) });
  secret = CANARY;
  sidecar = await startTestSidecar({
    environment: { KEY: secret },
    file: `
version: 1
agent: tester
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api: { match: "${upstream.origin}/api/**", secret: "env:KEY" }
  down: { match: "http://127.0.0.1:1/**", secret: "env:KEY" }
  absent: { match: "${upstream.origin}/absent/**", secret: "env:ABSENT" }
`,
  });
  exporter.reset();
});
afterEach(async () => {
  fault = undefined;
  await sidecar.close();
  await upstream.close();
});

const ask = async (target: string, headers: Readonly<Record<string, string>> = {}, method = "GET") => {
  const connection = await openConnection(sidecar.port);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  connection.send(`${method} ${target} HTTP/1.1\r\nHost: ${new URL(target).host}\r\n${lines.join("")}\r\n`);
  const { status } = await connection.receive(method);
  connection.destroy();
  return status;
};

/** When the request's own span has ended, all of its parts have. */
const spans = async (): Promise<readonly ReadableSpan[]> => {
  await expect.poll(() => exporter.getFinishedSpans().some(({ kind }) => kind === SpanKind.SERVER)).toBe(true);
  return exporter.getFinishedSpans();
};

const only = (all: readonly ReadableSpan[], kind: SpanKind): ReadableSpan => {
  const [found, ...more] = all.filter((span) => span.kind === kind);
  if (found === undefined || more.length > 0) throw new Error(`${more.length + 1} spans of kind ${kind}`);
  return found;
};

const everything = (all: readonly ReadableSpan[]): string =>
  JSON.stringify(
    all.map(({ name, attributes, events, status, links }) => ({ name, attributes, events, status, links })),
  );

describe("a request with a trace of its own", () => {
  it("passes its headers on byte for byte, and is the parent of our span", async () => {
    const tracestate = "vendor=a-B_c,rojo=00f067aa0ba902b7";
    expect(await ask(`${upstream.origin}/api/x`, { TraceParent: PARENT, tracestate })).toBe(200);
    const [received] = upstream.requests;
    expect(received?.rawHeaders).toContain("TraceParent");
    expect(received?.header("traceparent")).toEqual([PARENT]);
    expect(received?.header("tracestate")).toEqual([tracestate]);
    const server = only(await spans(), SpanKind.SERVER);
    expect([server.spanContext().traceId, server.parentSpanContext?.spanId]).toEqual([TRACE, SPAN]);
  });

  it("passes on what is no trace, too, and has a span of its own", async () => {
    const odd = "00-zzzz-evil-01";
    expect(await ask(`${upstream.origin}/api/x`, { traceparent: odd })).toBe(200);
    expect(upstream.requests[0]?.header("traceparent")).toEqual([odd]);
    const server = only(await spans(), SpanKind.SERVER);
    expect(server.parentSpanContext).toBeUndefined();
  });
});

describe("a request without a trace", () => {
  it("begins one, which the upstream is told of", async () => {
    await ask(`${upstream.origin}/api/x`);
    const server = only(await spans(), SpanKind.SERVER);
    const { traceId, spanId } = server.spanContext();
    expect(upstream.requests[0]?.header("traceparent")).toEqual([`00-${traceId}-${spanId}-01`]);
    expect(server.parentSpanContext).toBeUndefined();
  });
});

describe("the spans", () => {
  it("are the request's, with the fetch of its secret and the upstream's answer as parts", async () => {
    expect(await ask(`${upstream.origin}/api/x?key=query-canary`)).toBe(200);
    const all = await spans();
    const server = only(all, SpanKind.SERVER);
    const client = only(all, SpanKind.CLIENT);
    const fetch = only(all, SpanKind.INTERNAL);
    expect([server.name, client.name, fetch.name]).toEqual(["GET", "GET", "fetch secret"]);
    for (const part of [client, fetch]) {
      expect(part.parentSpanContext?.spanId).toBe(server.spanContext().spanId);
      expect(part.spanContext().traceId).toBe(server.spanContext().traceId);
    }
    const request = {
      "http.request.method": "GET",
      "url.scheme": "http",
      "url.path": "/api/x",
      "server.address": "127.0.0.1",
      "server.port": upstream.port,
      "network.protocol.version": "1.1",
      "http.response.status_code": 200,
    };
    expect(server.attributes).toEqual({
      ...request,
      "sidekey.request_id": expect.stringMatching(/^[0-9a-f]+-/),
      "sidekey.agent": "tester",
      "sidekey.route": "api",
    });
    expect(client.attributes).toEqual(request);
    expect(fetch.attributes).toEqual({ "sidekey.secret": "env:KEY" });
    expect(everything(all)).not.toMatch(/canary/);
    expect(server.status.code).toBe(SpanStatusCode.UNSET);
    // Asked again, the secret is at hand.
    exporter.reset();
    await ask(`${upstream.origin}/api/x`);
    expect((await spans()).map(({ kind }) => kind)).toEqual([SpanKind.CLIENT, SpanKind.SERVER]);
  });

  it("tell a refusal by its code, and have no part for an upstream that was not asked", async () => {
    expect(await ask(`${upstream.origin}/elsewhere`)).toBe(403);
    const all = await spans();
    expect(all.map(({ kind }) => kind)).toEqual([SpanKind.SERVER]);
    expect(all[0]?.attributes).toMatchObject({ "error.type": "POLICY_NO_ROUTE", "http.response.status_code": 403 });
    expect(all[0]?.status.code).toBe(SpanStatusCode.UNSET);
    exporter.reset();
    expect(await ask(`${upstream.origin}/absent/`)).toBe(503);
    const [absent] = await spans();
    expect(absent?.attributes["error.type"]).toBe("SOURCE_SECRET_MISSING");
    expect(absent?.status.code).toBe(SpanStatusCode.ERROR);
  });

  it("tell an upstream that is down, without a status that it never sent", async () => {
    expect(await ask("http://127.0.0.1:1/")).toBe(502);
    const all = await spans();
    const client = only(all, SpanKind.CLIENT);
    expect(client.attributes["error.type"]).toBe("UPSTREAM_UNREACHABLE");
    expect(client.attributes).not.toHaveProperty("http.response.status_code");
    expect([client.status.code, only(all, SpanKind.SERVER).status.code]).toEqual([
      SpanStatusCode.ERROR,
      SpanStatusCode.ERROR,
    ]);
  });

  it("hold no word of a reflected secret, and no method that is not a usual one", async () => {
    handler = (request, response) => {
      response.writeHead(404, { "x-echo": `${request.headers.authorization}` }).end(request.headers.authorization);
    };
    expect(await ask(`${upstream.origin}/api/x`, {}, "PROPFIND")).toBe(404);
    const all = await spans();
    expect(everything(all)).not.toMatch(/canary|PROPFIND/);
    const server = only(all, SpanKind.SERVER);
    expect([server.name, server.attributes["http.request.method"]]).toEqual(["HTTP", "_OTHER"]);
    expect(server.attributes["sidekey.reflected"]).toBe(2);
    expect(only(all, SpanKind.CLIENT).attributes["error.type"]).toBe("404");
  });

  it("are many at once, each with its own parts", async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => ask(`${upstream.origin}/api/${i}`)));
    await expect.poll(() => exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.SERVER).length).toBe(20);
    const all = exporter.getFinishedSpans();
    for (const server of all.filter(({ kind }) => kind === SpanKind.SERVER)) {
      const parts = all.filter(({ parentSpanContext }) => parentSpanContext?.spanId === server.spanContext().spanId);
      const client = only(parts, SpanKind.CLIENT);
      expect(client.attributes["url.path"]).toBe(server.attributes["url.path"]);
    }
  });

  it("touch no request when the SDK throws", async () => {
    fault = new Error("of the user's own processor");
    expect(await ask(`${upstream.origin}/api/x`)).toBe(200);
    fault = undefined;
    expect(await ask(`${upstream.origin}/api/x`)).toBe(200);
  });
});
