/**
 * An HTTP/1.1 upstream on 127.0.0.1 that records what reached it and on which socket. Its handler starts with the
 * headers, so that a test can answer before, during or after the request's body.
 */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, isIPv6, type Server, type Socket } from "node:net";
import type { TestCertificate } from "./certificates.ts";

export interface ReceivedRequest {
  /** Number of the connection it came on, from 1 in the order of first requests. */
  readonly socket: number;
  readonly method: string;
  /** Request target exactly as it stood on the request line. */
  readonly path: string;
  /** Names and values by turns, as sent. */
  readonly rawHeaders: readonly string[];
  /** Every value sent under this name, in any case. */
  header(name: string): readonly string[];
  /** Bytes received so far. */
  readonly body: Buffer;
  /** Server name of the TLS handshake; undefined in cleartext or when none was sent. */
  readonly servername: string | undefined;
}

export type UpstreamHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  received: ReceivedRequest,
) => void | Promise<void>;

export interface TestUpstreamOptions {
  /** Given: HTTPS with this certificate. */
  readonly tls?: TestCertificate;
  /** Default: waits for the body, then 200 with `{"ok":true}`. */
  readonly handler?: UpstreamHandler;
  /** Default `127.0.0.1`. */
  readonly host?: "127.0.0.1" | "127.0.0.2" | "::1";
}

export interface TestUpstream {
  readonly port: number;
  /** `127.0.0.1:PORT`, for `upstream.connect`. */
  readonly address: string;
  /** `http(s)://127.0.0.1:PORT`. */
  readonly origin: string;
  readonly requests: readonly ReceivedRequest[];
  /** TCP connections accepted so far, with or without a request. */
  readonly connections: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Everything of every request in one text (latin1), to search for canaries. */
  transcript(): string;
  /** Destroys every socket. */
  close(): Promise<void>;
}

const answerOk: UpstreamHandler = async (request, response) => {
  for await (const _ of request);
  const body = '{"ok":true}';
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
};

export const startUpstream = async (options: TestUpstreamOptions = {}): Promise<TestUpstream> => {
  const { tls, handler = answerOk, host = "127.0.0.1" } = options;
  const requests: ReceivedRequest[] = [];
  const numbers = new WeakMap<object, number>();
  const open = new Set<Socket>();
  let connections = 0;
  let numbered = 0;

  const numberOf = (socket: object): number => {
    const known = numbers.get(socket);
    if (known !== undefined) return known;
    numbers.set(socket, ++numbered);
    return numbered;
  };

  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = [];
    const { rawHeaders, socket } = request;
    const received: ReceivedRequest = {
      socket: numberOf(socket),
      method: request.method ?? "",
      path: request.url ?? "",
      rawHeaders,
      header: (name) => rawHeaders.filter((_, i) => i % 2 === 1 && sameName(rawHeaders[i - 1], name)),
      get body() {
        return Buffer.concat(chunks);
      },
      servername: "servername" in socket && typeof socket.servername === "string" ? socket.servername : undefined,
    };
    requests.push(received);
    // `push` sees every byte, whether the handler reads, pauses or pipes the request.
    const push = request.push.bind(request);
    request.push = (chunk: unknown, encoding?: BufferEncoding) => {
      if (Buffer.isBuffer(chunk)) chunks.push(Buffer.from(chunk));
      return push(chunk, encoding);
    };
    // A client that goes away is a normal case here; the test looks at what it received.
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    void Promise.resolve(handler(request, response, received)).catch(() => response.destroy());
  };

  const server: Server = tls === undefined ? createServer(listener) : createTlsServer({ ...tls }, listener);
  server.on("connection", (socket: Socket) => {
    connections++;
    open.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => open.delete(socket));
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const address = `${isIPv6(host) ? `[${host}]` : host}:${port}`;

  return {
    port,
    address,
    origin: `${tls === undefined ? "http" : "https"}://${address}`,
    requests,
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    transcript: () =>
      requests
        .map((r) => `${r.method} ${r.path}\n${r.rawHeaders.join("\n")}\n\n${r.body.toString("latin1")}`)
        .join("\n\n"),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
};

const sameName = (a: string | undefined, b: string): boolean => a?.toLowerCase() === b.toLowerCase();
