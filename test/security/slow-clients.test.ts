/**
 * Clients that hold on without going on (H1, ruling 24): silence after CONNECT, half a ClientHello, headers or a body
 * that never end. All at once, since each takes its real ten seconds.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection, openTlsTunnel, openTunnel, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

let upstream: TestUpstream;
let sidecar: TestSidecar;

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startUpstream({ tls: await authority.issue({ names: ["api.test"] }) });
  sidecar = await startTestSidecar({
    environment: { KEY: "canary-55c24b7e3f9a61d0" },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { api.test: KEY }
upstream: { ca: ./ca.pem, connect: { "api.test:443": "${upstream.address}" } }
`,
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
});

const tunnelled = async (): Promise<RawConnection> => {
  const { response, connection } = await openTunnel(sidecar.port, "api.test:443");
  expect(response.status).toBe(200);
  return connection;
};

/** Resolves with how many `ms` after `began` the sidecar closed the connection. */
const untilClosed = async (connection: RawConnection, began: number, trickle?: () => void): Promise<number> => {
  const timer = trickle === undefined ? undefined : setInterval(trickle, 1_000);
  await connection.closed();
  clearInterval(timer);
  return performance.now() - began;
};

describe("a client that does not go on", () => {
  it("is cut off in each phase, and nothing reaches the upstream", { timeout: 120_000 }, async () => {
    // All of them come after that, and so do their ten seconds.
    const began = performance.now();
    const silentProxy = await openConnection(sidecar.port);
    const slowConnect = await openConnection(sidecar.port);
    slowConnect.send("CONNECT api.test:443 HT");
    const silentTunnel = await tunnelled();
    const halfHello = await tunnelled();
    halfHello.send(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
    const silentTls = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);
    const slowHeaders = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);
    slowHeaders.send("GET / HTTP/1.1\r\nHost: api.test\r\n");
    const times = await Promise.all([
      untilClosed(silentProxy, began),
      untilClosed(slowConnect, began),
      untilClosed(silentTunnel, began),
      untilClosed(halfHello, began),
      untilClosed(silentTls, began),
      // A byte now and then buys no time.
      untilClosed(slowHeaders, began, () => slowHeaders.send("X-A: 1\r\n")),
    ]);
    for (const ms of times) expect(ms).toBeGreaterThan(5_000);
    expect(upstream.connections).toBe(0);
    expect(String(slowHeaders.transcript)).toContain("x-sidekey-error: INGRESS_TIMEOUT");
  });
});
