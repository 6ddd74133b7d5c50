/** Where connections may lead: decided on the address, at connect time, whatever the name said. */
import type { LookupAddress } from "node:dns";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection, openTlsTunnel, openTunnel } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const NAMES: Readonly<Record<string, readonly string[]>> = {
  "open.test": ["127.0.0.2"],
  "mixed.test": ["10.0.0.1", "169.254.169.254", "127.0.0.2"],
  "private.test": ["10.0.0.1"],
  "metadata.test": ["169.254.169.254"],
  "mapped.test": ["::ffff:10.0.0.1"],
  "tunnel-self.test": ["127.0.0.1"],
  "tunnel.test": ["127.0.0.2"],
  "tunnel-private.test": ["192.168.1.1"],
};

let upstream: TestUpstream;
let sidecar: TestSidecar;
const asked: string[] = [];

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startUpstream({
    tls: await authority.issue({ names: Object.keys(NAMES) }),
    host: "127.0.0.2",
  });
  const routes = Object.keys(NAMES)
    .filter((name) => !name.startsWith("tunnel"))
    .map((name) => `  "${name}:${upstream.port}": KEY`);
  sidecar = await startTestSidecar({
    environment: { KEY: "canary-7be24c553f9a61d0" },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
unmatched: tunnel
egress: { allow: [127.0.0.2/32, 169.254.0.0/16] }
upstream: { ca: ./ca.pem }
routes:
${routes.join("\n")}
`,
    start: {
      resolve: (name, _options, done) => {
        asked.push(name);
        const addresses = NAMES[name]?.map(
          (address): LookupAddress => ({ address, family: address.includes(":") ? 6 : 4 }),
        );
        if (addresses === undefined) done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
        else done(null, addresses);
      },
    },
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
});

const ask = async (name: string) => {
  const host = `${name}:${upstream.port}`;
  const connection = await openTlsTunnel(sidecar.port, host, sidecar.ca);
  connection.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return [response.status, response.headers.get("x-sidekey-error")?.[0]];
};

describe("a routed name", () => {
  it("reaches an address that egress.allow opens", async () => {
    expect(await ask("open.test")).toEqual([200, undefined]);
  });

  it("uses only the open ones among its addresses", async () => {
    expect(await ask("mixed.test")).toEqual([200, undefined]);
  });

  it.each(["private.test", "metadata.test", "mapped.test"])("%s is refused and nothing is dialled", async (name) => {
    const before = upstream.connections;
    expect(await ask(name)).toEqual([403, "POLICY_ADDRESS"]);
    expect(upstream.connections).toBe(before);
  });

  it("asks the resolver once for each new connection and keeps the connection for the next request", async () => {
    const before = asked.length;
    await ask("open.test");
    await ask("open.test");
    expect(asked.slice(before)).toEqual([]);
  });
});

describe("a host that no route names", () => {
  it("passes unread and uncredentialed, with intent and outcome on record", async () => {
    const { response, connection } = await openTunnel(sidecar.port, `tunnel.test:${upstream.port}`);
    expect(response.status).toBe(200);
    connection.send("not TLS");
    await connection.closed();
    await expect
      .poll(async () => (await sidecar.audit()).filter(({ authority }) => String(authority).startsWith("tunnel.test")))
      .toMatchObject([
        { type: "intent", method: "CONNECT", decision: "tunnel" },
        { type: "outcome", status: 200, bytes_up: 7 },
      ]);
  });

  it("is refused on the CONNECT when its address is closed", async () => {
    const { response } = await openTunnel(sidecar.port, `tunnel-private.test:${upstream.port}`);
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([403, ["POLICY_ADDRESS"]]);
  });

  it.each(["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:169.254.169.254]"])(
    "is refused as the literal %s",
    async (literal) => {
      const { response } = await openTunnel(sidecar.port, `${literal}:${upstream.port}`);
      expect(response.status).toBe(403);
    },
  );

  it("is not one that a route names on another port, which is denied", async () => {
    const { response } = await openTunnel(sidecar.port, `open.test:${sidecar.port}`);
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([403, ["POLICY_NO_ROUTE"]]);
    const connection = await openConnection(sidecar.port);
    connection.send("GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n");
    expect((await connection.receive()).headers.get("x-sidekey-error")).toEqual(["POLICY_NO_ROUTE"]);
    connection.destroy();
  });

  it("cannot be the sidecar itself", async () => {
    const { response } = await openTunnel(sidecar.port, `127.0.0.1:${sidecar.port}`);
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([508, ["POLICY_LOOP"]]);
    const connection = await openConnection(sidecar.port);
    const host = `tunnel-self.test:${sidecar.port}`;
    connection.send(`GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect((await connection.receive()).status).toBe(508);
    connection.destroy();
  });
});
