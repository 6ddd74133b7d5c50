/** The forward proxy as a black box: raw sockets on the agent's side, a recording upstream on the other. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { openConnection, openTlsTunnel, openTunnel, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const CANARY = "canary-3f9a61d07be24c55";
const get = (path: string, extra = "") => `GET ${path} HTTP/1.1\r\nHost: api.test\r\n${extra}\r\n`;

let authority: TestAuthority;
let upstream: TestUpstream;
let plain: TestUpstream;
let sidecar: TestSidecar;

beforeAll(async () => {
  authority = await createTestAuthority();
  upstream = await startUpstream({
    tls: await authority.issue({ names: ["api.test", "basic.test", "nokey.test"] }),
    handler: async (request, response, received) => {
      const path = received.path.split("?")[0];
      if (path === "/hang") return;
      if (path === "/early") {
        response.writeHead(413, { "content-length": "0" }).end();
        return;
      }
      for await (const _ of request);
      if (path === "/echo") {
        const body = Buffer.from(JSON.stringify({ headers: received.rawHeaders, b64: btoa(`x${CANARY}y`) }));
        response.writeHead(200, { "x-echo": `got ${received.header("authorization")[0]}`, "set-cookie": "session=1" });
        response.end(body);
      } else if (path === "/gzip") response.writeHead(200, { "content-encoding": "gzip" }).end("x");
      else if (path === "/reset") request.socket.destroy();
      else if (path === "/half") {
        response.writeHead(200, { "content-length": "1000" });
        response.write("half\n");
        setTimeout(() => request.socket.destroy(), 20);
      } else if (path === "/endless") {
        response.writeHead(200);
        const pump = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(16_384, 0x61)));
        };
        response.on("drain", pump);
        pump();
      } else if (path === "/407") response.writeHead(407, { "proxy-authenticate": "Basic" }).end();
      else if (path === "/204") response.writeHead(204).end();
      else response.writeHead(200, { "content-type": "text/plain" }).end(`${received.method} ${received.path}`);
    },
  });
  plain = await startUpstream();
  sidecar = await startTestSidecar({
    environment: { API_KEY: CANARY, PAIR: `user:${CANARY}` },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
agent: tester
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api:
    match: ["https://api.test/**", "GET https://api.test/only-get"]
    secret: API_KEY
    deny: ["DELETE **", "* /forbidden/**"]
  basic.test: { secret: PAIR, inject: { kind: basic } }
  nokey.test: { secret: NOT_SET }
  untrusted: { match: "https://untrusted.test/**", secret: API_KEY }
  plain: { match: "http://127.0.0.1:${plain.port}/**", secret: API_KEY }
  refused: { match: "https://refused.test/**", secret: API_KEY }
upstream:
  ca: ./ca.pem
  connect:
    "api.test:443": "${upstream.address}"
    "basic.test:443": "${upstream.address}"
    "nokey.test:443": "${upstream.address}"
    "untrusted.test:443": "${upstream.address}"
    "refused.test:443": "127.0.0.1:9"
`,
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
  await plain.close();
});

const tunnel = (): Promise<RawConnection> => openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);

/** One request on a connection of its own. */
const ask = async (bytes: string, method = "GET") => {
  const connection = await tunnel();
  connection.send(bytes);
  const response = await connection.receive(method);
  connection.destroy();
  expect(connection.transcript.includes(CANARY)).toBe(false);
  return response;
};

const expectRefusal = (response: Awaited<ReturnType<typeof ask>>, status: number, code: string): void => {
  expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([status, [code]]);
  const { error } = JSON.parse(String(response.body)) as { error: Record<string, string> };
  expect(Object.keys(error)).toEqual(["code", "message", "request_id", "hint"]);
  expect(error["code"]).toBe(code);
};

const recordsOf = async (path: string) => {
  const records = await sidecar.audit();
  const ids = new Set(records.filter((record) => record["path"] === path).map((record) => record["request_id"]));
  return records.filter((record) => ids.has(record["request_id"]));
};

describe("an intercepted call", () => {
  it("leaves with the key, without the agent's own copies, and is on record before and after", async () => {
    const response = await ask(get("/first?q=1", "authorization: mine\r\nAUTHORIZATION: too\r\nX-Keep: yes\r\n"));
    expect([response.status, String(response.body)]).toEqual([200, "GET /first?q=1"]);
    const received = upstream.requests.find(({ path }) => path === "/first?q=1");
    expect(received?.header("authorization")).toEqual([`Bearer ${CANARY}`]);
    expect(received?.header("x-keep")).toEqual(["yes"]);
    expect(received?.header("host")).toEqual(["api.test"]);
    expect(received?.servername).toBe("api.test");
    await expect.poll(() => recordsOf("/first")).toHaveLength(2);
    const [intent, outcome] = await recordsOf("/first");
    expect(intent).toMatchObject({
      type: "intent",
      agent: "tester",
      route: "api",
      secret: "env:API_KEY",
      method: "GET",
      scheme: "https",
      authority: "api.test:443",
      path: "/first",
      decision: "inject",
    });
    expect(outcome).toMatchObject({ type: "outcome", status: 200, outcome: "ok", bytes_down: 14 });
  });

  it("sends Basic from a user:password secret", async () => {
    const connection = await openTlsTunnel(sidecar.port, "basic.test:443", sidecar.ca);
    connection.send("GET /basic HTTP/1.1\r\nHost: basic.test\r\n\r\n");
    await connection.receive();
    connection.destroy();
    const received = upstream.requests.find(({ path }) => path === "/basic");
    expect(received?.header("authorization")).toEqual([`Basic ${btoa(`user:${CANARY}`)}`]);
  });

  it("carries bodies framed by length and by chunks, byte for byte", async () => {
    await ask("POST /sized HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello", "POST");
    const connection = await tunnel();
    connection.send("POST /chunked HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n");
    // The rest comes once the first part is through: nothing waits for the whole body.
    await expect.poll(() => upstream.requests.find(({ path }) => path === "/chunked")?.body.length).toBe(3);
    connection.send("2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n");
    await connection.receive();
    connection.destroy();
    const sized = upstream.requests.find(({ path }) => path === "/sized");
    const chunked = upstream.requests.find(({ path }) => path === "/chunked");
    expect([String(sized?.body), sized?.header("content-length")]).toEqual(["hello", ["5"]]);
    expect([String(chunked?.body), chunked?.header("transfer-encoding")]).toEqual(["abcde", ["chunked"]]);
    await expect.poll(async () => (await recordsOf("/chunked")).at(-1)).toMatchObject({ bytes_up: 5 });
  });

  it("carries an empty chunked body, and one that arrives all at once, larger than any buffer", async () => {
    const connection = await tunnel();
    connection.send("POST /empty HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect((await connection.receive()).status).toBe(200);
    for (const size of [70_000, 1_000_000]) {
      connection.send(
        `POST /big${size} HTTP/1.1\r\nHost: api.test\r\nContent-Length: ${size}\r\n\r\n${"x".repeat(size)}`,
      );
      expect((await connection.receive()).status).toBe(200);
      expect(upstream.requests.find(({ path }) => path === `/big${size}`)?.body.length).toBe(size);
    }
    connection.destroy();
  });

  it("answers 204 and HEAD without a body and keeps the connection", async () => {
    const connection = await tunnel();
    connection.send(get("/204"));
    expect((await connection.receive()).status).toBe(204);
    connection.send("HEAD /head HTTP/1.1\r\nHost: api.test\r\n\r\n");
    expect((await connection.receive("HEAD")).status).toBe(200);
    connection.send(get("/after"));
    expect(String((await connection.receive()).body)).toBe("GET /after");
    connection.destroy();
  });

  it("takes pipelined requests one after the other", async () => {
    const connection = await tunnel();
    connection.send(get("/p1") + get("/p2") + get("/p3"));
    for (const path of ["/p1", "/p2", "/p3"]) expect(String((await connection.receive()).body)).toBe(`GET ${path}`);
    connection.destroy();
    const order = (await sidecar.audit()).filter(({ path }) => ["/p1", "/p2", "/p3"].includes(String(path)));
    expect(order.map(({ path }) => path)).toEqual(["/p1", "/p2", "/p3"]);
  });

  it("answers Expect: 100-continue itself and forwards none", async () => {
    const connection = await tunnel();
    connection.send("POST /expect HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect((await connection.receive()).status).toBe(100);
    connection.send("ok");
    expect((await connection.receive()).status).toBe(200);
    connection.destroy();
    const received = upstream.requests.find(({ path }) => path === "/expect");
    expect([received?.header("expect"), String(received?.body)]).toEqual([[], "ok"]);
  });

  it("goes in cleartext only to loopback that the file names as http://", async () => {
    const connection = await openConnection(sidecar.port);
    const host = `127.0.0.1:${plain.port}`;
    connection.send(`GET http://${host}/clear HTTP/1.1\r\nHost: ${host}\r\nProxy-Authorization: x\r\n\r\n`);
    expect((await connection.receive()).status).toBe(200);
    connection.destroy();
    expect(plain.requests[0]?.header("authorization")).toEqual([`Bearer ${CANARY}`]);
    expect(plain.requests[0]?.header("proxy-authorization")).toEqual([]);
  });
});

describe("what comes back", () => {
  it("holds the key in no header and no body, literal or base64, and cookies stay behind", async () => {
    const response = await ask(get("/echo"));
    expect(response.headers.get("x-echo")?.[0]).toMatch(/^got Bearer \[redacted\]\**$/);
    expect(response.headers.has("set-cookie")).toBe(false);
    expect(String(response.body)).toContain("[redacted]");
    expect(String(response.body)).not.toContain(btoa(`x${CANARY}y`).slice(4, -4));
    await expect.poll(async () => (await recordsOf("/echo")).at(-1)).toMatchObject({ reflected: 3 });
  });

  it("is withheld when its coding cannot be read", async () => {
    expectRefusal(await ask(get("/gzip")), 502, "UPSTREAM_UNDECODABLE");
  });

  it("is cut, never ended, when the upstream breaks off", async () => {
    const connection = await tunnel();
    connection.send(get("/half"));
    await expect(connection.receive()).rejects.toThrow("connection ended");
    await expect
      .poll(async () => (await recordsOf("/half")).at(-1))
      .toMatchObject({ outcome: "upstream_aborted", status: 200 });
  });

  it("is no proxy challenge of the upstream", async () => {
    expectRefusal(await ask(get("/407")), 502, "UPSTREAM_BAD_RESPONSE");
  });
});

describe("a refusal", () => {
  const untouched = async (act: () => Promise<void>): Promise<void> => {
    const before = upstream.requests.length;
    await act();
    expect(upstream.requests.length).toBe(before);
  };

  it("of a host that no route names is the CONNECT's own answer", () =>
    untouched(async () => {
      const { response } = await openTunnel(sidecar.port, "evil.test:443");
      expectRefusal(response, 403, "POLICY_NO_ROUTE");
      expect((await sidecar.audit()).at(-1)).toMatchObject({
        type: "refusal",
        method: "CONNECT",
        authority: "evil.test:443",
        code: "POLICY_NO_ROUTE",
        decision: "deny",
      });
    }));

  it.each([
    ["deny by method", "DELETE /x HTTP/1.1\r\nHost: api.test\r\n\r\n", 403, "POLICY_DENIED"],
    ["deny by path", get("/forbidden/x"), 403, "POLICY_DENIED"],
    ["another spelling of a denied path", get("/%66orbidden/x"), 403, "POLICY_DENIED"],
    ["dot segments", get("/a/../forbidden/x"), 400, "INGRESS_BAD_REQUEST"],
    ["TRACE", "TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n", 405, "INGRESS_METHOD_REFUSED"],
    ["another Host", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421, "INGRESS_AUTHORITY_MISMATCH"],
    [
      "another absolute target",
      "GET https://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
      421,
      "INGRESS_AUTHORITY_MISMATCH",
    ],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n", 400, "INGRESS_BAD_REQUEST"],
    ["websocket", get("/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 501, "INGRESS_UPGRADE_UNSUPPORTED"],
    ["garbage", "NOT HTTP\r\n\r\n", 400, "INGRESS_BAD_REQUEST"],
    ["a bad Expect", get("/", "Expect: 200-ok\r\n"), 417, "INGRESS_EXPECTATION"],
  ])("for %s sends nothing", (_name, bytes, status, code) =>
    untouched(async () => expectRefusal(await ask(bytes), status, code)),
  );

  it("comes when the TLS name is not the CONNECT's", () =>
    untouched(async () => {
      const connection = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca, { servername: "evil.test" });
      connection.send(get("/"));
      expectRefusal(await connection.receive(), 421, "INGRESS_AUTHORITY_MISMATCH");
      connection.destroy();
    }));

  it("comes when there is no secret", () =>
    untouched(async () => {
      const connection = await openTlsTunnel(sidecar.port, "nokey.test:443", sidecar.ca);
      connection.send("GET / HTTP/1.1\r\nHost: nokey.test\r\n\r\n");
      expectRefusal(await connection.receive(), 503, "SOURCE_SECRET_MISSING");
      connection.destroy();
    }));

  it("comes before any byte when the upstream's certificate is for another name", () =>
    untouched(async () => {
      const connection = await openTlsTunnel(sidecar.port, "untrusted.test:443", sidecar.ca);
      connection.send("GET / HTTP/1.1\r\nHost: untrusted.test\r\n\r\n");
      expectRefusal(await connection.receive(), 502, "TLS_UPSTREAM_UNTRUSTED");
      connection.destroy();
    }));

  it("tells an unreachable upstream from one that resets", async () => {
    const connection = await openTlsTunnel(sidecar.port, "refused.test:443", sidecar.ca);
    connection.send("GET / HTTP/1.1\r\nHost: refused.test\r\n\r\n");
    expectRefusal(await connection.receive(), 502, "UPSTREAM_UNREACHABLE");
    connection.destroy();
    expectRefusal(await ask(get("/reset")), 502, "UPSTREAM_RESET");
  });

  it("of origin-form on the proxy port, and of cleartext to a host routed for https", async () => {
    for (const [bytes, status, code] of [
      ["GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "INGRESS_BAD_REQUEST"],
      ["GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", 403, "POLICY_NO_ROUTE"],
      ["GET http://api.test:443/ HTTP/1.1\r\nHost: api.test:443\r\n\r\n", 403, "POLICY_NO_ROUTE"],
    ] as const) {
      const connection = await openConnection(sidecar.port);
      connection.send(bytes);
      expectRefusal(await connection.receive(), status, code);
      connection.destroy();
    }
  });

  it("sends nothing of what piles up behind one in flight, and cuts a connection that goes on without end", async () => {
    const connection = await tunnel();
    connection.send(get("/hang") + get("/never").repeat(66));
    await expect.poll(() => upstream.requests.some(({ path }) => path === "/hang")).toBe(true);
    connection.send(get("/never").repeat(100_000));
    // By a reset, where something of it was on its way.
    await expect.poll(() => connection.socket.destroyed).toBe(true);
    expect(upstream.requests.filter(({ path }) => path === "/never")).toEqual([]);
  });
});

describe("an agent that leaves", () => {
  it("in a download ends the upstream's", async () => {
    const connection = await tunnel();
    connection.send(get("/endless"));
    await new Promise((resolve) => connection.socket.once("data", resolve));
    const open = upstream.open;
    connection.destroy();
    await expect.poll(() => upstream.open).toBeLessThan(open);
    await expect.poll(async () => (await recordsOf("/endless")).at(-1)).toMatchObject({ outcome: "client_aborted" });
  });

  it("while it waits for the first byte ends the upstream's too", async () => {
    const connection = await tunnel();
    connection.send(get("/hang?2"));
    await expect.poll(() => upstream.requests.some(({ path }) => path === "/hang?2")).toBe(true);
    const open = upstream.open;
    connection.destroy();
    await expect.poll(() => upstream.open).toBeLessThan(open);
  });

  it("in an upload leaves the upstream with a broken request, never a whole one", async () => {
    const connection = await tunnel();
    connection.send("POST /upload HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000\r\n\r\nhalf");
    await expect.poll(() => upstream.requests.find(({ path }) => path === "/upload")?.body.length).toBe(4);
    connection.destroy();
    await expect.poll(async () => (await recordsOf("/upload")).at(-1)).toMatchObject({ outcome: "client_aborted" });
  });
});
