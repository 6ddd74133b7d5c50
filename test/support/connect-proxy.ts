/**
 * A small corporate proxy: CONNECT only, with names of its own. It records the head of each request, and answers with any
 * bytes a test wants instead. Tunnels carry bytes both ways until either end is gone.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface ConnectProxy {
  readonly port: number;
  /** Heads of the requests, without the empty line. */
  readonly heads: readonly string[];
  /** Every byte that clients sent, tunnels included. */
  transcript(): Buffer;
  /** Instead of a tunnel: writes what it likes. Undefined again: tunnels. */
  answer: ((socket: Socket) => void) | undefined;
  /** Needed in Proxy-Authorization, when set. */
  authorization: string | undefined;
  readonly open: number;
  close(): Promise<void>;
}

/** `names`: `host:port` of a CONNECT to `address:port`. */
export const startConnectProxy = async (names: Readonly<Record<string, string>> = {}): Promise<ConnectProxy> => {
  const heads: string[] = [];
  const received: Buffer[] = [];
  const open = new Set<Socket>();

  const server = createServer({ noDelay: true }, (client) => {
    open.add(client);
    client.on("error", () => undefined).once("close", () => open.delete(client));
    client.on("data", (chunk: Buffer) => received.push(chunk));
    let pending = "";
    const onHead = (chunk: Buffer): void => {
      pending += chunk.toString("latin1");
      const end = pending.indexOf("\r\n\r\n");
      if (end === -1) return;
      client.off("data", onHead);
      const head = pending.slice(0, end);
      heads.push(head);
      if (proxy.answer !== undefined) {
        proxy.answer(client);
        return;
      }
      const login = /^proxy-authorization: (.*)$/im.exec(head)?.[1];
      if (proxy.authorization !== undefined && login !== proxy.authorization) {
        client.end("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n");
        return;
      }
      const to = /^CONNECT (\S+) HTTP\/1\.1$/m.exec(head)?.[1] ?? "";
      const [, host, port] = /^(.*):(\d+)$/.exec(names[to] ?? to) ?? [];
      if (host === undefined || !/^127\./.test(host)) {
        client.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
        return;
      }
      const upstream = connect(Number(port), host);
      upstream.on("error", () => client.destroy()).once("close", () => client.destroy());
      client.once("close", () => upstream.destroy());
      upstream.once("connect", () => {
        client.write("HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n");
        client.pipe(upstream).pipe(client);
      });
    };
    client.on("data", onHead);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: ConnectProxy = {
    port,
    heads,
    transcript: () => Buffer.concat(received),
    answer: undefined,
    authorization: undefined,
    get open() {
      return open.size;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
  return proxy;
};
