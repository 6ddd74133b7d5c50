/** Where the sidecar listens, who may come in, and that it is never its own upstream. */
import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { Log } from "../../src/core/log.ts";
import { silentLog } from "../../src/core/log.ts";
import { verdictOf } from "../support/gateway.ts";
import { choosePort } from "../support/ports.ts";
import { openConnection, openTunnel, openUnixConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "../support/sidecar.ts";
import { watchStalls } from "../support/stalls.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const KEY = "canary-91d4e0b7c25f38aa";
const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (let close = open.pop(); close !== undefined; close = open.pop()) await close();
});

const upstreamOf = async (): Promise<TestUpstream> => {
  const upstream = await startUpstream();
  open.push(() => upstream.close());
  return upstream;
};

const sidecarOf = async (listen: string, more = "", start?: TestSidecarOptions["start"]): Promise<TestSidecar> => {
  const sidecar = await startTestSidecar({
    environment: { KEY },
    file: `version: 1\nlisten: { ${listen} }\nsources: { env: { kind: env } }\n${more}`,
    ...(start !== undefined && { start }),
  });
  open.push(() => sidecar.close());
  return sidecar;
};

const routeTo = (port: number): string => `routes:\n  plain: { match: "http://127.0.0.1:${port}/**", secret: KEY }\n`;

describe("unix sockets", () => {
  it("serve both ways in, beside the file, and are gone afterwards", async () => {
    const upstream = await upstreamOf();
    const sidecar = await sidecarOf('proxy: "unix:p.sock", gateway: "unix:g.sock"', routeTo(upstream.port));
    const [proxy, gateway] = [join(sidecar.directory, "p.sock"), join(sidecar.directory, "g.sock")];
    expect(sidecar.sidecar.ready).toMatchObject({ proxy: `unix:${proxy}`, gateway: `unix:${gateway}` });
    expect(sidecar.sidecar.proxyUrl).toBeUndefined();

    const authority = `127.0.0.1:${upstream.port}`;
    const through = await openUnixConnection(proxy);
    through.send(`GET http://${authority}/a HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    expect((await through.receive()).status).toBe(200);
    through.destroy();

    for (const [host, status] of [
      ["localhost", 200],
      ["localhost:80", 200],
      ["evil.test", 421],
      [authority, 421],
    ] as const) {
      const connection = await openUnixConnection(gateway);
      connection.send(`GET /plain/b HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect((await connection.receive()).status).toBe(status);
      connection.destroy();
    }
    expect(upstream.requests.map(({ path }) => path)).toEqual(["/a", "/b", "/b"]);
    expect(upstream.requests.every((one) => one.header("authorization")[0] === `Bearer ${KEY}`)).toBe(true);

    await sidecar.sidecar.drain(100);
    expect([existsSync(proxy), existsSync(gateway)]).toEqual([false, false]);
  });
});

describe("ports", () => {
  it("of IPv6 loopback serve both ways in", async () => {
    const upstream = await upstreamOf();
    const sidecar = await sidecarOf('proxy: "[::1]:0", gateway: "[::1]:0"', routeTo(upstream.port));
    expect(sidecar.sidecar.ready.proxy).toMatch(/^\[::1\]:\d+$/);
    for (const [host, status] of [
      ["[::1]", 200],
      ["[0:0:0:0:0:0:0:1]", 200],
      ["localhost", 200],
      ["127.0.0.1", 421],
    ] as const) {
      const connection = await openConnection(sidecar.gatewayPort, "::1");
      connection.send(`GET /plain/ HTTP/1.1\r\nHost: ${host}:${sidecar.gatewayPort}\r\n\r\n`);
      expect((await connection.receive()).status).toBe(status);
      connection.destroy();
    }
  });

  it("that are taken end the start, and close what was open already", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    await expect(
      startTestSidecar({
        file: `version: 1\nlisten: { proxy: "unix:p.sock", gateway: "127.0.0.1:${port}" }\nstate: ./s\n`,
      }),
    ).rejects.toMatchObject({ code: "CONFIG_INVALID", detail: expect.stringContaining("listen.gateway") });
    taken.close();
  });

  it("may be the gateway's alone", async () => {
    const sidecar = await sidecarOf('proxy: "off", gateway: "127.0.0.1:0"');
    expect(sidecar.sidecar.ready).toMatchObject({ proxy: null, gateway: `127.0.0.1:${sidecar.gatewayPort}` });
  });
});

describe("listen.clients", () => {
  it("cuts everybody else before a byte is read, and says so once a minute", async () => {
    const upstream = await upstreamOf();
    const warnings: unknown[] = [];
    const log: Log = { ...silentLog, warn: (text, facts) => void warnings.push([text, facts]) };
    const sidecar = await sidecarOf(
      'proxy: "0.0.0.0:0", gateway: "0.0.0.0:0", clients: [127.0.0.8/30]',
      routeTo(upstream.port),
      { log },
    );
    const authority = `127.0.0.1:${upstream.port}`;
    const bytes = `GET http://${authority}/ HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
    const from = (localAddress: string, port: number) => connect({ host: "127.0.0.1", port, localAddress });
    for (const port of [sidecar.port, sidecar.gatewayPort, sidecar.port]) {
      const socket = from("127.0.0.1", port);
      const received: Buffer[] = [];
      socket.on("data", (chunk) => received.push(chunk)).on("error", () => undefined);
      socket.write(bytes);
      await once(socket, "close");
      expect(received).toEqual([]);
    }
    const friend = from("127.0.0.9", sidecar.port);
    friend.write(bytes);
    const [chunk] = await once(friend, "data");
    expect(String(chunk)).toMatch(/^HTTP\/1\.1 200/);
    friend.destroy();
    expect(upstream.requests.length).toBe(1);
    expect(warnings.filter((one) => JSON.stringify(one).includes("listen.clients"))).toEqual([
      ["connections from outside listen.clients were cut", { count: 1, from: "127.0.0.1" }],
    ]);
  });

  it("does not close a listener that only this machine reaches", async () => {
    const sidecar = await sidecarOf('proxy: "127.0.0.1:0", gateway: "0.0.0.0:0", clients: [10.0.0.0/8]');
    const connection = await openConnection(sidecar.port);
    connection.send("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    expect(verdictOf(await connection.receive())).toEqual([403, "POLICY_NO_ROUTE"]);
    connection.destroy();
  });
});

describe("the proxy port", () => {
  it("takes absolute https from this machine, and cleartext HTTP inside CONNECT for what is routed so", async () => {
    const upstream = await upstreamOf();
    const sidecar = await sidecarOf(
      'proxy: "127.0.0.1:0"',
      `unmatched: tunnel\n${routeTo(upstream.port)}  tls.test: KEY\n`,
    );
    const authority = `127.0.0.1:${upstream.port}`;
    const { response, connection } = await openTunnel(sidecar.port, authority);
    expect(response.status).toBe(200);
    connection.send(`GET /inside HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    expect((await connection.receive()).status).toBe(200);
    expect(upstream.requests.at(-1)?.header("authorization")).toEqual([`Bearer ${KEY}`]);
    // Also when it comes with the CONNECT itself, or a byte at a time.
    const early = await openConnection(sidecar.port);
    const request = `GET /early HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
    early.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n${request}`);
    expect([(await early.receive("CONNECT")).status, (await early.receive()).status]).toEqual([200, 200]);
    for (const char of request) {
      early.send(char);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await early.receive()).status).toBe(200);
    early.destroy();
    connection.send("GET /inside HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    expect(verdictOf(await connection.receive())).toEqual([421, "INGRESS_AUTHORITY_MISMATCH"]);
    connection.destroy();

    const absolute = await openConnection(sidecar.port);
    absolute.send("GET https://other.tls.test/ HTTP/1.1\r\nHost: other.tls.test\r\n\r\n");
    // Judged like any other request, and its name leads nowhere here.
    expect(verdictOf(await absolute.receive())[1]).not.toBe("POLICY_CLEARTEXT");
    absolute.destroy();
  });
});

describe("an upstream that is the sidecar itself", () => {
  const NAMES: Readonly<Record<string, string>> = { "a.test": "127.0.0.1", "b.test": "127.0.0.7", "c.test": "0.0.0.0" };
  const resolve: NonNullable<NonNullable<TestSidecarOptions["start"]>["resolve"]> = (name, _options, done) => {
    const address = NAMES[name];
    if (address === undefined) done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
    else done(null, [{ address, family: 4 } satisfies LookupAddress]);
  };

  it.each(["127.0.0.1", "0.0.0.0"])("is a loop, by whatever name, for a listener on %s", async (bind) => {
    const sidecar = await sidecarOf(
      `proxy: "${bind}:0", gateway: "${bind}:0", clients: [127.0.0.0/8]`,
      "unmatched: tunnel\negress: { allow: [127.0.0.0/8, 0.0.0.0/32] }\n",
      { resolve },
    );
    const hosts = ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]", "a.test", "c.test"];
    if (bind === "0.0.0.0") hosts.push("127.0.0.7", "b.test");
    for (const port of [sidecar.port, sidecar.gatewayPort]) {
      for (const host of hosts) {
        const { response } = await openTunnel(sidecar.port, `${host}:${port}`);
        expect([host, ...verdictOf(response)]).toEqual([host, 508, "POLICY_LOOP"]);
      }
    }
  });

  it("stays one behind upstream.connect and a route", async () => {
    const port = await choosePort();
    const sidecar = await sidecarOf(
      `proxy: "127.0.0.1:${port}"`,
      `routes: { loop.test: KEY }\nupstream: { connect: { "loop.test:443": "127.0.0.1:${port}" } }\n`,
    );
    const connection = await openConnection(sidecar.port);
    connection.send("GET https://loop.test/ HTTP/1.1\r\nHost: loop.test\r\n\r\n");
    expect(verdictOf(await connection.receive())).toEqual([508, "POLICY_LOOP"]);
    connection.destroy();
  });
});

describe("two sidecars whose routes lead to each other's gateway", () => {
  const stalls = watchStalls();
  afterAll(() => stalls.stop());

  it("answer at once: every hop uses up a segment of the path", async () => {
    const [first, second] = [await choosePort(), await choosePort()];
    const pair = (own: number, other: number) =>
      sidecarOf(
        `proxy: "off", gateway: "127.0.0.1:${own}"`,
        `routes:\n  next: { match: "http://127.0.0.1:${other}/**", secret: KEY }\n`,
      );
    await pair(first, second);
    await pair(second, first);
    const connection = await openConnection(first);
    const started = stalls.now();
    connection.send(`GET ${"/next".repeat(40)} HTTP/1.1\r\nHost: 127.0.0.1:${first}\r\n\r\n`);
    expect(verdictOf(await connection.receive())[0]).toBe(403);
    expect(stalls.now() - started).toBeLessThan(5_000);
    connection.destroy();
  });
});
