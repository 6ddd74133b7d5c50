/** `upstream.proxy`: everything goes by CONNECT through the operator's proxy, and the proxy sees no more than that. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { type ConnectProxy, startConnectProxy } from "../support/connect-proxy.ts";
import { choosePort } from "../support/ports.ts";
import { openConnection, openTlsTunnel, openTunnel } from "../support/raw-client.ts";
import { type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const CANARY = "canary-5a3de1907cb84f26";
const PASSWORD = "proxy-pass:word%1";
const AUTHORIZATION = `Basic ${btoa(`corp user:${PASSWORD}`)}`;

let authority: TestAuthority;
let upstream: RawUpstream;
let direct: RawUpstream;
let plain: RawUpstream;
let greeter: ReturnType<typeof createServer>;
let greeterPort = 0;
let proxy: ConnectProxy;
let sidecar: TestSidecar;
const asked: string[] = [];

const respond = (body: string) => (_request: unknown, peer: { send(bytes: string): Promise<void> }) =>
  peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);

const startSidecar = (proxyYaml: string, more: Partial<Parameters<typeof startTestSidecar>[0]> = {}) =>
  startTestSidecar({
    environment: { KEY: CANARY, PROXY_PASSWORD: PASSWORD, ...more.environment },
    files: { "ca.pem": authority.certificatePem, "proxy-password": `${PASSWORD}\n` },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
unmatched: tunnel
egress: { allow: [127.0.0.1/32] }
routes:
  api.test: KEY
  wrong.test: KEY
  slow: { match: "https://slow.test/**", secret: KEY, timeouts: { connect: 1s } }
  direct.test: KEY
  localhost: KEY
  foo.localhost: KEY
  metadata.google.internal: KEY
  literal: { match: "https://127.0.0.1:${upstream.port}/**", secret: KEY }
  metadata: { match: "https://169.254.169.254/**", secret: KEY }
  clear-name: { match: "http://clear.test/**", secret: KEY, cleartext: true }
  clear-open: { match: "http://127.0.0.1:${plain.port}/**", secret: KEY, cleartext: true }
  clear-shut: { match: "http://127.0.0.2:${plain.port}/**", secret: KEY }
upstream:
  ca: ./ca.pem
  connect: { "direct.test:443": "${direct.address}" }
  proxy: ${proxyYaml}
`,
    start: {
      resolve: (name, _options, done) => {
        asked.push(name);
        if (name === "corp-proxy.test") done(null, [{ address: "127.0.0.1", family: 4 }]);
        else done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
      },
    },
  });

beforeAll(async () => {
  authority = await createTestAuthority();
  const tls = await authority.issue({ names: ["api.test", "direct.test", "slow.test"], ips: ["127.0.0.1"] });
  upstream = await startRawUpstream({ tls, script: respond("by the proxy") });
  direct = await startRawUpstream({ tls, script: respond("direct") });
  plain = await startRawUpstream({ script: respond("clear") });
  greeter = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write("220 hello\r\n");
    socket.on("data", (chunk) => socket.end(`echo ${chunk}`));
  });
  await new Promise<void>((resolve) => greeter.listen(0, "127.0.0.1", resolve));
  const address = greeter.address();
  greeterPort = typeof address === "object" ? (address?.port ?? 0) : 0;
  proxy = await startConnectProxy({
    "api.test:443": upstream.address,
    "wrong.test:443": upstream.address,
    "slow.test:443": upstream.address,
    "clear.test:80": plain.address,
    "other.test:80": plain.address,
    "greeter.test:2525": `127.0.0.1:${greeterPort}`,
  });
  sidecar = await startSidecar(`http://corp-proxy.test:${proxy.port}`);
});

afterAll(async () => {
  await sidecar.close();
  await Promise.all([proxy.close(), upstream.close(), direct.close(), plain.close()]);
  greeter.close();
});

afterEach(() => {
  proxy.answer = undefined;
  proxy.authorization = undefined;
});

const ask = async (host: string, target = sidecar) => {
  const connection = await openTlsTunnel(target.port, host, target.ca);
  connection.send(`GET /x HTTP/1.1\r\nHost: ${host.replace(/:443$/, "")}\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  expect(connection.transcript.includes(CANARY)).toBe(false);
  return [response.status, response.headers.get("x-sidekey-error")?.[0] ?? String(response.body)];
};

const askClear = async (url: string, target = sidecar) => {
  const connection = await openConnection(target.port);
  const host = /^http:\/\/([^/]+)/.exec(url)?.[1] ?? "";
  connection.send(`GET ${url} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return [response.status, response.headers.get("x-sidekey-error")?.[0] ?? String(response.body)];
};

describe("through the proxy", () => {
  it("a call leaves inside TLS for the upstream, and the proxy sees a plain CONNECT", async () => {
    expect(await ask("api.test:443")).toEqual([200, "by the proxy"]);
    expect(proxy.heads.at(-1)).toBe("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443");
    expect(upstream.requests.at(-1)?.head).toContain(`Authorization: Bearer ${CANARY}`);
    expect(proxy.transcript().includes(CANARY)).toBe(false);
  });

  it("names are resolved by the proxy: the sidecar asks for the proxy's own alone", () => {
    expect(new Set(asked)).toEqual(new Set(["corp-proxy.test"]));
  });

  it("a connection is kept for the next call", async () => {
    const before = proxy.heads.length;
    await ask("api.test:443");
    await ask("api.test:443");
    expect(proxy.heads.length - before).toBeLessThanOrEqual(1);
  });

  it("the certificate must hold for the authority all the same", async () => {
    const before = upstream.requests.length;
    expect(await ask("wrong.test:443")).toEqual([502, "TLS_UPSTREAM_UNTRUSTED"]);
    expect(upstream.requests.length).toBe(before);
  });

  it("an address that the file writes is reached", async () => {
    expect(await ask(`127.0.0.1:${upstream.port}`)).toEqual([200, "by the proxy"]);
  });

  it("a host that no route names is tunnelled, and may speak first", async () => {
    const { response, connection } = await openTunnel(sidecar.port, "greeter.test:2525");
    expect(response.status).toBe(200);
    await expect.poll(() => connection.transcript.toString()).toContain("220 hello\r\n");
    connection.send("helo");
    await expect.poll(() => connection.transcript.toString()).toContain("echo helo");
    connection.destroy();
  });

  it("cleartext that carries no key goes by CONNECT too", async () => {
    expect(await askClear("http://other.test/x")).toEqual([200, "clear"]);
    expect(proxy.heads.at(-1)).toBe("CONNECT other.test:80 HTTP/1.1\r\nHost: other.test:80");
  });

  it("upstream.connect goes around the proxy", async () => {
    const before = proxy.heads.length;
    expect(await ask("direct.test:443")).toEqual([200, "direct"]);
    expect(proxy.heads.length).toBe(before);
  });
});

describe("with 'env'", () => {
  it("the environment names the proxy, and what goes around it", async () => {
    const other = await startSidecar("env", {
      environment: {
        KEY: CANARY,
        HTTPS_PROXY: `http://corp-proxy.test:${proxy.port}`,
        NO_PROXY: "localhost, around.test, 127.0.0.1",
      },
    });
    try {
      expect(await ask("api.test:443", other)).toEqual([200, "by the proxy"]);
      const before = proxy.heads.length;
      expect(await ask(`127.0.0.1:${upstream.port}`, other)).toEqual([200, "by the proxy"]);
      expect(await ask("localhost:443", other)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
      expect(proxy.heads.length).toBe(before);
    } finally {
      await other.close();
    }
  });
});

describe("the guard still judges what can be judged, before the proxy hears of it", () => {
  it.each([
    ["localhost:443", "POLICY_ADDRESS"],
    ["foo.localhost:443", "POLICY_ADDRESS"],
    ["metadata.google.internal:443", "POLICY_ADDRESS"],
    ["169.254.169.254:443", "POLICY_ADDRESS"],
  ])("%s", async (host, code) => {
    const before = proxy.heads.length;
    expect(await ask(host)).toEqual([403, code]);
    expect(proxy.heads.length).toBe(before);
  });

  it.each(["10.0.0.1:443", "169.254.169.254:80", "[::1]:443", "[fd00:ec2::254]:443", "localhost:22"])(
    "a tunnel to %s",
    async (host) => {
      const before = proxy.heads.length;
      const { response } = await openTunnel(sidecar.port, host);
      expect(response.status).toBe(403);
      expect(proxy.heads.length).toBe(before);
    },
  );

  it("a key in cleartext goes to an opened address alone", async () => {
    expect(await askClear("http://clear.test/x")).toEqual([403, "POLICY_CLEARTEXT"]);
    expect(await askClear(`http://127.0.0.2:${plain.port}/x`)).toEqual([403, "POLICY_CLEARTEXT"]);
    expect(plain.transcript().includes(CANARY)).toBe(false);
    expect(await askClear(`http://127.0.0.1:${plain.port}/x`)).toEqual([200, "clear"]);
  });
});

const send = (bytes: string) => (socket: Socket) => void socket.write(bytes);

describe("an answer that is no plain 200", () => {
  it.each<readonly [string, (socket: Socket) => void]>([
    ["407", send("HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic\r\n\r\n")],
    ["403", send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")],
    ["204", send("HTTP/1.1 204 No Content\r\n\r\n")],
    ["301", send("HTTP/1.1 301 Moved\r\nLocation: http://evil.test\r\n\r\n")],
    ["502", send("HTTP/1.1 502 Bad Gateway\r\n\r\n")],
    ["100 before it", send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")],
    ["HTTP/2", send("HTTP/2 200\r\n\r\n")],
    ["four digits", send("HTTP/1.1 2000 OK\r\n\r\n")],
    ["two spaces", send("HTTP/1.1  200 OK\r\n\r\n")],
    ["another protocol", send("SSH-2.0-x\r\n\r\n")],
    ["a line without colon", send("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n")],
    ["a folded line", send("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n")],
    ["a NUL", send("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n")],
    ["a bare LF", send("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n")],
    ["bytes behind it", send("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
    ["a head without end", send(`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(4000)}`)],
    ["a long head", send(`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(4000)}\r\n`)],
    ["the end", (socket) => void socket.end()],
    ["half and the end", (socket) => void socket.end("HTTP/1.1 200 OK\r\n")],
    ["a reset", (socket) => void socket.resetAndDestroy()],
  ])("(%s) is an upstream out of reach", async (_name, answer) => {
    const before = proxy.open;
    proxy.answer = answer;
    expect(await ask("slow.test:443")).toEqual([502, "UPSTREAM_UNREACHABLE"]);
    await expect.poll(() => proxy.open).toBeLessThanOrEqual(before);
  });

  it("at all is 504", async () => {
    proxy.answer = () => undefined;
    expect(await ask("slow.test:443")).toEqual([504, "UPSTREAM_TIMEOUT"]);
  });

  it("to a tunnel is the CONNECT's own refusal", async () => {
    proxy.answer = send("HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=secret\r\n\r\n");
    const { response } = await openTunnel(sidecar.port, "greeter.test:2525");
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_UNREACHABLE"]]);
    expect(response.headers.has("proxy-authenticate")).toBe(false);
  });

  it.each(["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])(
    "but one as sparse as %j will do",
    async (head) => {
      proxy.answer = (socket) => {
        socket.write(head);
        socket.destroySoon();
      };
      // The tunnel opened, and then TLS found nobody.
      expect(await ask("slow.test:443")).toEqual([502, expect.stringMatching(/UPSTREAM_UNREACHABLE|TLS_UPSTREAM/)]);
    },
  );
});

describe("a proxy that asks for a password", () => {
  it.each([
    [
      "from a variable",
      (port: number) => `{ url: "http://127.0.0.1:${port}", username: corp user, password: { env: PROXY_PASSWORD } }`,
      {},
    ],
    [
      "from a file",
      (port: number) => `{ url: "http://127.0.0.1:${port}/", username: corp user, password: { file: proxy-password } }`,
      {},
    ],
    ["inside a URL in a variable", () => "{ env: CORP_PROXY }", undefined],
  ])("gets it %s, and nobody else does", async (_how, yaml, environment) => {
    proxy.authorization = AUTHORIZATION;
    const url = `http://corp%20user:${encodeURIComponent(PASSWORD)}@127.0.0.1:${proxy.port}`;
    const other = await startSidecar(yaml(proxy.port), { environment: environment ?? { CORP_PROXY: url } });
    const before = upstream.transcript().length;
    expect(await ask("api.test:443", other)).toEqual([200, "by the proxy"]);
    expect(proxy.heads.at(-1)).toContain(`\r\nProxy-Authorization: ${AUTHORIZATION}`);
    expect(upstream.transcript().subarray(before).toString("latin1").toLowerCase()).not.toContain("proxy-");
    proxy.authorization = "Basic another";
    expect(await ask("slow.test:443", other)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
    await other.close();
  });

  it("must be told where the password lies before a port opens", async () => {
    for (const yaml of ["{ env: NOT_SET }", '{ url: "http://127.0.0.1:1", username: a, password: { env: NOT_SET } }']) {
      await expect(startSidecar(yaml)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    }
    const wrong = { CORP_PROXY: `http://user:${PASSWORD}@` };
    const failure = startSidecar("{ env: CORP_PROXY }", { environment: wrong });
    await expect(failure).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(failure).rejects.not.toThrow(PASSWORD);
  });
});

describe("a blind tunnel", () => {
  it("that breaks off on one side is reset on the other", async () => {
    const breaking = createServer((socket) => {
      socket.on("error", () => undefined).once("data", () => socket.resetAndDestroy());
    });
    await new Promise<void>((resolve) => breaking.listen(0, "127.0.0.1", resolve));
    const address = breaking.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const other = await startTestSidecar({
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
unmatched: tunnel
egress: { allow: [127.0.0.1/32] }
`,
    });
    const { response, connection } = await openTunnel(other.port, `127.0.0.1:${port}`);
    expect(response.status).toBe(200);
    const ending = new Promise((resolve) => {
      connection.socket.once("end", () => resolve("FIN"));
      connection.socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    connection.send("x");
    expect(await ending).toBe("ECONNRESET");
    await other.close();
    breaking.close();
  });
});

describe("a proxy that is not there", () => {
  it("is 502", async () => {
    const other = await startSidecar("http://127.0.0.1:9");
    expect(await ask("api.test:443", other)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
    await other.close();
  });

  it("because it is this sidecar is 508", async () => {
    const port = await choosePort();
    const other = await startTestSidecar({
      environment: { KEY: CANARY },
      file: `
version: 1
listen: { proxy: "127.0.0.1:${port}" }
sources: { env: { kind: env } }
routes: { api.test: KEY }
upstream: { proxy: "http://127.0.0.1:${port}" }
`,
    });
    expect(await ask("api.test:443", other)).toEqual([508, "POLICY_LOOP"]);
    await other.close();
  });
});

const installed = (program: string): boolean => {
  try {
    execFileSync("which", [program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

describe.runIf(installed("tinyproxy"))("tinyproxy", () => {
  it("carries the same calls, with a password", async () => {
    const directory = await mkdtemp(join(tmpdir(), "sidekey-tinyproxy-"));
    const port = await choosePort();
    const file = join(directory, "tinyproxy.conf");
    await writeFile(
      file,
      `Port ${port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nBasicAuth corp secret123\nLogFile "${directory}/log"\n`,
    );
    const child = spawn("tinyproxy", ["-d", "-c", file], { stdio: "ignore" });
    const ended = once(child, "exit");
    try {
      await expect
        .poll(() =>
          openConnection(port).then(
            (c) => c.destroy() ?? true,
            () => false,
          ),
        )
        .toBe(true);
      const other = await startSidecar("{ env: CORP_PROXY }", {
        environment: { CORP_PROXY: `http://corp:secret123@127.0.0.1:${port}` },
      });
      expect(await ask(`127.0.0.1:${upstream.port}`, other)).toEqual([200, "by the proxy"]);
      expect(await askClear(`http://127.0.0.1:${plain.port}/x`, other)).toEqual([200, "clear"]);
      // It can't resolve that name.
      expect(await ask("api.test:443", other)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
      await other.close();
      const denied = await startSidecar(`http://127.0.0.1:${port}`);
      expect(await ask(`127.0.0.1:${upstream.port}`, denied)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
      await denied.close();
    } finally {
      child.kill();
      await ended;
      await rm(directory, { recursive: true, force: true });
    }
  });
});
