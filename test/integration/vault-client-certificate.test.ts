/** A sidecar whose vault takes connections only from who shows a certificate: with one, without, and when it is renewed. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { AgentVault } from "../../src/client/index.ts";
import { silentLog } from "../../src/core/log.ts";
import { createTestAuthority, type TestAuthority, type TestCertificate } from "../support/certificates.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar } from "../support/sidecar.ts";
import { startUpstream } from "../support/upstream.ts";
import { startServedVault } from "../support/vault/served-vault.ts";

const SECRET = "canary-key-8c1f0e7a55d24b90";
const PATH = "production/api/key";
const OK = [200, undefined];

let servers: TestAuthority;
let clients: TestAuthority;
beforeAll(async () => {
  servers = await createTestAuthority("Test vault CA");
  clients = await createTestAuthority("Test clients' CA");
});

const issue = (): Promise<TestCertificate> => clients.issue({ names: ["sidecar.test"] });

const stage = async () => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-mtls-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  /** In one step, as whoever renews certificates does. */
  const put = (name: string, text: string): void => {
    writeFileSync(join(directory, `${name}.next`), text, { mode: 0o600 });
    renameSync(join(directory, `${name}.next`), join(directory, name));
  };
  const own = await servers.issue({ names: ["localhost"] });
  put("vault.pem", own.cert);
  put("vault-key.pem", own.key);
  put("clients.pem", clients.certificatePem);
  put("ca.pem", servers.certificatePem);
  const at = (name: string): string => JSON.stringify(join(directory, name));
  const vault = await startServedVault({
    yaml: `tls: { cert: ${at("vault.pem")}, key: ${at("vault-key.pem")}, client_ca: ${at("clients.pem")} }\n`,
  });
  onTestFinished(vault.close);
  const address = vault.address.replace("127.0.0.1", "localhost");
  const operator = new AgentVault({
    address,
    operatorKey: vault.operatorKey,
    ca: servers.certificatePem,
    certificate: await issue(),
  });
  onTestFinished(() => operator.close());
  await operator.setSecret(PATH, SECRET);
  const { key } = await operator.agents.create({ name: "research", scopes: ["secrets:use:production/*"] });
  put("agent-key", key);
  const upstream = await startUpstream();
  onTestFinished(() => upstream.close());
  const logged: string[] = [];
  const write = (message: string, fields?: unknown): void => void logged.push(`${message} ${JSON.stringify(fields)}`);

  const start = async (certificate: TestCertificate | undefined, more = "") => {
    if (certificate !== undefined) {
      put("c.pem", certificate.cert);
      put("k.pem", certificate.key);
    }
    const files = certificate === undefined ? "" : `, cert: ${at("c.pem")}, cert_key: ${at("k.pem")}`;
    const sidecar = await startTestSidecar({
      start: { log: { ...silentLog, error: write, warn: write, info: write } },
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { v: { kind: sidekey, address: "${address}", agent_key: { file: ${at("agent-key")} }, ca: ${at("ca.pem")}${files} } }
routes:
  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "v:${PATH}"${more} }
`,
    });
    onTestFinished(() => sidecar.close());
    return async (): Promise<readonly [number, string | undefined]> => {
      const connection = await openConnection(sidecar.port);
      const origin = `127.0.0.1:${upstream.port}`;
      connection.send(`GET http://${origin}/x HTTP/1.1\r\nHost: ${origin}\r\nConnection: close\r\n\r\n`);
      const { status, headers } = await connection.receive();
      connection.destroy();
      return [status, headers.get("x-sidekey-error")?.[0]];
    };
  };
  return { put, start, upstream, logged };
};

describe("a vault that asks its clients for a certificate", () => {
  it("serves a sidecar that shows one", async () => {
    const { start, upstream, logged } = await stage();
    const ask = await start(await issue());
    expect(await ask()).toEqual(OK);
    expect(upstream.requests.at(-1)?.header("authorization")).toEqual([`Bearer ${SECRET}`]);
    expect(logged.join("\n")).not.toContain("PRIVATE KEY");
  });

  it.each<[string, () => Promise<TestCertificate | undefined>, string]>([
    ["none", async () => undefined, "asks its clients for a certificate"],
    [
      "one of somebody else",
      async () => (await createTestAuthority("Nobody")).issue({ names: ["sidecar.test"] }),
      "it may not take the certificate that it is shown",
    ],
    [
      "one that has expired",
      () => clients.issue({ names: ["sidecar.test"], expired: true }),
      "the certificate that is shown to it is not valid now",
    ],
  ])("leaves a sidecar with %s without a secret, which says why", async (_name, made, words) => {
    const { start, upstream, logged } = await stage();
    const ask = await start(await made());
    expect(await ask()).toEqual([503, "SOURCE_UNAVAILABLE"]);
    expect(upstream.requests).toEqual([]);
    expect(logged.filter((line) => line.includes("the sidecar has no token"))[0]).toContain(words);
  });

  it("serves again once an expired certificate is renewed, without a restart", async () => {
    const { start, put } = await stage();
    const ask = await start(await clients.issue({ names: ["sidecar.test"], expired: true }));
    expect(await ask()).toEqual([503, "SOURCE_UNAVAILABLE"]);
    const next = await issue();
    put("c.pem", next.cert);
    put("k.pem", next.key);
    await expect.poll(ask).toEqual(OK);
  });

  it("goes on serving while half a renewal is there, and keeps the one before", async () => {
    const { start, put, logged } = await stage();
    const ask = await start(await issue(), ", max_age: 0s");
    expect(await ask()).toEqual(OK);
    put("k.pem", (await issue()).key);
    await expect.poll(() => logged.filter((line) => line.includes("those before stay")).length).toBe(1);
    expect(await ask()).toEqual(OK);
  });
});
