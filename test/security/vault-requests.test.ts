/** What is sent to a vault's server to confuse it: paths, bodies, headers, methods, slowness. It says 4xx, in its own words, and goes on. */
import { connect } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { openConnection } from "../support/raw-client.ts";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

const CANARY = "sk-canary-9d2c7a51e0b84f36";

const portOf = (vault: TestVault): number => Number(new URL(vault.url).port);

/** The bytes as they are, and the answer to them. */
const raw = async (vault: TestVault, text: string) => {
  const connection = await openConnection(portOf(vault));
  onTestFinished(() => connection.destroy());
  connection.send(text);
  return connection.receive();
};

const get = (vault: TestVault, target: string, headers = ""): Promise<{ status: number; body: Buffer }> =>
  raw(vault, `GET ${target} HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer ${vault.operatorKey}\r\n${headers}\r\n`);

const stillServes = async (vault: TestVault): Promise<void> => {
  expect((await vault.call("GET", "/v1/health", { as: null })).status).toBe(200);
};

const send = (vault: TestVault, text: string, headers: Record<string, string> = {}) =>
  fetch(`${vault.url}/v1/secrets/a/x`, {
    method: "PUT",
    headers: { authorization: `Bearer ${vault.operatorKey}`, "content-type": "application/json", ...headers },
    body: text,
  });

describe("a path", () => {
  it("that could mean two things is refused, and none reaches another secret", async () => {
    const vault = await startTestVault();
    await vault.call("PUT", "/v1/secrets/a/x", { body: { value: CANARY } });
    const tricks = [
      "/v1/secrets/b/../a/x",
      "/v1/secrets/b/%2e%2e/a/x",
      "/v1/secrets/b/.%2E/a/x",
      "/v1/secrets/a/./x",
      "/v1/secrets/a/%2e/x",
      "/v1/secrets/a//x",
      "/v1/secrets//a/x",
      "/v1/secrets/a%2F%2Fx",
      "/v1/secrets/a%2F..%2Fa%2Fx",
      "/v1//secrets/a/x",
      "//v1/secrets/a/x",
      "/v1/secrets/a/x%00",
      "/v1/secrets/a%00/x",
      "/v1/secrets/a/x%0d%0aX:y",
      "/v1/secrets/a/x%20",
      "/v1/secrets/a/x%",
      "/v1/secrets/a/x%2",
      "/v1/secrets/a/x%zz",
      "/v1/secrets/a%252Fx",
      "/v1/secrets/a/x%25",
      "/v1/secrets/a%5Cx",
      "/v1/secrets/a\\x",
      "/v1/secrets/a/x;y=1",
      "/v1/secrets/a/x#y",
      "/v1/secrets/a/%c3%a9",
      "/v1/secrets/a/%ff",
      "/v1/secrets/a/%u0078",
      "/v1/secrets/a/x/",
      "/v1/secrets/",
      "/v1/../v1/secrets/a/x",
      "http://v/v1/secrets/a/x",
      "http://evil/v1/secrets/a/x",
      "*",
      "/v1/tokens/..%2Fsecrets",
    ];
    for (const target of tricks) {
      const { status, body } = await get(vault, target);
      expect([target, status === 400 || status === 404, body.includes(CANARY)]).toEqual([target, true, false]);
    }
    expect((await get(vault, `/v1/secrets/${"a/".repeat(5000)}x`)).status).toBe(414);
    expect((await get(vault, `/v1/secrets/a/${"x".repeat(2000)}`)).status).toBe(400);
    expect((await get(vault, "/v1/secrets/%61/%78")).body.toString()).toContain(CANARY);
    await stillServes(vault);
  });

  it("is of one case, and nothing answers beside what is documented", async () => {
    const vault = await startTestVault();
    for (const target of [
      "/V1/health",
      "/v1/Health",
      "/",
      "/v1",
      "/metrics",
      "/documentation",
      "/v1/secrets/a/x/rotate/y/z",
    ]) {
      expect([target, (await get(vault, target)).status]).toEqual([target, 404]);
    }
  });
});

describe("a method", () => {
  it("that a path has not is 405 with those that it has, OPTIONS and HEAD included", async () => {
    const vault = await startTestVault();
    for (const method of ["OPTIONS", "HEAD", "POST", "TRACE", "PROPFIND", "QUERY"]) {
      const text = `${method} /v1/secrets/a/x HTTP/1.1\r\nHost: v\r\nOrigin-Of: x\r\nContent-Length: 0\r\n\r\n`;
      const connection = await openConnection(portOf(vault));
      connection.send(text);
      const { status, headers } = await connection.receive(method);
      connection.destroy();
      expect([method, status, headers.get("access-control-allow-origin")]).toEqual([method, 405, undefined]);
      expect(headers.get("allow")?.[0]?.split(", ").sort()).toEqual(["DELETE", "GET", "PATCH", "PUT"]);
    }
    await stillServes(vault);
  });
});

describe("a browser", () => {
  it("that speaks for another site is refused before it is asked who it is, and gets no CORS header", async () => {
    const vault = await startTestVault();
    for (const headers of [
      "Origin: https://evil.test\r\n",
      "Origin: null\r\n",
      "Sec-Fetch-Site: cross-site\r\n",
      "Sec-Fetch-Site: same-site\r\n",
    ]) {
      const { status, body } = await get(vault, "/v1/secrets", headers);
      expect([headers, status, body.toString()]).toEqual([headers, 403, expect.stringContaining("ORIGIN_DENIED")]);
    }
    const answer = await raw(vault, "GET /v1/health HTTP/1.1\r\nHost: v\r\n\r\n");
    expect(answer.status).toBe(200);
    const names = [...answer.headers.keys()];
    expect(
      names.filter((name) => name.startsWith("access-control") || name === "server" || name === "x-powered-by"),
    ).toEqual([]);
    expect(answer.headers.get("cache-control")).toEqual(["no-store"]);
    expect(answer.headers.get("x-content-type-options")).toEqual(["nosniff"]);
  });
});

describe("a body", () => {
  it("that is not one JSON value with one meaning is refused, and no answer quotes it", async () => {
    const vault = await startTestVault();
    const bad = [
      `{"value":"${CANARY}"`,
      `{"value":"${CANARY}","value":"other"}`,
      `{"value":"${CANARY}","v\\u0061lue":"other"}`,
      `{"value":"${CANARY}","metadata":{"a":1,"a":2}}`,
      `{"value":"${CANARY}","__proto__":{"admin":true}}`,
      `{"value":"${CANARY}","metadata":{"__proto__":{"x":1}}}`,
      `{"value":"${CANARY}","metadata":{"constructor":{"prototype":{"x":1}}}}`,
      `{"value":"${CANARY}","metadata":${'{"a":'.repeat(40)}1${"}".repeat(40)}}`,
      `{"value":"${CANARY}","metadata":${"[".repeat(5000)}${"]".repeat(5000)}}`,
      `${"[".repeat(100_000)}`,
      `{"value":"${CANARY}\\u0000"}`,
      `{"value":"${CANARY}\\n${CANARY}"}`,
      `{"value":["${CANARY}"]}`,
      `{"value":"${CANARY}","${CANARY}":1}`,
      `{"value":"${CANARY}","secret_type":"${CANARY}"}`,
      `{"value":"${CANARY}","hosts":["${CANARY}/x"]}`,
      `{"value":"${CANARY}","expires_at":"${CANARY}"}`,
      `{"value":""}`,
      `{"value":"${"x".repeat(70_000)}"}`,
      `"${CANARY}"`,
      `[]`,
      `null`,
      `NaN`,
      `\ufeff{"value":"${CANARY}"}`,
      `{"value":"${CANARY}"}{"value":"b"}`,
    ];
    for (const text of bad) {
      const answer = await send(vault, text);
      const answered = await answer.text();
      expect([text.slice(0, 80), answer.status, answered.includes("canary")]).toEqual([text.slice(0, 80), 400, false]);
    }
    expect(Object.hasOwn(Object.prototype, "admin") || Object.hasOwn(Object.prototype, "x")).toBe(false);
    expect((await vault.call("GET", "/v1/secrets")).json.total).toBe(0);
    expect(JSON.stringify(vault.audit())).not.toContain("canary");
    expect(
      (await send(vault, `{"value":"${CANARY}","metadata":{"to_string":"fine","a":{"b":[1,2,{"c":null}]}}}`)).status,
    ).toBe(201);
  });

  it("of another kind, coding or size is refused", async () => {
    const vault = await startTestVault({ yaml: "limits: { body: 4KiB }\n" });
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/xml",
      "json",
    ]) {
      expect([type, (await send(vault, "{}", { "content-type": type })).status]).toEqual([type, 415]);
    }
    const big = await send(vault, JSON.stringify({ value: "x".repeat(5000) }));
    expect([big.status, JSON.parse(await big.text()).error.code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
    const auth = `Authorization: Bearer ${vault.operatorKey}\r\nContent-Type: application/json\r\n`;
    const chunked = await raw(
      vault,
      `PUT /v1/secrets/a/x HTTP/1.1\r\nHost: v\r\n${auth}Transfer-Encoding: chunked\r\n\r\n1400\r\n${"x".repeat(0x1400)}\r\n0\r\n\r\n`,
    );
    expect(chunked.status).toBe(413);
    const announced = await raw(
      vault,
      `PUT /v1/secrets/a/x HTTP/1.1\r\nHost: v\r\n${auth}Content-Length: 99999999\r\n\r\n`,
    );
    expect(announced.status).toBe(413);
    const bytes = Buffer.concat([Buffer.from('{"value":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
    const answer = await fetch(`${vault.url}/v1/secrets/a/x`, {
      method: "PUT",
      headers: { authorization: `Bearer ${vault.operatorKey}`, "content-type": "application/json" },
      body: bytes,
    });
    expect(answer.status).toBe(400);
    await stillServes(vault);
  });
});

describe("headers", () => {
  it("that are too many, too large or no headers are refused, each with a reason", async () => {
    const vault = await startTestVault();
    expect((await get(vault, "/v1/me", `X-Big: ${"x".repeat(20_000)}\r\n`)).status).toBe(431);
    expect((await get(vault, "/v1/me", Array.from({ length: 300 }, (_, at) => `X-${at}: y\r\n`).join(""))).status).toBe(
      431,
    );
    for (const text of [
      "GET /v1/me HTTP/1.1\r\n\r\n",
      "GET /v1/me\r\n\r\n",
      "\x16\x03\x01\x00\x05hello\r\n\r\n",
      "GET /v1/me HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    ]) {
      const { status, body } = await raw(vault, text);
      expect([text.slice(0, 20), status]).toEqual([text.slice(0, 20), 400]);
      if (body.length > 0) expect(JSON.parse(body.toString()).error.code).toBe("VALIDATION_ERROR");
    }
    await stillServes(vault);
  });

  it("name the request only where the name is harmless", async () => {
    const vault = await startTestVault();
    const idOf = async (id: string): Promise<string | null> =>
      (await vault.call("GET", "/v1/health", { as: null, headers: { "x-request-id": id } })).headers.get(
        "x-request-id",
      );
    expect(await idOf("abc.DEF-1_2")).toBe("abc.DEF-1_2");
    for (const id of ["a b", "x".repeat(65), "<script>", "é"])
      expect(await idOf(id).catch(() => "refused")).not.toBe(id);
  });
});

describe("a slow client", () => {
  it("is closed when its headers or its body do not come, and holds nobody up", async () => {
    const vault = await startTestVault({ sockets: { headersTimeout: 400, requestTimeout: 800 } });
    const slow = Array.from({ length: 50 }, (_, at) => {
      const socket = connect(portOf(vault), "127.0.0.1");
      socket.on("error", () => {});
      onTestFinished(() => void socket.destroy());
      socket.write(
        at % 2 === 0
          ? "GET /v1/me HTTP/1.1\r\nHost: v\r\nX-"
          : `PUT /v1/secrets/a/x HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer ${vault.operatorKey}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{`,
      );
      const state = { isOver: false, text: "" };
      socket.on("data", (chunk) => {
        state.text += String(chunk);
      });
      socket.on("close", () => {
        state.isOver = true;
      });
      return state;
    });
    await stillServes(vault);
    await expect.poll(() => slow.every(({ isOver }) => isOver)).toBe(true);
    for (const { text } of slow) if (text !== "") expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect((await vault.call("GET", "/v1/secrets")).json.total).toBe(0);
  });

  it("that is refused and never ends its own side gives its place back", async () => {
    const vault = await startTestVault({ yaml: "limits: { connections: 3 }\n" });
    const sockets = Array.from({ length: 3 }, () => {
      const socket = connect({ port: portOf(vault), host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      onTestFinished(() => void socket.destroy());
      socket.write("no request at all\r\n\r\n");
      return socket;
    });
    await expect.poll(() => sockets.every(({ bytesRead }) => bytesRead > 0)).toBe(true);
    await expect
      .poll(async () => (await vault.call("GET", "/v1/health", { as: null }).catch(() => ({ status: 0 }))).status)
      .toBe(200);
  });

  it("takes no more connections than one address may have, and leaves the others to the others", async () => {
    const vault = await startTestVault({ yaml: "limits: { connections: 8, connections_per_address: 3 }\n" });
    const closed: string[] = [];
    const open = (localAddress: string) => {
      const socket = connect({ port: portOf(vault), host: "127.0.0.1", localAddress });
      socket.on("error", () => {});
      socket.on("close", () => closed.push(localAddress));
      onTestFinished(() => void socket.destroy());
      return socket;
    };
    const greedy = Array.from({ length: 10 }, () => open("127.0.0.2"));
    await expect.poll(() => closed.length).toBe(7);
    await stillServes(vault);
    for (const socket of greedy) socket.destroy();
    await expect.poll(() => closed.length).toBe(10);
    const again = open("127.0.0.2");
    again.write("GET /v1/health HTTP/1.1\r\nHost: v\r\n\r\n");
    await expect.poll(() => again.bytesRead).toBeGreaterThan(0);
  });

  it("beyond the number of connections waits for nothing", async () => {
    const vault = await startTestVault({ yaml: "limits: { connections: 5 }\n" });
    const sockets = Array.from({ length: 20 }, () => connect(portOf(vault), "127.0.0.1"));
    let closed = 0;
    for (const socket of sockets) {
      socket.on("error", () => {});
      socket.on("close", () => {
        closed += 1;
      });
    }
    await expect.poll(() => closed).toBeGreaterThanOrEqual(15);
    for (const socket of sockets) socket.destroy();
    await expect
      .poll(async () => (await vault.call("GET", "/v1/health", { as: null }).catch(() => ({ status: 0 }))).status)
      .toBe(200);
  });
});
