/**
 * Raw bytes through the proxy: tests say exactly what goes over the wire and read exactly what comes back, so that no
 * client library repairs an attack on its way.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

export interface RawResponse {
  readonly status: number;
  readonly reason: string;
  /** Lower-case names; values in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** Decoded from its framing. */
  readonly body: Buffer;
}

export interface RawConnection {
  readonly socket: Socket | TLSSocket;
  send(bytes: string | Buffer): void;
  /** Next whole response; rejects when the connection ends before it does. */
  receive(method?: string): Promise<RawResponse>;
  /** Everything received so far and not yet read by `receive`. */
  readonly buffered: Buffer;
  /** Every byte ever received. */
  readonly transcript: Buffer;
  closed(): Promise<void>;
  destroy(): void;
}

export const openConnection = async (port: number, host = "127.0.0.1"): Promise<RawConnection> => {
  const socket = connect({ port, host, noDelay: true });
  await once(socket, "connect");
  return wrap(socket);
};

/** The same over a unix socket. */
export const openUnixConnection = async (path: string): Promise<RawConnection> => {
  const socket = connect(path);
  await once(socket, "connect");
  return wrap(socket);
};

/** CONNECT; resolves with the answer and, when it is 200, the connection to go on with. */
export const openTunnel = async (
  proxyPort: number,
  authority: string,
): Promise<{ response: RawResponse; connection: RawConnection }> => {
  const connection = await openConnection(proxyPort);
  connection.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  return { response: await connection.receive("CONNECT"), connection };
};

/** CONNECT and TLS, trusting `ca`. Throws when the CONNECT is refused. */
export const openTlsTunnel = async (
  proxyPort: number,
  authority: string,
  ca: string,
  options: { servername?: string } = {},
): Promise<RawConnection> => {
  const { response, connection } = await openTunnel(proxyPort, authority);
  if (response.status !== 200) throw new Error(`CONNECT ${authority}: ${response.status} ${response.body}`);
  const name = authority.replace(/:\d+$/, "");
  const secure = connectTls({
    socket: connection.socket,
    ca,
    servername: options.servername ?? name,
    ...(options.servername !== undefined && { checkServerIdentity: () => undefined }),
  });
  await once(secure, "secureConnect");
  return wrap(secure);
};

const wrap = (socket: Socket | TLSSocket): RawConnection => {
  let joined = Buffer.alloc(0);
  let arrived: Buffer[] = [];
  /** Of both. `bytes` */
  let waiting = 0;
  /** All that nobody has taken. Joined when it is looked at, not for each chunk. */
  const buffered = (): Buffer => {
    if (arrived.length > 0) joined = Buffer.concat([joined, ...arrived]);
    arrived = [];
    return joined;
  };
  const all: Buffer[] = [];
  let ended = false;
  let wake = (): void => undefined;
  socket.on("data", (chunk: Buffer) => {
    all.push(chunk);
    arrived.push(chunk);
    waiting += chunk.length;
    wake();
  });
  const end = (): void => {
    ended = true;
    wake();
  };
  socket.on("end", end).on("close", end).on("error", end);

  const more = async (): Promise<void> => {
    if (ended)
      throw new Error(`connection ended; left over: ${JSON.stringify(buffered().toString("latin1").slice(0, 300))}`);
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  };
  const take = (length: number): Buffer => {
    const taken = buffered().subarray(0, length);
    joined = joined.subarray(length);
    waiting = joined.length;
    return taken;
  };
  const line = async (): Promise<string> => {
    let at = buffered().indexOf("\r\n");
    while (at === -1) {
      await more();
      at = buffered().indexOf("\r\n");
    }
    return take(at + 2)
      .subarray(0, -2)
      .toString("latin1");
  };
  const exactly = async (length: number): Promise<Buffer> => {
    while (waiting < length) await more();
    return Buffer.from(take(length));
  };

  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    async receive(method = "GET") {
      const [, status = "0", reason = ""] = /^HTTP\/1\.1 (\d{3}) ?(.*)$/.exec(await line()) ?? [];
      const headers = new Map<string, string[]>();
      for (let text = await line(); text !== ""; text = await line()) {
        const colon = text.indexOf(":");
        const name = text.slice(0, colon).toLowerCase();
        headers.set(name, [...(headers.get(name) ?? []), text.slice(colon + 1).trim()]);
      }
      const code = Number(status);
      const length = headers.get("content-length")?.[0];
      let body = Buffer.alloc(0);
      const parts: Buffer[] = [];
      if (method === "HEAD" || code < 200 || code === 204 || code === 304 || (method === "CONNECT" && code === 200)) {
        // None, whatever the headers say.
      } else if (headers.get("transfer-encoding")?.[0] === "chunked") {
        for (let size = Number.parseInt(await line(), 16); ; size = Number.parseInt(await line(), 16)) {
          if (size === 0) {
            await line();
            break;
          }
          // Put together once: a client that copies all of it for each chunk is so slow that servers leave.
          parts.push(await exactly(size));
          await exactly(2);
        }
        body = Buffer.concat(parts);
      } else if (length !== undefined) {
        body = Buffer.from(await exactly(Number(length)));
      } else {
        while (!ended) await more().catch(() => undefined);
        body = Buffer.from(take(waiting));
      }
      return { status: code, reason, headers, body };
    },
    get buffered() {
      return buffered();
    },
    get transcript() {
      return Buffer.concat(all);
    },
    async closed() {
      if (!socket.destroyed) await once(socket, "close");
    },
    destroy: () => void socket.destroy(),
  };
};
