/**
 * An upstream that sends exactly the bytes it is told to and ends its connections in the way it is told to: with
 * close_notify, with a bare FIN, or with a reset. It records what reached it on each socket and parses next to nothing.
 */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type SecureContextOptions, TLSSocket, type TlsOptions } from "node:tls";

export interface RawRequest {
  /** Request line and headers, without the empty line. */
  readonly head: string;
  readonly method: string;
  /** Request target as sent. */
  readonly path: string;
  readonly body: Buffer;
}

export interface RawPeer {
  /** From 1, in the order in which connections were accepted. */
  readonly number: number;
  /** Bytes above TLS, or all of them in cleartext. */
  readonly received: Buffer;
  readonly closed: boolean;
  /** What carries the bytes: TLS, or the plain socket. */
  readonly socket: Socket | TLSSocket;
  /** Sends, and waits until the system has the bytes. */
  send(bytes: string | Buffer): Promise<void>;
  /** In order: close_notify where there is TLS, then FIN. */
  end(): void;
  /** FIN and nothing before it. */
  cut(): void;
  /** RST. */
  reset(): void;
}

export type RawScript = (request: RawRequest, peer: RawPeer) => void | Promise<void>;

export interface RawUpstream {
  readonly port: number;
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly peers: readonly RawPeer[];
  readonly requests: readonly RawRequest[];
  /** Connections that are open now. */
  readonly open: number;
  /** Every byte of every connection, above TLS. */
  transcript(): Buffer;
  close(): Promise<void>;
}

export interface RawUpstreamOptions {
  /** Given: TLS. */
  readonly tls?: SecureContextOptions & { readonly SNICallback?: TlsNames };
  /** Called with each request: once its head and, where it has a Content-Length, its body is whole. */
  readonly script: RawScript;
  /** Called with the head of a request with a body, as soon as it is whole; then `script` is not. */
  readonly early?: RawScript;
  readonly host?: string;
  /** Default: any free one. */
  readonly port?: number;
}

type TlsNames = NonNullable<TlsOptions["SNICallback"]>;

export const startRawUpstream = async (options: RawUpstreamOptions): Promise<RawUpstream> => {
  const { tls, script, early, host = "127.0.0.1", port: wanted = 0 } = options;
  const peers: RawPeer[] = [];
  const requests: RawRequest[] = [];
  const open = new Set<Socket>();

  const server = createServer({ noDelay: true }, (raw) => {
    open.add(raw);
    raw.on("error", () => undefined).once("close", () => open.delete(raw));
    const socket = tls === undefined ? raw : new TLSSocket(raw, { isServer: true, ...tls });
    socket.on("error", () => undefined);
    const chunks: Buffer[] = [];
    const peer: RawPeer = {
      number: peers.length + 1,
      get received() {
        return Buffer.concat(chunks);
      },
      get closed() {
        return socket.destroyed;
      },
      socket,
      send: (bytes) =>
        new Promise((resolve) => {
          if (socket.destroyed) resolve();
          else socket.write(bytes, () => resolve());
        }),
      end: () => void socket.end(),
      cut: () => void raw.destroy(),
      reset: () => void raw.resetAndDestroy(),
    };
    peers.push(peer);
    let pending = Buffer.alloc(0);
    let answeredEarly = false;
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      pending = Buffer.concat([pending, chunk]);
      for (;;) {
        const end = pending.indexOf("\r\n\r\n");
        if (end === -1) return;
        const head = pending.toString("latin1", 0, end);
        const [, method = "", path = ""] = /^(\S+) (\S+) /.exec(head) ?? [];
        const length = Number(/^content-length: *(\d+)\r?$/im.exec(head)?.[1] ?? "0");
        const run = (what: RawScript, body: Buffer): void => {
          const request = { head, method, path, body };
          requests.push(request);
          void Promise.resolve(what(request, peer)).catch(() => peer.reset());
        };
        const hasBody = length > 0 || /^transfer-encoding:/im.test(head);
        if (early !== undefined && hasBody) {
          if (!answeredEarly) run(early, Buffer.from(pending.subarray(end + 4)));
          answeredEarly = true;
          return;
        }
        if (pending.length < end + 4 + length) return;
        const body = Buffer.from(pending.subarray(end + 4, end + 4 + length));
        pending = Buffer.from(pending.subarray(end + 4 + length));
        run(script, body);
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(wanted, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    address: `${host}:${port}`,
    peers,
    requests,
    get open() {
      return open.size;
    },
    transcript: () => Buffer.concat(peers.map(({ received }) => received)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
};
