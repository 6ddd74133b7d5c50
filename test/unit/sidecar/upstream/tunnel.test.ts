import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { plainConnection } from "../../../../src/sidecar/net/connection.ts";
import type { Connector } from "../../../../src/sidecar/net/connector.ts";
import { openTunnel } from "../../../../src/sidecar/upstream/tunnel.ts";

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
    const authority = parseAuthority(`127.0.0.1:${port}`);
    if (authority === undefined) throw new Error("no authority");
    const tunnel = await openTunnel(connector, authority, client);
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
