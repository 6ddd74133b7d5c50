/**
 * B6, E4: an address that only a route's pattern opens is closed again once the route is gone, whatever connections and
 * rules were made while it was there; and opens when it comes.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar } from "../support/sidecar.ts";
import { startStrictUpstream } from "../support/strict-upstream.ts";

it("an address that a route wrote is closed when the route has gone, and open when it is back", async () => {
  const authority = await createTestAuthority();
  const upstream = await startStrictUpstream({ tls: await authority.issue({ names: ["a.test"], ips: ["127.0.0.1"] }) });
  const fileOf = (routes: string): string => `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
unmatched: tunnel
upstream: { ca: ./ca.pem }
routes:
  other: { match: "https://other.test/**", secret: KEY }
${routes}`;
  const withRoute = fileOf(`  address: { match: "https://${upstream.address}/**", secret: KEY }\n`);
  const sidecar = await startTestSidecar({
    environment: { KEY: "sk-canary-7be24c553f9a61d0c8" },
    files: { "ca.pem": authority.certificatePem, "sidekey.yaml": fileOf("") },
    file: fileOf(""),
  });
  const ask = async (): Promise<string | number> => {
    const connection = await openConnection(sidecar.port);
    connection.send(`GET https://${upstream.address}/ HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`);
    const { status, headers } = await connection.receive();
    connection.destroy();
    return headers.get("x-sidekey-error")?.[0] ?? status;
  };
  const reload = async (text: string): Promise<void> => {
    writeFileSync(join(sidecar.directory, "sidekey.yaml"), text);
    expect(await sidecar.sidecar.reload("admin")).toHaveProperty("generation");
  };
  try {
    expect(await ask()).toBe("POLICY_ADDRESS");
    await reload(withRoute);
    expect(await ask()).toBe(200);
    await reload(fileOf(""));
    expect(await ask()).toBe("POLICY_ADDRESS");
    await reload(withRoute);
    expect(await ask()).toBe(200);
    expect(upstream.requests.length).toBe(2);
  } finally {
    await sidecar.close();
    await upstream.close();
  }
});
