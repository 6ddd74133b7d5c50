/** The socket options of connections to upstreams, as they reach the system. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { type Connected, createConnector } from "../../../../src/sidecar/net/connector.ts";
import { createEgressGuard } from "../../../../src/sidecar/policy/egress.ts";

interface TcpHandle {
  setNoDelay(enable: boolean): number;
  setKeepAlive(enable: boolean, delay: number): number;
}

const server = createServer((socket) => void socket.resume());
afterEach(() => {
  vi.restoreAllMocks();
  server.close();
});

it("holds no part of a request back for an acknowledgement, and looks whether an idle peer is still there", async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const authority = parseAuthority(`127.0.0.1:${port}`);
  if (authority === undefined) throw new TypeError("no authority");
  const connect = createConnector({
    guard: createEgressGuard({ allow: [] }),
    redirects: new Map([[authority.key, { address: "127.0.0.1", port }]]),
    extraCa: undefined,
    isOwnListener: () => false,
  });
  const open = () =>
    new Promise<Socket>((resolve, reject) => {
      const done: Connected = (error, connection) =>
        connection === null ? reject(error) : resolve(connection.socket as Socket);
      connect(
        { scheme: "http", authority, cleartext: "loopback", timeoutMs: 5_000, written: true, watchEnd: false },
        done,
      );
    });
  const first = await open();
  const handles = Object.getPrototypeOf((first as unknown as { _handle: TcpHandle })._handle) as TcpHandle;
  const noDelay = vi.spyOn(handles, "setNoDelay");
  const keepAlive = vi.spyOn(handles, "setKeepAlive");
  const second = await open();
  // Those of the server's side are not among them: it asks for none.
  expect(noDelay.mock.calls).toEqual([[true]]);
  // In seconds here. Node 24 hands on two more, which nobody sets.
  expect(keepAlive.mock.calls.map((given) => given.filter((one) => one !== undefined))).toEqual([[true, 60]]);
  first.destroy();
  second.destroy();
});
