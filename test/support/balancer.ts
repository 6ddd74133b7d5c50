/** A TCP balancer on 127.0.0.1 in front of one or more servers: each connection goes to the next one that answers. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface Balancer {
  readonly port: number;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Ports of the servers; those of connections that come from now on. */
  setTargets(ports: readonly number[]): void;
  /** Refuses what comes, and breaks what is there. */
  down(): void;
  up(): void;
  /** Passes nothing on any more, and breaks nothing. */
  freeze(): void;
  /** As `freeze`, on what is open now alone. */
  freezeOpen(): void;
  thaw(): void;
  /** Breaks what is there. */
  cut(): void;
  close(): Promise<void>;
}

export const startBalancer = async (): Promise<Balancer> => {
  let targets: readonly number[] = [];
  let next = 0;
  let isDown = false;
  let isFrozen = false;
  const open = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    open.add(socket);
    return socket.on("error", () => socket.destroy()).on("close", () => open.delete(socket));
  };

  const tryNext = (client: Socket, left: number): void => {
    const port = targets[next++ % Math.max(1, targets.length)];
    if (port === undefined || left === 0) return void client.destroy();
    const server = keep(connect(port, "127.0.0.1"));
    let connected = false;
    server.once("connect", () => {
      connected = true;
      client.pipe(server).pipe(client);
      client.once("close", () => server.destroy());
      server.once("close", () => client.destroy());
      if (isFrozen) for (const socket of [client, server]) socket.pause();
    });
    server.once("error", () => {
      if (!connected && !client.destroyed) tryNext(client, left - 1);
    });
  };

  const listener = createServer((client) => {
    keep(client);
    if (isDown) client.resetAndDestroy();
    else if (!isFrozen) tryNext(client, targets.length);
  });
  await once(listener.listen(0, "127.0.0.1"), "listening");
  const { port } = listener.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    setTargets(ports) {
      targets = ports;
    },
    down() {
      isDown = true;
      cut();
    },
    up() {
      isDown = false;
    },
    freeze() {
      isFrozen = true;
      for (const socket of open) socket.pause();
    },
    freezeOpen() {
      for (const socket of open) socket.pause();
    },
    thaw() {
      isFrozen = false;
      cut();
    },
    cut,
    async close() {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
};
