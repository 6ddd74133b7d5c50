/**
 * One TLS server on 127.0.0.1 for all the upstreams of the real clients. It stands for each by its host, takes nothing
 * without the key of that host, and sends back what it was sent: the worst kind of upstream. It keeps no bodies.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { createTestAuthority } from "../certificates.ts";

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  /** What the credential's header held, for the echo. */
  readonly credential: string;
  /**
   * Sends one piece after the other, each when the one before has arrived at the program: a stream that somebody on the
   * way holds back never ends.
   */
  stream(pieces: readonly string[]): Promise<void>;
}

export interface Upstream {
  readonly host: string;
  /** Header of the credential, lower case. */
  readonly header: string;
  /** The whole value that the header must have. */
  readonly credential: string;
  answer(call: Call): Promise<void> | void;
}

export interface Received {
  readonly host: string;
  /** `METHOD PATH`, without the query. */
  readonly line: string;
  readonly authorized: boolean;
}

export interface StandIns {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  readonly certificatePem: string;
  readonly received: readonly Received[];
  /** The program has got a piece of the stream. */
  arrived(): void;
  close(): Promise<void>;
}

export const startStandIns = async (upstreams: readonly Upstream[]): Promise<StandIns> => {
  const authority = await createTestAuthority();
  const received: Received[] = [];
  const open = new Set<Socket>();
  const waiting: (() => void)[] = [];
  const stream = async (response: ServerResponse, pieces: readonly string[]): Promise<void> => {
    for (const piece of pieces) {
      response.write(piece);
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
      });
    }
    response.end();
  };
  const server = createServer(
    await authority.issue({ names: upstreams.map(({ host }) => host) }),
    (request, response) => {
      const url = new URL(request.url ?? "/", "https://stand-in");
      const { host = "" } = request.headers;
      const upstream = upstreams.find((one) => one.host === host);
      const credential = String(request.headers[upstream?.header ?? ""] ?? "");
      const authorized = upstream !== undefined && credential === upstream.credential;
      received.push({ host, line: `${request.method} ${url.pathname}`, authorized });
      response.on("error", () => undefined);
      response.setHeader("x-echo", credential);
      if (!authorized) {
        response.writeHead(401).end();
        return;
      }
      const call = {
        request,
        response,
        url,
        credential,
        stream: (pieces: readonly string[]) => stream(response, pieces),
      };
      Promise.resolve(upstream.answer(call)).catch(() => response.destroy());
    },
  );
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("error", () => undefined).once("close", () => open.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    certificatePem: authority.certificatePem,
    received,
    arrived: () => waiting.shift()?.(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
};

export const sendJson = (response: ServerResponse, body: object): void => {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
};

export const readBody = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};
