/** A TLS server and client on loopback over contexts of the sidecar, for the tests beside it. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type ConnectionOptions, connect, type SecureContext, type TLSSocket, TLSSocket as TlsSocket } from "node:tls";

export interface ContextServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Answers every connection with the context that `choose` gives, as the interception does, and echoes bytes. */
export const serveContext = async (choose: () => SecureContext | Promise<SecureContext>): Promise<ContextServer> => {
  const sockets = new Set<Socket>();
  const server = createServer(async (raw) => {
    sockets.add(raw);
    raw.on("error", () => undefined);
    const tls = new TlsSocket(raw, { isServer: true, secureContext: await choose(), ALPNProtocols: ["http/1.1"] });
    tls.on("error", () => undefined);
    tls.pipe(tls);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
};

/** A client that has finished its handshake, or the error it ended with. */
export const dial = async (port: number, options: ConnectionOptions): Promise<TLSSocket> => {
  const socket = connect({ host: "127.0.0.1", port, ...options });
  await once(socket, "secureConnect");
  return socket;
};
