/** B9 and B10 on the gateway: a path that names one route and leads to another, or to another host. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADMIN_CANARY, createGatewayStage, GATEWAY_CANARY, type GatewayStage, verdictOf } from "../support/gateway.ts";
import { leaksOf } from "../support/leaks.ts";

let stage: GatewayStage;

beforeAll(async () => {
  // Open to whatever no route names: nothing of it may be open through the gateway.
  stage = await createGatewayStage({ more: "unmatched: tunnel\n" });
});

afterAll(() => stage.close());

/** Sends a request line as it stands and expects that nothing reaches an upstream. */
const refused = async (line: string, host = stage.host) => {
  const before = stage.reached;
  const connection = await stage.connect();
  connection.send(`${line}\r\nHost: ${host}\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  expect(stage.reached).toBe(before);
  for (const secret of [GATEWAY_CANARY, ADMIN_CANARY]) {
    expect(leaksOf(connection.transcript, Buffer.from(secret))).toEqual([]);
  }
  return verdictOf(response);
};

describe("a path with two readings is refused", () => {
  it.each([
    "//evil.test/v1/models",
    "///evil.test/v1",
    "//api/v1/models",
    "/\\evil.test/v1",
    "/\\/evil.test",
    "/.",
    "/..",
    "/./api/v1/models",
    "/../api/v1/models",
    "/api//evil.test/v1",
    "/api///",
    "/api/\\evil.test",
    "/api/../admin/v1/admin/x",
    "/api/../host.test/x",
    "/api/./v1/models",
    "/api/.",
    "/api/..",
    "/api/%2e%2e/admin/v1/admin/x",
    "/api/%2E%2E/host.test",
    "/api/.%2e/host.test",
    "/api/%252e%252e/host.test",
    "/api/v1/..;/closed/x",
    "/api/v1/..;x=1/admin",
    "/api/;/v1/models",
    "/api%2fv1/models",
    "/api%2Fv1%2Fmodels",
    "/api%5cv1/models",
    "/api/v1%2fadmin/users",
    "/api/v1%2Fmodels",
    "/api/v1%5cmodels",
    "/api/v1%255cmodels",
    "/api/v1/%00",
    "/api/v1/%0d%0aX-A:%201",
    "/api/v1/%",
    "/api/v1/%zz",
    "/api/v1/models#frag",
    "/api#/v1/models",
    "/%2e%2e/api/v1",
    "/%2f%2fevil.test/",
    "/%5c%5cevil.test/",
    "/api/v1/%c0%ae%c0%ae/x",
  ])("%s", async (path) => {
    expect(await refused(`GET ${path} HTTP/1.1`)).toEqual([400, "INGRESS_BAD_REQUEST"]);
  });
});

describe("a name that is not exactly a route's is no route", () => {
  it.each([
    "/API/v1/models",
    "/Api/v1/models",
    "/%61pi/v1/models",
    "/ap%69/v1/models",
    "/api;x=1/v1/models",
    "/api;/v1/models",
    "/api:443/v1/models",
    "/api./v1/models",
    "/api%20/v1/models",
    "/api,admin/v1/models",
    "/api@evil.test/v1/models",
    "/api.test/v1/models",
    "/host.test:443/x",
    "/host.test%3a443/x",
    "/HOST.TEST/x",
    "/host.test./x",
    "/https:/host.test/x",
    "/evil.test/x",
    "/127.0.0.1/x",
    "/__proto__/x",
    "/constructor/x",
    "/toString",
    "/v1/models",
    "/?api/v1/models",
    "/healthz",
    "/readyz",
    "/metrics",
    "/status",
    "/reload",
  ])("%s", async (path) => {
    expect(await refused(`GET ${path} HTTP/1.1`)).toEqual([403, "POLICY_NO_ROUTE"]);
  });
});

describe("anything but a path is refused", () => {
  it.each([
    "GET http://api.test/v1/models HTTP/1.1",
    "GET https://api.test/v1/models HTTP/1.1",
    "GET HTTP://host.test/ HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT api.test:443 HTTP/1.1",
    "CONNECT 127.0.0.1:22 HTTP/1.1",
  ])("%s", async (line) => {
    expect(await refused(line)).toEqual([400, "INGRESS_BAD_REQUEST"]);
  });

  it("also when it names the gateway itself", async () => {
    expect(await refused(`GET http://${stage.host}/api/v1/models HTTP/1.1`)).toEqual([400, "INGRESS_BAD_REQUEST"]);
  });
});

describe("headers that name another path or host", () => {
  it("do not reach the upstream", async () => {
    const names = ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Host", "X-HTTP-Method-Override", "Forwarded"];
    const response = await stage.get("/api/v1/models", names.map((name) => `${name}: /v1/admin\r\n`).join(""));
    expect(response.status).toBe(200);
    for (const name of names) expect(stage.upstream.requests.at(-1)?.header(name)).toEqual([]);
  });
});
