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
});
