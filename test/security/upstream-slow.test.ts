/** Ruling 24, the response's side: an upstream that never answers, never goes on, or drips, on routes with small timeouts. */
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, type HostileStage } from "../support/hostile-stage.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import type { RawPeer, RawScript } from "../support/raw-upstream.ts";
import { startTestSidecar } from "../support/sidecar.ts";
import { watchStalls } from "../support/stalls.ts";

/** Sends one byte at a time. */
const drip = (peer: RawPeer, bytes: string, everyMs: number): void => {
  let at = 0;
  const timer = setInterval(() => {
    if (peer.closed || at >= bytes.length) clearInterval(timer);
    else void peer.send(bytes.charAt(at++));
  }, everyMs);
};

const answers: Record<string, RawScript> = {
  never: () => undefined,
  "half-a-head": (_request, peer) => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5"),
  "dripping-head": (_request, peer) => drip(peer, `HTTP/1.1 200 OK\r\nX: ${"a".repeat(500)}\r\n\r\n`, 100),
  "half-a-body": (_request, peer) => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf\n"),
  "half-of-the-chunks": (_request, peer) =>
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n"),
  "no-end": (_request, peer) => peer.send("HTTP/1.1 200 OK\r\n\r\nhalf\n"),
  "dripping-extension": async (_request, peer) => {
    await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n1;");
    drip(peer, "a".repeat(500), 100);
  },
  "dripping-body": async (_request, peer) => {
    await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n");
    drip(peer, "a\n".repeat(13).slice(0, 25), 100);
  },
};

let stage: HostileStage;
const stalls = watchStalls();
afterAll(() => stalls.stop());

beforeAll(async () => {
  stage = await createHostileStage({ answers, timeouts: "{ connect: 1s, headers: 1s, idle: 1s }" });
});

afterAll(() => stage.close());

/** The client below counts in steps of half a second. `ms` */
const AT_MOST = 4_000;

const timed = async <T>(act: () => Promise<T>): Promise<T> => {
  const [began, stood] = [performance.now(), stalls.now()];
  const result = await act();
  expect(performance.now() - began).toBeGreaterThan(900);
  expect(stalls.now() - stood).toBeLessThan(AT_MOST);
  return result;
};

describe("an upstream", () => {
  it.each(["never", "half-a-head", "dripping-head"])("that does not answer (%s) is 504", async (name) => {
    expect(await timed(() => stage.refusal(`/${name}`))).toEqual([504, "UPSTREAM_TIMEOUT"]);
    await expect.poll(() => stage.peerOf(`/${name}`)?.closed).toBe(true);
    expect(await stage.outcome(`/${name}`)).toMatchObject({ status: 504, code: "UPSTREAM_TIMEOUT" });
  });

  it.each(["half-a-body", "half-of-the-chunks", "no-end", "dripping-extension"])(
    "that does not go on (%s) is cut",
    async (name) => {
      const received = await timed(() => stage.cut(get(`/${name}`)));
      expect(received).not.toContain("\r\n0\r\n");
      await expect.poll(() => stage.peerOf(`/${name}`)?.closed).toBe(true);
      expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "upstream_aborted" });
    },
  );

  it("that goes on, however slowly, is waited for", async () => {
    const { response } = await stage.ask(get("/dripping-body"));
    expect(response.body).toHaveLength(25);
  });
});

describe("an upstream that does not even connect", () => {
  let silent: Server;

  beforeAll(async () => {
    // Accepts, and never says a word of TLS.
    silent = createServer((socket) => socket.on("error", () => undefined).resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  });

  afterAll(() => {
    silent.close();
  });

  it("is 504 after the route's connect timeout", async () => {
    const address = silent.address();
    const port = typeof address === "object" ? address?.port : 0;
    const sidecar = await startTestSidecar({
      environment: { KEY: "canary-never-sent" },
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { a: { match: "https://silent.test/**", secret: KEY, timeouts: { connect: 1s } } }
upstream: { connect: { "silent.test:443": "127.0.0.1:${port}" } }
`,
    });
    const connection = await openTlsTunnel(sidecar.port, "silent.test:443", sidecar.ca);
    const response = await timed(() => {
      connection.send("GET / HTTP/1.1\r\nHost: silent.test\r\n\r\n");
      return connection.receive();
    });
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([504, ["UPSTREAM_TIMEOUT"]]);
    connection.destroy();
    await expect.poll(() => new Promise((resolve) => silent.getConnections((_e, count) => resolve(count)))).toBe(0);
    await sidecar.close();
  });
});
