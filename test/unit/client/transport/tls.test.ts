/** TLS of the client: whom it believes, and that nothing of a request leaves before that is settled. */
import { createServer, type Server } from "node:https";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createTestAuthority, type TestAuthority, type TestCertificate } from "../../../support/certificates.ts";
import { failureOf, OPERATOR_KEY, quickVault } from "../support.ts";

let authority: TestAuthority;
let good: TestCertificate;
beforeAll(async () => {
  authority = await createTestAuthority();
  good = await authority.issue({ names: ["localhost"] });
});

let server: Server | undefined;
let requests = 0;
afterEach(() => {
  vi.unstubAllEnvs();
  server?.close();
  server?.closeAllConnections();
  requests = 0;
});

const serve = async (options: object): Promise<string> => {
  server = createServer(options, (_request, response) => {
    requests += 1;
    response.writeHead(200, { "content-type": "application/json" }).end('{"status":"ok"}');
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const place = server.address();
  return `https://localhost:${typeof place === "object" ? place?.port : 0}`;
};

const failure = (address: string, ca?: string) =>
  failureOf(
    quickVault({ address, operatorKey: OPERATOR_KEY, retries: 0, ...(ca !== undefined && { ca }) }).getSecret("a/b"),
  );

describe("the client", () => {
  it("believes the CA that is named, and serves several calls over one connection", async () => {
    const address = await serve(good);
    const vault = quickVault({ address, ca: authority.certificatePem });
    expect(await vault.health()).toEqual({ status: "ok" });
    expect(await vault.health()).toEqual({ status: "ok" });
    expect(requests).toBe(2);
    vault.close();
  });

  it.each<[string, object, RegExp]>([
    ["for another name", { names: ["other.test"] }, /other names/],
    ["for no name but an address", { ips: ["127.0.0.1"] }, /other names/],
    ["that has expired", { names: ["localhost"], expired: true }, /not valid now|signed by nobody/],
  ])("does not believe a certificate %s", async (_name, request, words) => {
    const error = await failure(await serve(await authority.issue(request)), authority.certificatePem);
    expect(error).toMatchObject({ code: "CLIENT_UNREACHABLE", sent: false });
    expect(error.detail).toMatch(words);
    expect(requests).toBe(0);
  });

  it("believes nobody else when it has a CA, and not the named one's stranger", async () => {
    const address = await serve(good);
    const other = await createTestAuthority("Another CA");
    for (const ca of [undefined, other.certificatePem]) {
      expect((await failure(address, ca)).detail).toContain("signed by nobody");
    }
    expect(requests).toBe(0);
  });

  it("does not let a variable of the environment turn verification off", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    expect((await failure(await serve(good))).code).toBe("CLIENT_UNREACHABLE");
    expect(requests).toBe(0);
  });

  it("speaks no TLS older than 1.2", async () => {
    const address = await serve({
      ...good,
      minVersion: "TLSv1",
      maxVersion: "TLSv1.1",
      ciphers: "DEFAULT:@SECLEVEL=0",
    });
    expect((await failure(address, authority.certificatePem)).detail).toContain("No TLS connection");
    expect(requests).toBe(0);
  });

  it("shows a certificate of its own to a vault that asks for one", async () => {
    const address = await serve({ ...good, requestCert: true, rejectUnauthorized: true, ca: authority.certificatePem });
    const certificate = await authority.issue({ names: ["client"] });
    const vault = quickVault({ address, ca: authority.certificatePem, certificate });
    expect(await vault.health()).toEqual({ status: "ok" });
    vault.close();
    expect((await failure(address, authority.certificatePem)).code).toBe("CLIENT_UNREACHABLE");
  });

  it("says of a certificate that the vault does not take what it can know about it", async () => {
    const address = await serve({ ...good, requestCert: true, rejectUnauthorized: true, ca: authority.certificatePem });
    const of = async (certificate: TestCertificate) => {
      const vault = quickVault({ address, ca: authority.certificatePem, certificate, retries: 0 });
      const error = await failureOf(vault.health());
      vault.close();
      return error;
    };
    const ended = await of(await authority.issue({ names: ["client"], expired: true }));
    expect(ended.detail).toMatch(/shown to it is not valid now \(20.* to 20/);
    const stranger = await of(await (await createTestAuthority()).issue({ names: ["client"] }));
    expect(stranger.detail).toMatch(/may not take the certificate that it is shown/);
    expect(stranger.hint).toContain("tls.client_ca");
    expect(requests).toBe(0);
  });

  it("shows another certificate and believes another CA from the next connection on, and nothing that is none", async () => {
    const next = await createTestAuthority("The next CA");
    const address = await serve({ ...good, requestCert: true, rejectUnauthorized: true, ca: next.certificatePem });
    const ca = authority.certificatePem;
    const vault = quickVault({ address, ca, certificate: await authority.issue({ names: ["client"] }), retries: 0 });
    expect((await failureOf(vault.health())).code).toBe("CLIENT_UNREACHABLE");
    const certificate = await next.issue({ names: ["client"] });
    vault.useTls({ ca, certificate });
    expect(await vault.health()).toEqual({ status: "ok" });
    expect(() => vault.useTls({ ca: "none" })).toThrow("CLIENT_REFUSED");
    expect(() => vault.useTls({ ca, certificate: { ...certificate, key: good.key } })).toThrow("CLIENT_REFUSED");
    expect(await vault.health()).toEqual({ status: "ok" });
    vault.useTls({ ca: next.certificatePem, certificate });
    expect((await failureOf(vault.health())).detail).toContain("signed by nobody");
    vault.close();
  });
});
