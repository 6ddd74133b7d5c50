/** The admin socket and the port for probes: what they say, to whom, and that no way leads to them through the proxy (F4). */
import { once } from "node:events";
import { statSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import type { StatusReport } from "../../src/sidecar/admin/report.ts";
import { openVault } from "../../src/vault/index.ts";
import {
  openConnection,
  openTunnel,
  openUnixConnection,
  type RawConnection,
  type RawResponse,
} from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "../support/sidecar.ts";
import { startUpstream } from "../support/upstream.ts";

const CANARY = "canary-1b90de77ac35f264";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const FILE = `
version: 1
listen: { proxy: "127.0.0.1:0", gateway: "127.0.0.1:0", health: "127.0.0.1:0" }
sources: { local: { kind: local }, env: { kind: env } }
routes:
  api: { match: "https://api.test/**", secret: production/api/key }
  other: { match: "https://other.test/**", secret: "env:ABSENT" }
`;

const start = async (options: Partial<TestSidecarOptions> = {}): Promise<TestSidecar> => {
  const running = await startTestSidecar({
    file: FILE,
    prepare: (directory) =>
      withVault(directory, (vault) => vault.secrets.set("production/api/key", SecretValue.fromText(CANARY), {})),
    ...options,
  });
  closers.push(() => running.close());
  writeFileSync(join(running.directory, "sidekey.yaml"), options.file ?? FILE);
  return running;
};

const withVault = async (
  directory: string,
  use: (vault: Awaited<ReturnType<typeof openVault>>) => Promise<unknown>,
): Promise<void> => {
  const vault = await openVault({
    directory: join(directory, ".sidekey/vault"),
    keys: { file: join(directory, ".sidekey/vault.key") },
    clock: systemClock,
  });
  await use(vault);
  await vault.close();
};

const socketOf = ({ sidecar }: TestSidecar): string => sidecar.ready.admin?.replace("unix:", "") ?? "";
const healthPort = ({ sidecar }: TestSidecar): number => Number(sidecar.ready.health?.split(":").at(-1));

const exchange = async (connection: RawConnection, bytes: string, method = "GET"): Promise<RawResponse> => {
  connection.send(bytes);
  const response = await connection.receive(method);
  connection.destroy();
  return response;
};

const ask = async (running: TestSidecar, line: string, more = ""): Promise<RawResponse> =>
  exchange(
    await openUnixConnection(socketOf(running)),
    `${line} HTTP/1.1\r\nHost: x\r\n${more}\r\n`,
    line.split(" ")[0],
  );

const json = ({ body }: RawResponse): unknown => JSON.parse(body.toString());

describe("the admin socket", () => {
  it("is in the state directory, for its owner alone, and the ready line names it", async () => {
    const running = await start();
    expect(socketOf(running)).toBe(join(running.directory, ".sidekey/admin.sock"));
    expect(statSync(socketOf(running)).mode & 0o777).toBe(0o600);
  });

  it("says that it lives, and that it is ready", async () => {
    const running = await start();
    expect(json(await ask(running, "GET /healthz"))).toEqual({ status: "ok" });
    const ready = await ask(running, "GET /readyz");
    expect([ready.status, json(ready)]).toEqual([200, { status: "ready" }]);
  });

  it("tells the state of listeners, file and secrets, and no value", async () => {
    const running = await start();
    const before = json(await ask(running, "GET /status")) as StatusReport;
    expect(before.secrets.map(({ state }) => state)).toEqual(["unused", "unused"]);
    await ask(running, "GET /readyz");
    const response = await ask(running, "GET /status");
    expect(json(response)).toEqual({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      pid: process.pid,
      uptime: expect.any(Number),
      listeners: {
        proxy: running.sidecar.ready.proxy,
        gateway: running.sidecar.ready.gateway,
        health: running.sidecar.ready.health,
        admin: running.sidecar.ready.admin,
      },
      file: join(running.directory, "sidekey.yaml"),
      generation: 1,
      secrets: [
        { reference: "local:production/api/key", routes: ["api"], version: "1", age: 0, state: "ok" },
        { reference: "env:ABSENT", routes: ["other"], version: null, age: null, state: "SOURCE_SECRET_MISSING" },
      ],
    });
    expect(response.body.toString()).not.toContain(CANARY);
  });

  it("is unready with the source's name once its token was revoked, and says so of the secret", async () => {
    const running = await start();
    await withVault(running.directory, async (vault) => {
      for (const { id } of await vault.tokens.list()) await vault.tokens.revoke(id);
    });
    const ready = await ask(running, "GET /readyz");
    expect([ready.status, json(ready)]).toEqual([503, { status: "unready", reasons: ["source:local"] }]);
    const { secrets } = json(await ask(running, "GET /status")) as StatusReport;
    expect(secrets[0]?.state).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("is unready while the audit cannot be written", async () => {
    const running = await start({ file: `${FILE}audit: { path: /dev/full, sync: never }\n` });
    expect(json(await ask(running, "GET /readyz"))).toEqual({ status: "unready", reasons: ["audit"] });
  });

  it("is unready while it drains, and answers until the last request is over", async () => {
    let answer = (): void => undefined;
    const upstream = await startUpstream({
      handler: (_request, response) => {
        answer = () => void response.end("late");
      },
    });
    closers.push(() => upstream.close());
    const running = await start({
      environment: { KEY: "x-key-1" },
      file: `${FILE}  plain: { match: "http://127.0.0.1:${upstream.port}/**", secret: "env:KEY" }\n`,
    });
    const connection = await openConnection(running.port);
    connection.send(`GET ${upstream.origin}/ HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`);
    await expect.poll(() => upstream.requests.length).toBe(1);
    const drained = running.sidecar.drain(10_000);
    const ready = await ask(running, "GET /readyz");
    expect([ready.status, json(ready)]).toEqual([503, { status: "unready", reasons: ["draining"] }]);
    const refused = await ask(running, "POST /reload");
    expect(refused.status).toBe(422);
    answer();
    expect((await connection.receive()).body.toString()).toBe("late");
    await drained;
    await expect(openUnixConnection(socketOf(running))).rejects.toThrow("ENOENT");
  });

  it("reads the file again, or says what is wrong with it", async () => {
    const running = await start();
    const good = await ask(running, "POST /reload");
    expect([good.status, json(good)]).toEqual([200, { generation: 2 }]);
    writeFileSync(join(running.directory, "sidekey.yaml"), `${FILE}agent: other\nextra: 1\n`);
    const bad = await ask(running, "POST /reload");
    expect(bad.status).toBe(422);
    expect(json(bad)).toMatchObject({
      problems: [
        { path: "agent", line: 8 },
        { path: "extra", line: 9 },
      ],
    });
    expect((json(await ask(running, "GET /status")) as StatusReport).generation).toBe(2);
  });

  it.each([
    ["GET /metrics", 200],
    ["POST /metrics", 405],
    ["GET /metrics?x=1", 404],
    ["GET /", 404],
    ["GET /healthz/", 404],
    ["GET /healthz?x=1", 404],
    ["GET //healthz", 404],
    ["GET /%68ealthz", 404],
    ["GET http://x/healthz", 404],
    ["GET /__proto__", 404],
    ["GET /reload", 405],
    ["HEAD /reload", 405],
    ["POST /status", 405],
    ["DELETE /healthz", 405],
    ["HEAD /healthz", 200],
  ])("answers %s with %d", async (line, status) => {
    expect((await ask(await start(), line)).status).toBe(status);
  });

  it("takes no body, and waits for none", async () => {
    const running = await start();
    expect((await ask(running, "POST /reload", "Content-Length: 1000000000\r\n")).status).toBe(413);
    expect((await ask(running, "POST /reload", "Transfer-Encoding: chunked\r\n")).status).toBe(413);
    expect((await ask(running, "GET /healthz", `X: ${"x".repeat(20_000)}\r\n`)).status).toBe(431);
  });

  it("is not taken over while its owner lives", async () => {
    const running = await start();
    const text = (path: string) => FILE.replace("listen: {", `listen: { admin: "unix:${path}",`);
    await expect(start({ file: text(socketOf(running)) })).rejects.toThrow(
      /listen\.admin: cannot listen on .*EADDRINUSE/,
    );
  });
});

describe("the port for probes", () => {
  it("has the two probes, the metrics and nothing else", async () => {
    const running = await start();
    const status = async (line: string) =>
      (await exchange(await openConnection(healthPort(running)), `${line} HTTP/1.1\r\nHost: x\r\n\r\n`)).status;
    expect(await status("GET /healthz")).toBe(200);
    expect(await status("GET /readyz")).toBe(200);
    expect(await status("GET /metrics")).toBe(200);
    for (const line of ["GET /status", "POST /reload"]) expect(await status(line), line).toBe(404);
  });

  it("does not answer a client outside listen.clients", async () => {
    const running = await start({
      file: FILE.replace('health: "127.0.0.1:0"', 'health: "0.0.0.0:0", clients: [10.99.0.0/16]'),
    });
    const connection = await openConnection(healthPort(running));
    connection.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    await expect(connection.receive()).rejects.toThrow("connection ended");
  });
});

describe("an agent", () => {
  it("gets to no admin path through the proxy or the gateway", async () => {
    const running = await start();
    const { port, gatewayPort } = running;
    for (const path of ["/healthz", "/readyz", "/status", "/reload", "/metrics"]) {
      for (const [where, target, host] of [
        [port, path, `127.0.0.1:${port}`],
        [port, `http://127.0.0.1:${port}${path}`, `127.0.0.1:${port}`],
        [port, `http://localhost${path}`, "localhost"],
        [port, `http://sidekey${path}`, "sidekey"],
        [gatewayPort, path, `127.0.0.1:${gatewayPort}`],
        [gatewayPort, `/api/..${path}`, `127.0.0.1:${gatewayPort}`],
        [port, path, "admin.sock"],
      ] as const) {
        const response = await exchange(
          await openConnection(where),
          `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
        );
        expect(response.headers.get("x-sidekey-error"), `${target} at ${host}`).toBeDefined();
        expect(response.status).toBeGreaterThanOrEqual(400);
      }
    }
  });

  it("gets to no listener of ours by CONNECT, by address or by a name that leads there, whatever the file opens", async () => {
    const running = await start({
      file: `${FILE}unmatched: tunnel\negress: { allow: ["127.0.0.0/8"] }\n`,
      start: { resolve: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]) },
    });
    const ports = [running.port, running.gatewayPort, healthPort(running)];
    for (const port of ports) {
      for (const host of ["127.0.0.1", "rebound.test", "[::ffff:127.0.0.1]", "0.0.0.0"]) {
        const { response, connection } = await openTunnel(running.port, `${host}:${port}`);
        expect(response.headers.get("x-sidekey-error"), `${host}:${port}`).toEqual(["POLICY_LOOP"]);
        connection.destroy();
      }
      const plain = await exchange(
        await openConnection(running.port),
        `GET http://rebound.test:${port}/readyz HTTP/1.1\r\nHost: rebound.test:${port}\r\n\r\n`,
      );
      expect(plain.headers.get("x-sidekey-error")).toEqual(["POLICY_LOOP"]);
    }
  });

  it("is the only one shut out: another port of this machine is open to it where the file says so", async () => {
    const sockets: Socket[] = [];
    const other = createServer((socket) => void sockets.push(socket)).listen(0, "127.0.0.1");
    await once(other, "listening");
    closers.push(async () => {
      for (const socket of sockets) socket.destroy();
      other.close();
    });
    const address = other.address();
    const port = typeof address === "object" ? address?.port : 0;
    const running = await start({ file: `${FILE}unmatched: tunnel\negress: { allow: ["127.0.0.0/8"] }\n` });
    const { response, connection } = await openTunnel(running.port, `127.0.0.1:${port}`);
    expect(response.status).toBe(200);
    connection.destroy();
  });
});
