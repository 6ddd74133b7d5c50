import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Authority, parseAuthority } from "../../../../src/core/authority.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { plainConnection } from "../../../../src/sidecar/net/connection.ts";
import type { Connector, ConnectRequest } from "../../../../src/sidecar/net/connector.ts";
import { openTunnel } from "../../../../src/sidecar/upstream/tunnel.ts";

const authorityOf = (text: string): Authority => {
  const authority = parseAuthority(text);
  if (authority === undefined) throw new Error(`no authority: ${text}`);
  return authority;
};

const files = (): number => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;

it.each(["before it began", "once it had said all"])("leaves nothing open for a client that left %s", async (when) => {
  const before = files();
  const accepted: Socket[] = [];
  const server = createServer((socket) => void accepted.push(socket.on("error", () => undefined))).listen(
    0,
    "127.0.0.1",
  );
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const opened: Socket[] = [];
  const dial = async (): Promise<Socket> => {
    const socket = connect(port, "127.0.0.1");
    opened.push(socket);
    await once(socket, "connect");
    return socket;
  };
  try {
    const client = await dial();
    const connector: Connector = (_request, done) => {
      void dial().then((socket) => done(null, plainConnection(socket)));
      return () => undefined;
    };
    const tunnel = await openTunnel(connector, authorityOf(`127.0.0.1:${port}`), client);
    if (when === "before it began") {
      client.destroy();
      await once(client, "close");
    }
    const spliced = tunnel.splice(client, Buffer.from(""));
    if (when !== "before it began") {
      opened[1]?.end();
      client.emit("error", new Error("reset"));
    }
    expect(await spliced).toEqual({ outcome: "client_aborted", bytesUp: 0, bytesDown: 0 });
    for (const socket of accepted) socket.destroy();
    await expect.poll(files).toBeLessThanOrEqual(before);
  } finally {
    for (const socket of [...opened, ...accepted]) socket.destroy();
    server.close();
  }
});

it("gives connecting ten seconds, and carries no credential", async () => {
  const asked: ConnectRequest[] = [];
  const connector: Connector = (request, done) => {
    asked.push(request);
    done(new SidekeyError("UPSTREAM_TIMEOUT"), null);
    return () => undefined;
  };
  await expect(openTunnel(connector, authorityOf("api.example.com:443"), new Socket())).rejects.toMatchObject({
    code: "UPSTREAM_TIMEOUT",
  });
  expect(asked).toMatchObject([{ timeoutMs: 10_000, cleartext: "uncredentialed", written: false }]);
});

it.each([
  ["the agent", "client_aborted"],
  ["the upstream", "upstream_aborted"],
])("ends when %s was silent for five minutes", async (who, outcome) => {
  const accepted: Socket[] = [];
  const server = createServer((socket) => void accepted.push(socket.on("error", () => undefined))).listen(
    0,
    "127.0.0.1",
  );
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const [client, upstream] = [connect(port, "127.0.0.1"), connect(port, "127.0.0.1")];
  try {
    await Promise.all([once(client, "connect"), once(upstream, "connect")]);
    const connector: Connector = (_request, done) => {
      done(null, plainConnection(upstream));
      return () => undefined;
    };
    const tunnel = await openTunnel(connector, authorityOf(`127.0.0.1:${port}`), client);
    const spliced = tunnel.splice(client, Buffer.alloc(0));
    expect([client.timeout, upstream.timeout]).toEqual([300_000, 300_000]);
    (who === "the agent" ? client : upstream).emit("timeout");
    expect(await spliced).toEqual({ outcome, bytesUp: 0, bytesDown: 0 });
    expect([client.destroyed, upstream.destroyed]).toEqual([true, true]);
  } finally {
    for (const socket of [client, upstream, ...accepted]) socket.destroy();
    server.close();
  }
});

describe("between two connections", () => {
  let server: Server;
  const sockets: Socket[] = [];

  beforeAll(async () => {
    server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });

  afterAll(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  const dial = async (): Promise<readonly [near: Socket, far: Socket]> => {
    const near = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
    const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [[Socket], unknown];
    sockets.push(near, far);
    return [near, far];
  };

  const join = async () => {
    const [agent, client] = await dial();
    const [upstream, peer] = await dial();
    const connector: Connector = (_request, done) => {
      done(null, plainConnection(upstream));
      return () => undefined;
    };
    const tunnel = await openTunnel(connector, authorityOf("127.0.0.1:1"), client);
    // To the agent too a reset may look like an end.
    const seen = plainConnection(agent);
    agent.on("error", () => undefined).resume();
    return { agent, peer, seen, spliced: tunnel.splice(client, Buffer.alloc(0)) };
  };

  it("ends with a reset what the upstream reset, also together with its last bytes", async () => {
    const { agent, peer, seen, spliced } = await join();
    peer.write("half of it");
    peer.resetAndDestroy();
    await new Promise((resolve) => agent.once("end", resolve).once("close", resolve));
    expect(seen.endedInOrder()).toBe(false);
    expect(await spliced).toMatchObject({ outcome: "upstream_aborted" });
  });

  it.each(["the agent", "the upstream"])("ends in order when %s has said all before the other", async (who) => {
    const { agent, peer, seen, spliced } = await join();
    const [first, second] = who === "the agent" ? [agent, peer] : [peer, agent];
    const told = once(second.resume(), "end");
    first.end("all of it");
    await told;
    second.end("and the rest");
    expect(await spliced).toMatchObject({ outcome: "ok", bytesUp: who === "the agent" ? 9 : 12 });
    await expect.poll(() => seen.endedInOrder()).toBe(true);
  });
});
