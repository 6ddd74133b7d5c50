import { once } from "node:events";
import { request } from "node:https";
import { connect } from "node:tls";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { createTestAuthority, type TestAuthority, type TestCertificateRequest } from "../../support/certificates.ts";
import { startUpstream, type TestUpstream } from "../../support/upstream.ts";

let authority: TestAuthority;
let upstream: TestUpstream | undefined;

beforeAll(async () => {
  authority = await createTestAuthority();
});
afterEach(async () => {
  await upstream?.close();
  upstream = undefined;
});

const serve = async (certificate: TestCertificateRequest): Promise<number> => {
  upstream = await startUpstream({ tls: await authority.issue(certificate) });
  return upstream.port;
};

const handshake = async (port: number, servername: string): Promise<string> => {
  const socket = connect({ host: "127.0.0.1", port, servername, ca: authority.certificatePem });
  try {
    await once(socket, "secureConnect");
    return "trusted";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "none";
  } finally {
    socket.destroy();
  }
};

describe("the test upstream and its certificates", () => {
  test("a request is recorded with its socket, target, raw headers, body and server name", async () => {
    const port = await serve({ names: ["api.example.test"], ips: ["127.0.0.1"] });
    const call = request({
      host: "127.0.0.1",
      port,
      servername: "api.example.test",
      ca: authority.certificatePem,
      method: "POST",
      path: "/v1/things?x=1",
      headers: { "X-Twice": ["a", "b"], Host: "api.example.test" },
      agent: false,
    });
    call.end("hello");
    const [response] = await once(call, "response");
    expect(response.statusCode).toBe(200);
    response.resume();
    await once(response, "end");
    expect(upstream?.requests).toHaveLength(1);
    expect(upstream?.requests[0]).toMatchObject({
      socket: 1,
      method: "POST",
      path: "/v1/things?x=1",
      servername: "api.example.test",
    });
    expect(upstream?.requests[0]?.header("x-twice")).toEqual(["a", "b"]);
    expect(upstream?.requests[0]?.body.toString()).toBe("hello");
    expect(upstream?.transcript()).toContain("hello");
    expect(upstream?.connections).toBe(1);
  });

  test("certificates are trusted for their names, and not when expired, early or for another name", async () => {
    expect(await handshake(await serve({ names: ["a.test"] }), "a.test")).toBe("trusted");
    await upstream?.close();
    expect(await handshake(await serve({ names: ["a.test"], key: "rsa" }), "a.test")).toBe("trusted");
    await upstream?.close();
    expect(await handshake(await serve({ names: ["a.test"] }), "b.test")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    await upstream?.close();
    expect(await handshake(await serve({ names: ["a.test"], expired: true }), "a.test")).toBe("CERT_HAS_EXPIRED");
    await upstream?.close();
    expect(await handshake(await serve({ names: ["a.test"], notYetValid: true }), "a.test")).toBe("CERT_NOT_YET_VALID");
  });
});
