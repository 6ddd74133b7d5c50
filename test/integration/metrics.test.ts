/** `/metrics`: what it counts, that no traffic adds to its labels, and that docs/metrics.md lists all of it. */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { ERROR_TABLE } from "../../src/core/errors.ts";
import { METRICS } from "../../src/sidecar/admin/metric-table.ts";
import { OUTCOMES, STATUS_CLASSES } from "../../src/sidecar/admin/tally.ts";
import { type Exposition, parseExposition } from "../support/exposition.ts";
import { openConnection, openTunnel, openUnixConnection, type RawConnection } from "../support/raw-client.ts";
import { renderMetricsReference } from "../support/references/metrics-reference.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

const CANARY = "canary-7e20aa91c4d85b3f";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const fileOf = (upstream: TestUpstream): string => `
version: 1
listen: { proxy: "127.0.0.1:0", health: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api: { match: "GET,POST ${upstream.origin}/api/**", secret: "env:KEY" }
  absent: { match: "${upstream.origin}/absent/**", secret: "env:ABSENT" }
`;

const start = async (handler?: UpstreamHandler, options: Partial<TestSidecarOptions> = {}) => {
  const upstream = await startUpstream(handler === undefined ? {} : { handler });
  closers.push(() => upstream.close());
  const file = `${fileOf(upstream)}${options.file ?? ""}`;
  const running = await startTestSidecar({ environment: { KEY: CANARY }, ...options, file });
  closers.push(() => running.close());
  writeFileSync(join(running.directory, "sidekey.yaml"), file);
  return { upstream, running };
};

const get = async (connection: RawConnection, path: string) => {
  connection.send(`GET ${path} HTTP/1.1\r\nHost: sidekey\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return response;
};

const openAdmin = ({ sidecar }: TestSidecar) => openUnixConnection(sidecar.ready.admin?.replace("unix:", "") ?? "");

const scrape = async (running: TestSidecar): Promise<Exposition> =>
  parseExposition((await get(await openAdmin(running), "/metrics")).body.toString());

/** Through the proxy, on a connection of its own; the answer's status. */
const ask = async ({ port }: TestSidecar, upstream: TestUpstream, line: string, more = "", body = "") => {
  const connection = await openConnection(port);
  const [method = "", path = ""] = line.split(" ");
  connection.send(`${method} ${upstream.origin}${path} HTTP/1.1\r\nHost: ${upstream.address}\r\n${more}\r\n${body}`);
  const { status } = await connection.receive(method);
  connection.destroy();
  return status;
};

describe("a scrape", () => {
  it("counts requests by route and end, bytes, refusals, fetches and cached secrets", async () => {
    const { running, upstream } = await start();
    expect(await ask(running, upstream, "POST /api/x", "Content-Length: 5\r\n", "12345")).toBe(200);
    expect(await ask(running, upstream, "GET /api/y")).toBe(200);
    expect(await ask(running, upstream, "GET /absent/")).toBe(503);
    expect(await ask(running, upstream, "GET /elsewhere")).toBe(403);
    expect(await ask(running, upstream, "DELETE /api/x")).toBe(403);
    // The outcome is recorded after the last byte.
    await expect.poll(async () => (await scrape(running)).value("sidekey_requests_total", { route: "api" })).toBe(2);
    const metrics = await scrape(running);
    expect(metrics.value("sidekey_requests_total", { route: "api", status: "2xx", outcome: "ok" })).toBe(2);
    expect(metrics.value("sidekey_requests_total", { route: "absent", status: "5xx", outcome: "refused" })).toBe(1);
    expect(metrics.value("sidekey_refusals_total", { route: "absent", code: "SOURCE_SECRET_MISSING" })).toBe(1);
    expect(metrics.value("sidekey_refusals_total", { route: "", code: "POLICY_NO_ROUTE" })).toBe(2);
    expect(metrics.value("sidekey_body_bytes_total", { route: "api", direction: "up" })).toBe(5);
    expect(metrics.value("sidekey_body_bytes_total", { route: "api", direction: "down" })).toBe(
      2 * '{"ok":true}'.length,
    );
    expect(metrics.value("sidekey_request_duration_seconds_count", { route: "api" })).toBe(2);
    expect(metrics.value("sidekey_upstream_duration_seconds_count", { route: "api" })).toBe(2);
    const waited = metrics.value("sidekey_source_wait_seconds_count", { route: "api" });
    expect(waited + metrics.value("sidekey_secret_cache_hits_total", { route: "api" })).toBe(2);
    expect(metrics.value("sidekey_source_fetches_total", { kind: "env", result: "ok" })).toBe(1);
    expect(metrics.value("sidekey_source_fetches_total", { kind: "env", result: "SOURCE_SECRET_MISSING" })).toBe(1);
    expect(metrics.value("sidekey_source_fetch_duration_seconds_count", { kind: "env" })).toBe(2);
    expect(metrics.value("sidekey_secret_state", { route: "api" })).toBe(1);
    expect(metrics.find("sidekey_secret_state").map(({ labels }) => labels["state"])).toEqual([
      "ok",
      "SOURCE_SECRET_MISSING",
    ]);
    expect(metrics.value("sidekey_secret_age_seconds")).toBeGreaterThanOrEqual(0);
    expect(metrics.value("sidekey_ca_expiry_timestamp_seconds")).toBeGreaterThan(Date.now() / 1000 + 300 * 86_400);
    expect(metrics.value("sidekey_config_generation")).toBe(1);
    expect(metrics.value("sidekey_audit_writable")).toBe(1);
  });

  it("has buckets that rise to the count", async () => {
    const { running, upstream } = await start();
    for (let i = 0; i < 5; i++) await ask(running, upstream, "GET /api/");
    const name = "sidekey_request_duration_seconds";
    await expect.poll(async () => (await scrape(running)).value(`${name}_count`, { route: "api" })).toBe(5);
    const metrics = await scrape(running);
    const buckets = metrics.find(`${name}_bucket`, { route: "api" });
    const counts = buckets.map(({ value }) => value);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect([buckets.at(-1)?.labels["le"], counts.at(-1)]).toEqual(["+Inf", 5]);
    expect(metrics.value(`${name}_sum`, { route: "api" })).toBeGreaterThan(0);
  });

  it("tells reflections, and never what was reflected", async () => {
    const { running, upstream } = await start((request, response) => {
      response.end(`you sent ${request.headers.authorization}`);
    });
    await ask(running, upstream, "GET /api/");
    await expect.poll(async () => (await scrape(running)).value("sidekey_reflections_total", { route: "api" })).toBe(1);
    const text = (await get(await openAdmin(running), "/metrics")).body.toString();
    expect(text).not.toContain(CANARY);
    expect(text).not.toContain("env:KEY");
  });

  it("shows what is open", async () => {
    let answer = (): void => undefined;
    const { running, upstream } = await start((_request, response) => {
      answer = () => void response.end("late");
    });
    const connection = await openConnection(running.port);
    connection.send(`GET ${upstream.origin}/api/ HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`);
    await expect.poll(() => upstream.requests.length).toBe(1);
    const busy = await scrape(running);
    expect([busy.value("sidekey_connections"), busy.value("sidekey_streams")]).toEqual([1, 1]);
    answer();
    await connection.receive();
    connection.destroy();
    const gauges = async () => {
      const metrics = await scrape(running);
      return ["sidekey_connections", "sidekey_streams", "sidekey_tunnels"].map((name) => metrics.value(name));
    };
    await expect.poll(gauges).toEqual([0, 0, 0]);
  });

  it("counts records that could not be stored", async () => {
    const { running, upstream } = await start(undefined, { file: "audit: { path: /dev/full, sync: never }\n" });
    expect(await ask(running, upstream, "GET /api/")).toBe(503);
    const metrics = await scrape(running);
    expect(metrics.value("sidekey_audit_failures_total")).toBeGreaterThan(0);
    expect(metrics.value("sidekey_audit_writable")).toBe(0);
    expect(metrics.value("sidekey_refusals_total", { code: "AUDIT_UNAVAILABLE" })).toBe(1);
  });

  it("is the same on the port for probes, and answers whoever asks at once", async () => {
    const { running } = await start();
    const port = Number(running.sidecar.ready.health?.split(":").at(-1));
    const responses = await Promise.all(
      Array.from({ length: 5 }, async () => get(await openConnection(port), "/metrics")),
    );
    for (const { status, headers, body } of responses) {
      expect([status, headers.get("content-type")]).toEqual([200, ["text/plain; version=0.0.4; charset=utf-8"]]);
      expect(parseExposition(body.toString()).value("sidekey_build_info")).toBe(1);
    }
  });

  it("says that a file was refused, until one is taken", async () => {
    const { running, upstream } = await start();
    const file = join(running.directory, "sidekey.yaml");
    const accepted = async () => (await scrape(running)).value("sidekey_config_reload_successful");
    expect(await accepted()).toBe(1);
    writeFileSync(file, "version: 1\nroute: {}\n");
    expect(await running.sidecar.reload("admin")).toHaveProperty("problems");
    expect(await accepted()).toBe(0);
    writeFileSync(file, fileOf(upstream));
    expect(await running.sidecar.reload("admin")).toEqual({ generation: 2 });
    expect(await accepted()).toBe(1);
  });

  it("forgets a route that the file no longer has", async () => {
    const { running, upstream } = await start();
    await ask(running, upstream, "GET /api/");
    await expect.poll(async () => (await scrape(running)).find("sidekey_requests_total").length).toBe(1);
    writeFileSync(join(running.directory, "sidekey.yaml"), fileOf(upstream).replace("  api:", "  other:"));
    expect(await running.sidecar.reload("admin")).toEqual({ generation: 2 });
    const metrics = await scrape(running);
    expect(metrics.find("sidekey_requests_total")).toEqual([]);
    expect(metrics.find("sidekey_secret_state").map(({ labels }) => labels["route"])).toEqual(["other", "absent"]);
    expect(metrics.value("sidekey_config_generation")).toBe(2);
  });
});

describe("labels", () => {
  it("come from the file and from our own tables, whatever is sent", async () => {
    const { running, upstream } = await start((request, response) => {
      response.writeHead(Number(/status=(\d+)/.exec(request.url ?? "")?.[1] ?? 200)).end();
    });
    const word = (): string => `evil${randomBytes(6).toString("hex")}`;
    const hostile = [
      () => ask(running, upstream, `${word().toUpperCase()} /api/`),
      () => ask(running, upstream, `GET /${word()}`),
      () => ask(running, upstream, `GET /api/${word()}?status=${200 + Math.floor(Math.random() * 350)}`),
      () => ask(running, upstream, "GET /api/", `X-Request-Id: ${word()}\r\nUser-Agent: ${word()}"\\\r\n`),
      async () =>
        (
          await openTunnel(running.port, `${word()}.test:${1 + Math.floor(Math.random() * 60_000)}`)
        ).connection.destroy(),
      async () => {
        const connection = await openConnection(running.port);
        connection.send(`${word()}\r\n\r\n`);
        await connection.closed();
      },
      async () => {
        const connection = await openConnection(running.port);
        connection.send(`GET http://${word()}.test/${word()} HTTP/1.1\r\nHost: ${word()}.test\r\n\r\n`);
        await connection.receive();
        connection.destroy();
      },
    ];
    for (let round = 0; round < 15; round++) await Promise.all(hostile.map((send) => send()));
    const metrics = await scrape(running);
    const allowed: Readonly<Record<string, ReadonlySet<string>>> = {
      route: new Set(["api", "absent", ""]),
      status: new Set(STATUS_CLASSES),
      outcome: new Set(OUTCOMES),
      code: new Set(Object.keys(ERROR_TABLE)),
      state: new Set(["ok", "unused", ...Object.keys(ERROR_TABLE)]),
      kind: new Set(["env"]),
      result: new Set(["ok", ...Object.keys(ERROR_TABLE)]),
      direction: new Set(["up", "down"]),
      reason: new Set(["clients", "limit"]),
    };
    const own = [...metrics.families.values()].filter(({ name }) => name.startsWith("sidekey_"));
    const strange = own.flatMap(({ name, samples }) =>
      samples.flatMap(({ labels }) =>
        Object.entries(labels).flatMap(([label, value]) =>
          allowed[label]?.has(value) === false ? [`${name}{${label}=${value}}`] : [],
        ),
      ),
    );
    expect(strange).toEqual([]);
    expect(metrics.value("sidekey_requests_total", { route: "api", status: "2xx" })).toBeGreaterThan(0);
    const text = (await get(await openAdmin(running), "/metrics")).body.toString();
    expect(text).not.toMatch(/evil|127\.0\.0\.1|canary/i);
    const labelNames = new Set(own.flatMap(({ samples }) => samples.flatMap(({ labels }) => Object.keys(labels))));
    expect([...labelNames].filter((name) => !["le", "version"].includes(name) && allowed[name] === undefined)).toEqual(
      [],
    );
  });
});

describe("the reference", () => {
  it("is docs/metrics.md, and lists every metric of a scrape with its labels", async () => {
    const { running, upstream } = await start();
    await ask(running, upstream, "GET /api/");
    await expect.poll(async () => (await scrape(running)).find("sidekey_requests_total").length).toBe(1);
    const metrics = await scrape(running);
    const specs = new Map(METRICS.map((spec) => [spec.name, spec]));
    for (const { name, type, help, samples } of metrics.families.values()) {
      if (!name.startsWith("sidekey_")) continue;
      expect([name, type, help]).toEqual([name, specs.get(name)?.type, specs.get(name)?.help]);
      for (const { labels } of samples) {
        expect(Object.keys(labels).filter((label) => label !== "le")).toEqual(specs.get(name)?.labels);
      }
    }
    expect([...specs.keys()].filter((name) => !metrics.families.has(name))).toEqual([]);
    expect(metrics.find("nodejs_eventloop_lag_p99_seconds").length).toBe(1);
    expect(metrics.find("process_resident_memory_bytes").length).toBe(1);
    await expect(renderMetricsReference(metrics)).toMatchFileSnapshot("../../docs/metrics.md");
  });
});
