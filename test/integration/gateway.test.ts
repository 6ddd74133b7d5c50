/** The gateway as a client with a base URL sees it. What attacks it is in test/security/gateway-*.test.ts. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADMIN_CANARY, createGatewayStage, GATEWAY_CANARY, type GatewayStage, verdictOf } from "../support/gateway.ts";

let stage: GatewayStage;

beforeAll(async () => {
  stage = await createGatewayStage({
    handler: async (request, response, received) => {
      for await (const _ of request);
      if (received.path === "/v1/hang") return;
      response.writeHead(200, {
        "content-type": "text/plain",
        "Access-Control-Allow-Origin": "*",
        "access-control-expose-headers": "x-a",
        "x-a": "kept",
      });
      response.end(`${received.method} ${received.path} ${received.header("authorization")[0]}`);
    },
  });
});

afterAll(() => stage.close());

const last = () => stage.upstream.requests.at(-1);

describe("a base URL", () => {
  it("leads to the upstream of its route, with the key and without the agent's own", async () => {
    const response = await stage.get("/api/v1/models?limit=1&q=%2Fx", "authorization: Bearer mine\r\nX-Keep: yes\r\n");
    expect([response.status, String(response.body)]).toEqual([
      200,
      "GET /v1/models?limit=1&q=%2Fx Bearer [redacted]*************",
    ]);
    expect(last()?.path).toBe("/v1/models?limit=1&q=%2Fx");
    expect(last()?.header("authorization")).toEqual([`Bearer ${GATEWAY_CANARY}`]);
    expect(last()?.header("host")).toEqual(["api.test"]);
    expect(last()?.header("x-keep")).toEqual(["yes"]);
    expect(last()?.servername).toBe("api.test");
  });

  it("is on record as what it leads to", async () => {
    await stage.get("/api/v1/recorded?q=1");
    const records = async () => (await stage.sidecar.audit()).filter(({ path }) => path === "/v1/recorded");
    await expect
      .poll(records)
      .toMatchObject([
        { type: "intent", route: "api", scheme: "https", authority: "api.test:443", decision: "inject", method: "GET" },
      ]);
  });

  it("takes bodies, sized and chunked, and keeps the connection for the next request", async () => {
    const connection = await stage.connect();
    const head = `POST /api/v1/body HTTP/1.1\r\nHost: ${stage.host}\r\n`;
    connection.send(`${head}Content-Length: 5\r\n\r\nhello`);
    expect((await connection.receive()).status).toBe(200);
    expect(String(last()?.body)).toBe("hello");
    connection.send(`${head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n`);
    expect((await connection.receive()).status).toBe(100);
    connection.send("3\r\nabc\r\n0\r\n\r\n");
    expect((await connection.receive()).status).toBe(200);
    expect(String(last()?.body)).toBe("abc");
    connection.destroy();
  });

  it.each([
    ["/host.test", "/"],
    ["/host.test/", "/"],
    ["/host.test?x=1", "/?x=1"],
    ["/host.test/?x=/a/../b", "/?x=/a/../b"],
    ["/host.test/host.test/a", "/host.test/a"],
    ["/host.test/a%2db/%7Ec", "/a-b/~c"],
    ["/named/named/x", "/named/x"],
  ])("turns %s into %s", async (path, target) => {
    expect((await stage.get(path)).status).toBe(200);
    expect(last()?.path).toBe(target);
  });

  it("may lead to plain HTTP on this machine where its route says so", async () => {
    expect((await stage.get("/plain/x")).status).toBe(200);
    expect(stage.plain.requests.at(-1)?.header("authorization")).toEqual([`Bearer ${GATEWAY_CANARY}`]);
    expect(stage.plain.requests.at(-1)?.header("host")).toEqual([`127.0.0.1:${stage.plain.port}`]);
  });

  it("of a route inside another's host carries its own key", async () => {
    await stage.get("/admin/v1/admin/users");
    expect(last()?.header("authorization")).toEqual([`Bearer ${ADMIN_CANARY}`]);
  });

  it("hands out no leave for web pages, whatever the upstream says", async () => {
    const { headers } = await stage.get("/api/v1/cors");
    expect([...headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
    expect(headers.get("x-a")).toEqual(["kept"]);
  });

  it("ends the upstream's exchange when the agent leaves", async () => {
    const connection = await stage.connect();
    connection.send(`GET /api/v1/hang HTTP/1.1\r\nHost: ${stage.host}\r\n\r\n`);
    await expect.poll(() => last()?.path).toBe("/v1/hang");
    const open = stage.upstream.open;
    connection.destroy();
    await expect.poll(() => stage.upstream.open).toBeLessThan(open);
  });
});

describe("policy on the gateway", () => {
  it.each([
    ["what deny covers", "DELETE", "/api/v1/models", 403, "POLICY_DENIED"],
    ["a denied path", "GET", "/api/v1/closed/x", 403, "POLICY_DENIED"],
    ["a denied path spelled with escapes", "GET", "/api/v1/%63losed/x", 403, "POLICY_DENIED"],
    ["what the table gives to another route", "GET", "/api/v1/admin/users", 403, "POLICY_DENIED"],
    ["what no pattern of the route covers", "GET", "/admin/v1/models", 403, "POLICY_DENIED"],
    ["what no pattern of the host covers", "GET", "/api/v2/models", 403, "POLICY_NO_ROUTE"],
    ["the origin alone where only a path is routed", "GET", "/api", 403, "POLICY_NO_ROUTE"],
    ["a match of the route on another host than its origin", "GET", "/api/only-get", 403, "POLICY_NO_ROUTE"],
    ["an unknown route", "GET", "/nothing/v1", 403, "POLICY_NO_ROUTE"],
    ["no route at all", "GET", "/", 403, "POLICY_NO_ROUTE"],
    ["a route that has no origin", "GET", "/wild/x", 403, "POLICY_NO_ROUTE"],
    ["a wildcard's path that its route does not cover", "GET", "/named/x", 403, "POLICY_NO_ROUTE"],
    ["TRACE", "TRACE", "/api/v1/models", 405, "INGRESS_METHOD_REFUSED"],
  ])("refuses %s", async (_what, method, path, status, code) => {
    const before = stage.reached;
    const response = await stage.ask(`${method} ${path} HTTP/1.1\r\nHost: ${stage.host}\r\n\r\n`, method);
    expect(verdictOf(response)).toEqual([status, code]);
    expect(stage.reached).toBe(before);
  });

  it("puts each refusal on record once", async () => {
    const refusals = async () => (await stage.sidecar.audit()).filter(({ type }) => type === "refusal").length;
    const before = await refusals();
    await stage.get("/nothing/v1");
    await stage.get("/api/v2/x");
    await stage.get("//nothing");
    await expect.poll(refusals).toBe(before + 3);
  });
});
