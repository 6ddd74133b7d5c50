/** Ruling 20: a web page on this machine's browser can reach the gateway's port, and must get nothing from it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createGatewayStage, type GatewayStage, verdictOf } from "../support/gateway.ts";
import { openConnection } from "../support/raw-client.ts";

let stage: GatewayStage;
let named: GatewayStage;

beforeAll(async () => {
  stage = await createGatewayStage({});
  named = await createGatewayStage({ listen: "names: [Sidekey.Internal, 10.0.0.5]" });
});

afterAll(async () => {
  await stage.close();
  await named.close();
});

const TARGET = "/api/v1/models";

/** The header lines as they stand, and nothing else. */
const verdict = async (lines: string, on = stage, method = "GET") => {
  const before = on.reached;
  const response = await on.ask(`${method} ${TARGET} HTTP/1.1\r\n${lines}\r\n`, method);
  const [status, code] = verdictOf(response);
  expect([...response.headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
  expect(on.reached - before).toBe(status === 200 ? 1 : 0);
  return [status, code];
};

describe("a page's request is refused", () => {
  it.each([
    "Origin: https://evil.test",
    "Origin: null",
    "Origin: http://127.0.0.1",
    "Origin:",
    "oRIGIN: https://evil.test",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Sec-Fetch-Site: None",
    "Sec-Fetch-Site:",
    "Sec-Fetch-Site: none, cross-site",
    "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
    "SEC-FETCH-SITE: cross-site",
  ])("%j", async (line) => {
    expect(await verdict(`Host: ${stage.host}\r\n${line}\r\n`)).toEqual([403, "INGRESS_BROWSER"]);
  });

  it("with the gateway's own origin too, in every method and as preflight", async () => {
    const lines = `Host: ${stage.host}\r\nOrigin: http://${stage.host}\r\nContent-Length: 0\r\n`;
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]) {
      expect(await verdict(lines, stage, method)).toEqual([403, "INGRESS_BROWSER"]);
    }
    const asked = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
    expect(await verdict(lines + asked, stage, "OPTIONS")).toEqual([403, "INGRESS_BROWSER"]);
  });
});

describe("what no page sends passes", () => {
  it.each(["", "Sec-Fetch-Site: none\r\n", "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Mode: cors\r\n"])(
    "%j",
    async (line) => {
      expect(await verdict(`Host: ${stage.host}\r\n${line}`)).toEqual([200, undefined]);
    },
  );
});

describe("a Host that is not the listener's is refused: a rebound name, another port, another address", () => {
  it.each([
    ["evil.test", 421],
    ["evil.test:PORT", 421],
    ["127.0.0.1.evil.test:PORT", 421],
    ["localhost.evil.test:PORT", 421],
    ["api.test", 421],
    ["api.test:443", 421],
    ["127.0.0.1", 421],
    ["127.0.0.1:80", 421],
    ["127.0.0.2:PORT", 421],
    ["localhost", 421],
    ["localhost:80", 421],
    ["[::1]:PORT", 421],
    ["[::ffff:127.0.0.1]:PORT", 421],
    ["0.0.0.0:PORT", 421],
    ["sidekey.internal:PORT", 421],
    ["localhost.:PORT", 400],
    ["127.1:PORT", 400],
    ["2130706433:PORT", 400],
    ["0x7f000001:PORT", 400],
    ["0177.0.0.1:PORT", 400],
    ["127.0.0.1:0PORT", 400],
    ["127.0.0.1:+PORT", 400],
    ["127.0.0.1:", 400],
    ["127.0.0.1:PORT:80", 400],
    ["127.0.0.1:PORT/", 400],
    ["127.0.0.1:PORT, evil.test", 400],
    ["user@127.0.0.1:PORT", 400],
    ["127.0.0.1:PORT@evil.test", 400],
    ["http://127.0.0.1:PORT", 400],
    ["evil.test#127.0.0.1:PORT", 400],
    ["127.0.0.1%2eevil.test:PORT", 400],
    ["", 400],
  ])("Host: %s", async (host, status) => {
    const code = status === 421 ? "INGRESS_AUTHORITY_MISMATCH" : "INGRESS_BAD_REQUEST";
    const text = host.replace("PORT", String(stage.sidecar.gatewayPort));
    expect(await verdict(`Host: ${text}\r\n`)).toEqual([status, code]);
  });

  it("so are two of them, none, and none in HTTP/1.0", async () => {
    const own = `Host: ${stage.host}\r\n`;
    expect(await verdict(own + own)).toEqual([400, "INGRESS_BAD_REQUEST"]);
    expect(await verdict(`${own}Host: evil.test\r\n`)).toEqual([400, "INGRESS_BAD_REQUEST"]);
    expect(await verdict("")).toEqual([400, "INGRESS_BAD_REQUEST"]);
    const before = stage.reached;
    expect(verdictOf(await stage.ask(`GET ${TARGET} HTTP/1.0\r\n\r\n`))).toEqual([400, "INGRESS_BAD_REQUEST"]);
    expect(stage.reached).toBe(before);
  });
});

describe("the listener's own Host passes", () => {
  it("as address, as localhost in any case", async () => {
    const port = stage.sidecar.gatewayPort;
    for (const host of [stage.host, `localhost:${port}`, `LocalHost:${port}`]) {
      expect(await verdict(`Host: ${host}\r\n`)).toEqual([200, undefined]);
    }
  });

  it("as one of listen.names on any port, and in no other spelling", async () => {
    for (const host of ["sidekey.internal", "SIDEKEY.internal:443", "10.0.0.5:7071", named.host]) {
      expect(await verdict(`Host: ${host}\r\n`, named)).toEqual([200, undefined]);
    }
    for (const host of ["x.sidekey.internal", "sidekey.internal.evil.test", "idekey.internal", "10.0.0.50"]) {
      expect(await verdict(`Host: ${host}\r\n`, named)).toEqual([421, "INGRESS_AUTHORITY_MISMATCH"]);
    }
  });

  it("as the address that the connection came to, where the listener is bound to all of them", async () => {
    const wide = await createGatewayStage({ gateway: "0.0.0.0:0", listen: "clients: [127.0.0.0/8]" });
    const port = wide.sidecar.gatewayPort;
    const verdicts = [];
    for (const host of [`127.0.0.3:${port}`, `127.0.0.1:${port}`, `0.0.0.0:${port}`, `localhost:${port}`]) {
      const connection = await openConnection(port, "127.0.0.3");
      connection.send(`GET ${TARGET} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      verdicts.push((await connection.receive()).status);
      connection.destroy();
    }
    await wide.close();
    expect(verdicts).toEqual([200, 421, 421, 200]);
  });
});
