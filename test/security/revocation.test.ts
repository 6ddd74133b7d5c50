/**
 * What was allowed and is not any more (E4, ruling 10): with the next request inside open tunnels within 1 s, for what
 * is in flight within 2 s. Real sockets, every kind of exchange, every way to take a use back; and what must end nothing.
 */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScope } from "../../src/identity/scope.ts";
import { openVault, type Vault } from "../../src/vault/index.ts";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { openConnection, openTlsTunnel, openTunnel, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { watchStalls, within } from "../support/stalls.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

/** Promised: by when a next request is refused. `ms` */
const NEXT_REQUEST = 1_000;
/** Promised: by when what is in flight is cut. `ms` */
const IN_FLIGHT = 2_000;
/** A clock that stands still while the machine has no time for this process. */
const stalls = watchStalls();
afterAll(() => stalls.stop());

const PATH = "production/api/key";
const CANARY = "canary-7d1f03a9c2e84b56";

const closers: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createTestAuthority();
});

/** `/stream` and `/download` never end, `/upload` answers at its end, `/hold` never, all else at once. */
const handler: UpstreamHandler = async (request, response) => {
  const path = request.url?.split("?")[0];
  if (path === "/hold") return;
  if (path === "/stream" || path === "/download") {
    const isStream = path === "/stream";
    response.writeHead(200, isStream ? { "content-type": "text/event-stream" } : { "content-length": 1e9 });
    const piece = isStream ? "data: tick\n\n" : Buffer.alloc(64 * 1024, "x");
    const timer = setInterval(() => response.write(piece), 40);
    response.on("close", () => clearInterval(timer));
    return;
  }
  for await (const _ of request);
  response.end("ok");
};

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  readonly vault: Vault;
  /** Issued to the sidecar; undefined where it has its own. */
  readonly tokenId: string | undefined;
  tunnel(): Promise<RawConnection>;
  /** The file says this from now on, and reads it again by itself. */
  write(text: string): void;
  readonly text: string;
}

const open = async (
  options: { readonly token?: { readonly ttlMs: number }; readonly more?: string } = {},
): Promise<Stage> => {
  const upstream = await startUpstream({ tls: await authority.issue({ names: ["api.test"] }), handler });
  closers.push(() => upstream.close());
  const text = `
version: 1
agent: tester
listen: { proxy: "127.0.0.1:0" }
${options.token === undefined ? "" : "sources: { local: { kind: local, token: { file: ./token } } }"}
routes:
  api: { match: "https://api.test/**", secret: ${PATH} }
upstream: { ca: ./ca.pem, connect: { "api.test:443": "${upstream.address}" } }
${options.more ?? ""}`;
  let vault: Vault | undefined;
  let tokenId: string | undefined;
  const sidecar = await startTestSidecar({
    files: { "ca.pem": authority.certificatePem, "sidekey.yaml": text },
    file: text,
    start: { watch: true },
    async prepare(directory) {
      vault = await openVault({
        directory: join(directory, ".sidekey/vault"),
        keys: { file: join(directory, ".sidekey/vault.key") },
        clock: systemClock,
      });
      await vault.secrets.set(PATH, SecretValue.fromText(CANARY), {});
      if (options.token === undefined) return;
      const scopes = [parseScope(`secrets:use:${PATH}`)];
      const { token, claims } = await vault.tokens.issue({ scopes, ttlMs: options.token.ttlMs, agent: "tester" });
      tokenId = claims.id;
      writeFileSync(join(directory, "token"), token, { mode: 0o600 });
    },
  });
  if (vault === undefined) throw new Error("no vault");
  const opened = vault;
  closers.push(async () => {
    await sidecar.close();
    await opened.close();
  });
  return {
    upstream,
    sidecar,
    vault: opened,
    tokenId,
    text,
    async tunnel() {
      const connection = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);
      closers.push(async () => connection.destroy());
      return connection;
    },
    write: (next) => writeFileSync(join(sidecar.directory, "sidekey.yaml"), next),
  };
};

const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: api.test\r\n\r\n`;

/** Exchanges in flight, each begun on a tunnel of its own; resolves when the upstream has all of them. */
const EXCHANGES: Readonly<Record<string, (connection: RawConnection) => void>> = {
  stream: (connection) => connection.send(GET("/stream")),
  download: (connection) => connection.send(GET("/download")),
  "download that nobody reads": (connection) => {
    connection.socket.pause();
    connection.send(GET("/download?unread"));
  },
  upload: (connection) => {
    connection.send("POST /upload HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    const timer = setInterval(() => connection.send("5\r\nhello\r\n"), 40);
    connection.socket.on("close", () => clearInterval(timer));
  },
  "request without an answer": (connection) => connection.send(GET("/hold")),
};

/** A reset, and a write that came too late, are errors first. */
const closeOf = ({ socket }: RawConnection): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once("close", () => resolve());
  });

const begin = async (stage: Stage): Promise<Map<string, RawConnection>> => {
  const before = stage.upstream.requests.length;
  const begun = new Map<string, RawConnection>();
  for (const [name, send] of Object.entries(EXCHANGES)) {
    const connection = await stage.tunnel();
    send(connection);
    begun.set(name, connection);
  }
  const isUnderWay = () =>
    stage.upstream.requests.length === before + begun.size && (begun.get("stream")?.transcript.length ?? 0) > 100;
  await expect.poll(isUnderWay).toBe(true);
  return begun;
};

/** Connections of the upstream that carry something go, and the clients are cut or told. */
const expectAllEnded = async (stage: Stage, begun: Map<string, RawConnection>, code: string): Promise<void> => {
  const began = stalls.now();
  const ends = [...begun].map(async ([name, connection]) => {
    // One that reads nothing can't see its end either: it reads what was on its way.
    connection.socket.resume();
    await closeOf(connection);
    return [name, Math.round(stalls.now() - began)] as const;
  });
  const waiting = begun.get("request without an answer");
  const answer = waiting?.receive();
  ends.splice(Object.keys(EXCHANGES).indexOf("request without an answer"), 1);
  const times = await Promise.all(ends);
  expect((await answer)?.headers.get("x-sidekey-error")).toEqual([code]);
  expect(times.filter(([, ms]) => ms >= IN_FLIGHT)).toEqual([]);
  // What the upstream's side holds open may only be what is kept for the next request.
  const sent = begun.get("stream")?.transcript.toString("latin1") ?? "";
  expect(sent.endsWith("0\r\n\r\n"), "a cut stream must not look like a whole one").toBe(false);
  const outcomes = async () =>
    (await stage.sidecar.audit()).filter(({ type, code: of }) => type === "outcome" && of === code).length;
  await within(stalls, 2_000, async () => (await outcomes()) === begun.size);
};

/** Keep-alive inside an open tunnel: by when the next request is refused. */
const expectNextRefused = async (connection: RawConnection, code: string): Promise<void> => {
  const began = stalls.now();
  for (;;) {
    connection.send(GET("/"));
    const { headers } = await connection.receive();
    const refused = headers.get("x-sidekey-error")?.[0];
    const ms = stalls.now() - began;
    if (refused !== undefined) {
      expect([refused, ms < NEXT_REQUEST]).toEqual([code, true]);
      return;
    }
    expect(ms).toBeLessThan(NEXT_REQUEST);
  }
};

describe("a use that is taken back ends what is in flight and refuses what comes next,", () => {
  const cases: readonly (readonly [string, string, Parameters<typeof open>[0], (stage: Stage) => unknown])[] = [
    [
      "when the route is removed from the file",
      "POLICY_NO_ROUTE",
      {},
      (stage) =>
        stage.write(stage.text.replace('https://api.test/**"', 'https://other.test/**"').replace("api:", "o:")),
    ],
    [
      "when the route covers other paths only",
      "POLICY_NO_ROUTE",
      {},
      (stage) => stage.write(stage.text.replace("https://api.test/**", "https://api.test/v1/**")),
    ],
    [
      "when the route denies it",
      "POLICY_DENIED",
      {},
      (stage) => stage.write(stage.text.replace(`secret: ${PATH}`, `secret: ${PATH}, deny: ["* **"]`)),
    ],
    [
      "when the secret is removed by another process",
      "SOURCE_SECRET_MISSING",
      {},
      (stage) => stage.vault.secrets.remove(PATH),
    ],
    [
      "when the secret is bound to another host",
      "POLICY_SECRET_HOST",
      {},
      (stage) => stage.vault.secrets.set(PATH, SecretValue.fromText(CANARY), { hosts: ["other.test"] }),
    ],
    [
      "when the token is revoked",
      "IDENTITY_TOKEN_REVOKED",
      { token: { ttlMs: 60_000 } },
      (stage) => stage.vault.tokens.revoke(stage.tokenId ?? ""),
    ],
    [
      "when the file names a token that does not cover it",
      "IDENTITY_SCOPE_DENIED",
      { token: { ttlMs: 60_000 } },
      async (stage) => {
        const scopes = [parseScope("secrets:use:production/other/key")];
        const { token } = await stage.vault.tokens.issue({ scopes, ttlMs: 60_000, agent: "tester" });
        writeFileSync(join(stage.sidecar.directory, "token"), token);
        await stage.sidecar.sidecar.reload("signal");
      },
    ],
  ];

  it.each(cases)("%s", async (_name, code, options, takeBack) => {
    const stage = await open(options);
    const kept = await stage.tunnel();
    kept.send(GET("/"));
    expect((await kept.receive()).status).toBe(200);
    const begun = await begin(stage);
    await takeBack(stage);
    const ended = expectAllEnded(stage, begun, code);
    await expectNextRefused(kept, code);
    await ended;
  });

  it("when the token expires", async () => {
    const stage = await open({ token: { ttlMs: 60_000 } });
    const connection = await stage.tunnel();
    // All is there before its time begins to run.
    connection.send(GET("/"));
    expect((await connection.receive()).status).toBe(200);
    const scopes = [parseScope(`secrets:use:${PATH}`)];
    const { token } = await stage.vault.tokens.issue({ scopes, ttlMs: 3_000, agent: "tester" });
    writeFileSync(join(stage.sidecar.directory, "token"), token);
    await stage.sidecar.sidecar.reload("signal");
    connection.send(GET("/stream"));
    await closeOf(connection);
    const outcome = async () => (await stage.sidecar.audit()).findLast(({ type }) => type === "outcome");
    await expect
      .poll(outcome)
      .toMatchObject({ code: "IDENTITY_TOKEN_EXPIRED", outcome: "upstream_aborted", status: 200 });
  });

  it("and requests that wait behind it in a pipeline are never sent", async () => {
    const stage = await open();
    const connection = await stage.tunnel();
    connection.send(GET("/stream") + GET("/after-1") + GET("/after-2"));
    await expect.poll(() => stage.upstream.requests.length).toBe(1);
    await stage.vault.secrets.remove(PATH);
    await closeOf(connection);
    expect(stage.upstream.requests.map(({ path }) => path)).toEqual(["/stream"]);
  });
});

describe("tunnels that pass unread", () => {
  const openBlind = async () => {
    const sockets: Socket[] = [];
    const echo = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      socket.pipe(socket);
    }).listen(0, "127.0.0.1");
    await once(echo, "listening");
    closers.push(async () => {
      for (const socket of sockets) socket.destroy();
      echo.close();
    });
    const target = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
    const stage = await open({ more: 'unmatched: tunnel\negress: { allow: ["127.0.0.0/8"] }' });
    const { response, connection } = await openTunnel(stage.sidecar.port, target);
    expect(response.status).toBe(200);
    connection.send("hello");
    await expect.poll(() => connection.buffered.toString()).toBe("hello");
    return { stage, connection, target, sockets };
  };

  it.each([
    ["when the file denies what no route names", (text: string) => text.replace("unmatched: tunnel", "")],
    [
      "when a route names their host",
      (text: string, target: string) =>
        text.replace("routes:", `routes:\n  named: { match: "https://${target}/**", secret: ${PATH} }`),
    ],
  ])("are cut on both sides %s", async (_name, change) => {
    const { stage, connection, target, sockets } = await openBlind();
    const began = stalls.now();
    stage.write(change(stage.text, target));
    await closeOf(connection);
    expect(stalls.now() - began).toBeLessThan(IN_FLIGHT);
    await expect.poll(() => sockets.every(({ destroyed }) => destroyed)).toBe(true);
    const outcome = async () => (await stage.sidecar.audit()).findLast(({ type }) => type === "outcome");
    await expect.poll(outcome).toMatchObject({
      code: "POLICY_NO_ROUTE",
      outcome: "upstream_aborted",
      bytes_up: 5,
      bytes_down: 5,
    });
  });

  it("stay through a reload that leaves them allowed", async () => {
    const { stage, connection } = await openBlind();
    await stage.sidecar.sidecar.reload("signal");
    await new Promise((resolve) => setTimeout(resolve, IN_FLIGHT));
    connection.send(" again");
    await expect.poll(() => connection.buffered.toString()).toBe("hello again");
  });
});

describe("what is in flight goes on", () => {
  it.each<readonly [string, (stage: Stage) => unknown]>([
    ["when the secret is rotated", (stage) => stage.vault.secrets.set(PATH, SecretValue.fromText(`${CANARY}-2`), {})],
    [
      "when the route's header and secret are others",
      async (stage) => {
        await stage.vault.secrets.set("production/api/next", SecretValue.fromText(`${CANARY}-next`), {});
        const next = "secret: production/api/next, inject: { kind: header, name: X-Key }";
        stage.write(stage.text.replace(`secret: ${PATH}`, next));
      },
    ],
    [
      "when other routes come and the limits change",
      (stage) =>
        stage.write(
          `${stage.text.replace("routes:", "routes:\n  new.test: production/api/new")}\nlimits: { streams: 10 }\n`,
        ),
    ],
    ["when the file is broken", (stage) => stage.write("version: 2\n")],
  ])("%s", async (_name, change) => {
    const stage = await open();
    const begun = await begin(stage);
    await change(stage);
    await new Promise((resolve) => setTimeout(resolve, IN_FLIGHT + 500));
    const before = begun.get("stream")?.transcript.length ?? 0;
    await expect.poll(() => begun.get("stream")?.transcript.length).toBeGreaterThan(before);
    expect([...begun].filter(([, { socket }]) => socket.destroyed).map(([name]) => name)).toEqual([]);
    expect((await stage.sidecar.audit()).filter(({ type }) => type === "outcome")).toEqual([]);
  });
});

describe("a plain request without a route", () => {
  it("is cut too when the file denies what no route names", async () => {
    const stage = await open({ more: 'unmatched: tunnel\negress: { allow: ["127.0.0.0/8"] }' });
    const plain = await startUpstream({ handler });
    closers.push(() => plain.close());
    const connection = await openConnection(stage.sidecar.port);
    connection.send(`GET ${plain.origin}/stream HTTP/1.1\r\nHost: ${plain.address}\r\n\r\n`);
    await expect.poll(() => connection.buffered.length).toBeGreaterThan(100);
    stage.write(stage.text.replace("unmatched: tunnel", ""));
    await closeOf(connection);
    await expect.poll(() => plain.open).toBe(0);
  });
});
