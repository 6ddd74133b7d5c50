/** The CA of a running sidecar over time: with a clock that the test sets, and clients on open tunnels. */
import type { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { Log, LogFields } from "../../src/core/log.ts";
import { rotateAuthority } from "../../src/sidecar/tls/rotation.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { openTlsTunnel, openTunnel, openUnixConnection, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const get = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

let upstream: TestUpstream;
let upstreamCa: string;
let sidecar: TestSidecar;
let connections: RawConnection[];
let logged: { readonly level: string; readonly message: string; readonly fields: LogFields | undefined }[];
/** Of the sidecar's clock before the clients', which OpenSSL takes from the system. It jumps when a test says so. */
let ahead: number;
/** Of its monotonic time. */
let skipped: number;
const clock = { now: () => Date.now() + ahead, monotonic: () => systemClock.monotonic() + skipped };

const log: Log = Object.fromEntries(
  ["error", "warn", "info", "debug"].map((level) => [
    level,
    (message: string, fields?: LogFields) => logged.push({ level, message, fields }),
  ]),
) as unknown as Log;

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstreamCa = authority.certificatePem;
  upstream = await startUpstream({ tls: await authority.issue({ names: ["a.test", "b.test", "x.wild.test"] }) });
});
afterAll(() => upstream.close());
beforeEach(() => {
  ahead = 0;
  skipped = 0;
  logged = [];
  connections = [];
});
afterEach(async () => {
  for (const connection of connections) connection.destroy();
  await sidecar.close();
});

const start = async (tls = "{}"): Promise<void> => {
  sidecar = await startTestSidecar({
    environment: { KEY: "canary-2d7c5b1e9a" },
    files: { "ca.pem": upstreamCa },
    start: { clock, log },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { a.test: KEY, b.test: KEY, "*.wild.test": KEY }
tls: ${tls}
upstream:
  ca: ./ca.pem
  connect: { "a.test:443": "${upstream.address}", "b.test:443": "${upstream.address}" }
`,
  });
};

const open = async (host: string, ca = sidecar.ca): Promise<RawConnection> => {
  const connection = await openTlsTunnel(sidecar.port, `${host}:443`, ca);
  connections.push(connection);
  return connection;
};

const ask = async (connection: RawConnection, host: string): Promise<number> => {
  connection.send(get(host));
  return (await connection.receive()).status;
};

const leafOf = ({ socket }: RawConnection): X509Certificate => {
  const leaf = (socket as TLSSocket).getPeerX509Certificate();
  if (leaf === undefined) throw new TypeError("no certificate");
  return leaf;
};

const refusalOf = async (host: string): Promise<string> => {
  const { response, connection } = await openTunnel(sidecar.port, `${host}:443`);
  connection.destroy();
  return `${response.status} ${JSON.parse(String(response.body)).error?.code}`;
};

const told = (message: string) => logged.filter((entry) => entry.message === message);
const readiness = async () => {
  const connection = await openUnixConnection(sidecar.sidecar.ready.admin?.replace("unix:", "") ?? "");
  connection.send("GET /readyz HTTP/1.1\r\nHost: sidekey\r\n\r\n");
  const { status, body } = await connection.receive();
  connection.destroy();
  return [status, JSON.parse(body.toString()).reasons];
};

/** What the audit says of the CA. */
const recorded = async () =>
  (await sidecar.audit()).flatMap(({ type, reason, code }) => (type === "admin" ? [{ reason, code }] : []));

const state = (): string => join(sidecar.directory, ".sidekey");

describe("a leaf", () => {
  it("is renewed at two thirds of what it had left, and the tunnel with the one before goes on", async () => {
    ahead = -16 * HOUR;
    await start();
    const first = await open("a.test");
    const { serialNumber, validTo } = leafOf(first);
    expect(await ask(first, "a.test")).toBe(200);
    ahead = -1 * HOUR;
    const same = await open("a.test");
    expect(leafOf(same).serialNumber).toBe(serialNumber);
    ahead = 0;
    const second = await open("a.test");
    const renewed = leafOf(second);
    expect(renewed.serialNumber).not.toBe(serialNumber);
    expect(Date.parse(renewed.validTo)).toBeGreaterThan(Date.parse(validTo));
    for (const connection of [first, same, second]) expect(await ask(connection, "a.test")).toBe(200);
  });

  it("is one and the same for all that ask at the moment of its renewal", async () => {
    ahead = -20 * HOUR;
    await start();
    const { serialNumber } = leafOf(await open("a.test"));
    ahead = 0;
    const all = await Promise.all(Array.from({ length: 20 }, () => open("a.test")));
    const serials = new Set(all.map((connection) => leafOf(connection).serialNumber));
    expect(serials.size).toBe(1);
    expect(serials).not.toContain(serialNumber);
  });

  it("is never minted for a host that no route names, however many are asked for", async () => {
    await start();
    for (let turn = 0; turn < 300; turn++) {
      expect(await refusalOf(`r${turn}.other.test`)).toBe("403 POLICY_NO_ROUTE");
    }
    // The first at the start; and the rate was not touched, all of it is there for hosts of a route.
    const hosts = Array.from({ length: 49 }, (_, i) => `h${i}.wild.test`);
    const answers = await Promise.all(hosts.map((host) => openTunnel(sidecar.port, `${host}:443`)));
    connections.push(...answers.map(({ connection }) => connection));
    expect(new Set(answers.map(({ response }) => response.status))).toEqual(new Set([200]));
  });
});

describe("the CA at its end", () => {
  it("signs nothing more and says so, while open tunnels go on; after a rotation it signs again", async () => {
    ahead = -20 * HOUR;
    await start("{ ca_days: 1 }");
    expect(told("the CA ends soon")).toHaveLength(1);
    const tunnel = await open("a.test");
    ahead = 4 * HOUR + 1000;
    expect(await refusalOf("a.test")).toBe("503 TLS_CA_UNUSABLE");
    expect(await refusalOf("a.test")).toBe("503 TLS_CA_UNUSABLE");
    const [refusal, ...more] = told("no certificate can be made");
    expect(refusal).toMatchObject({
      level: "error",
      fields: {
        code: "TLS_CA_UNUSABLE",
        detail: expect.stringContaining("expired"),
        hint: expect.stringContaining("ca rotate"),
      },
    });
    expect(more).toEqual([]);
    expect(await readiness()).toEqual([503, ["ca"]]);
    expect(await ask(tunnel, "a.test")).toBe(200);
    const refusals = (await sidecar.audit()).filter(({ code }) => code === "TLS_CA_UNUSABLE");
    expect(refusals).toHaveLength(2);

    expect((await rotateAuthority({ directory: state(), clock, days: 365 })).wasTrusted).toBe(true);
    const { response, connection } = await openTunnel(sidecar.port, "a.test:443");
    connections.push(connection);
    expect(response.status).toBe(200);
    expect(await readiness()).toEqual([200, undefined]);
  });

  it("tells of its end once, when it comes near while the sidecar runs", async () => {
    await start("{ ca_days: 40 }");
    expect(told("the CA ends soon")).toEqual([]);
    await open("a.test");
    ahead = 11 * DAY;
    for (const host of ["b.test", "a.test"]) {
      const { response, connection } = await openTunnel(sidecar.port, `${host}:443`);
      connections.push(connection);
      expect(response.status).toBe(200);
    }
    expect(told("the CA ends soon")).toHaveLength(1);
  });

  it("signs nothing while the clock stands before its beginning", async () => {
    await start();
    ahead = -3 * HOUR;
    expect(await refusalOf("b.test")).toBe("503 TLS_CA_UNUSABLE");
    expect(told("no certificate can be made")[0]?.fields).toMatchObject({ hint: "Check the clock of this machine." });
    ahead = 0;
    expect(await ask(await open("b.test"), "b.test")).toBe(200);
  });
});

describe("a rotation under a running sidecar", () => {
  it("acts on new connections, breaks no open one, and needs nothing new from agents", async () => {
    await start();
    const before = sidecar.ca;
    const tunnel = await open("a.test");
    const { current, previous } = await rotateAuthority({ directory: state(), clock });
    expect(leafOf(tunnel).checkIssued(previous)).toBe(true);
    // A name that has no leaf yet is a mint: the file is looked at.
    const fresh = await open("b.test", before);
    expect(leafOf(fresh).checkIssued(current)).toBe(true);
    // And one that has is minted anew.
    const again = await open("a.test", before);
    expect(leafOf(again).checkIssued(current)).toBe(true);
    expect(await ask(tunnel, "a.test")).toBe(200);
    expect(await ask(again, "a.test")).toBe(200);
    expect(told("another CA signs from now on")).toHaveLength(1);
    expect(await recorded()).toEqual([
      { reason: `another CA signs from now on: ${current.fingerprint256}`, code: undefined },
    ]);
  });

  it("is taken up within a second where nothing new is minted", async () => {
    await start();
    const { serialNumber } = leafOf(await open("a.test"));
    await rotateAuthority({ directory: state(), clock });
    skipped = 1500;
    await open("a.test");
    // The look began with the connection before.
    for (let turn = 0; turn < 50 && told("another CA signs from now on").length === 0; turn++) await open("a.test");
    expect(leafOf(await open("a.test")).serialNumber).not.toBe(serialNumber);
  });

  it("that somebody fakes by exchanging the key mints nothing, and what was minted is used to its end", async () => {
    await start();
    const { serialNumber } = leafOf(await open("a.test"));
    const foreign = join(sidecar.directory, "foreign");
    const { openAuthorityFiles } = await import("../../src/sidecar/tls/certificate-files.ts");
    await openAuthorityFiles({ directory: foreign, clock });
    await rename(join(state(), "ca.key"), join(sidecar.directory, "ca.key"));
    await rename(join(foreign, "ca.key"), join(state(), "ca.key"));
    expect(await refusalOf("b.test")).toBe("503 TLS_CA_UNUSABLE");
    expect(leafOf(await open("a.test")).serialNumber).toBe(serialNumber);
    expect(told("the CA can sign nothing more")).toMatchObject([
      { level: "error", fields: { detail: expect.stringContaining("does not belong") } },
    ]);
    expect(await recorded()).toEqual([{ reason: "the CA can sign nothing more", code: "TLS_CA_UNUSABLE" }]);
    expect(await readiness()).toEqual([503, ["ca"]]);
    await rename(join(sidecar.directory, "ca.key"), join(state(), "ca.key"));
    expect(await ask(await open("b.test"), "b.test")).toBe(200);
    expect(await readiness()).toEqual([200, undefined]);
  });

  it("writes the files for agents again", async () => {
    await start("{ export: ./shared }");
    const { trustedPem } = await rotateAuthority({ directory: state(), clock });
    await rm(join(sidecar.directory, "shared"), { recursive: true });
    await open("b.test");
    for (let turn = 0; turn < 100; turn++) {
      const text = await readFile(join(sidecar.directory, "shared/ca-bundle.pem"), "utf8").catch(() => "");
      if (text !== "") break;
      await open("b.test");
    }
    expect(await readFile(join(sidecar.directory, "shared/ca.pem"), "utf8")).toBe(trustedPem);
    expect(told("the files that clients trust were not written")).toEqual([]);
  });

  it("is published to its end by a sidecar that is closed meanwhile", async () => {
    const shared = await mkdtemp(join(tmpdir(), "sidekey-export-"));
    try {
      await start(`{ export: ${shared} }`);
      const { trustedPem } = await rotateAuthority({ directory: state(), clock });
      await open("b.test");
      await sidecar.close();
      expect(await readFile(join(shared, "ca.pem"), "utf8")).toBe(trustedPem);
      expect(await readFile(join(shared, "ca-bundle.pem"), "utf8")).toContain(trustedPem);
      expect((await readdir(shared)).sort()).toEqual(["ca-bundle.pem", "ca.pem"]);
      expect(told("the files that clients trust were not written")).toEqual([]);
    } finally {
      await rm(shared, { recursive: true });
    }
  });
});

describe("a constrained CA", () => {
  it("serves the routed hosts, also below a wildcard, and its files verify in a client", async () => {
    await start("{ constrain: true }");
    expect(await ask(await open("a.test"), "a.test")).toBe(200);
    await expect(open("deep.wild.test")).resolves.toBeDefined();
  });

  it("refuses hosts that a reload added, and says what to do, until a rotation takes them in", async () => {
    await start("{ constrain: true }");
    const permitted = ["a.test", "b.test", "wild.test", "c.test"].map((name) => ({ kind: "name", name }) as const);
    await rotateAuthority({ directory: state(), clock, permitted: permitted.slice(0, 1) });
    expect(await refusalOf("b.test")).toBe("503 TLS_CA_UNUSABLE");
    expect(told("no certificate can be made")[0]?.fields).toMatchObject({
      detail: expect.stringContaining("constrained to other hosts than b.test"),
      hint: expect.stringContaining("sidekey ca rotate"),
    });
    await rotateAuthority({ directory: state(), clock, permitted });
    const ca = await readFile(join(state(), "ca.pem"), "utf8");
    expect(await ask(await open("b.test", ca), "b.test")).toBe(200);
  });
});
