import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { plainConnection } from "../../../../src/sidecar/net/connection.ts";
import type { Connector } from "../../../../src/sidecar/net/connector.ts";
import { openTunnel } from "../../../../src/sidecar/upstream/tunnel.ts";

it("leaves nothing open for a client that left while the upstream was connected", async () => {
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
    const authority = parseAuthority(`127.0.0.1:${port}`);
    if (authority === undefined) throw new Error("no authority");
    const tunnel = await openTunnel(connector, authority);
    client.destroy();
    await once(client, "close");
    expect(await tunnel.splice(client, Buffer.from("head"))).toEqual({
      outcome: "client_aborted",
      bytesUp: 0,
      bytesDown: 0,
    });
    expect(opened.map((socket) => socket.destroyed)).toEqual([true, true]);
  } finally {
    for (const socket of [...opened, ...accepted]) socket.destroy();
    server.close();
  }
});
