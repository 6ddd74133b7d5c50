/**
 * An upstream that forgives nothing: a raw socket that records every byte, with a parser of its own for exactly the
 * HTTP/1.1 a careful proxy writes (RFC 9112). It shares no code with Node's parser or the sidecar, so that a mistake in
 * one shows in the other. Whatever is not a well-formed request is a violation, never skipped.
 */
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { TestCertificate } from "./certificates.ts";

export interface StrictRequest {
  /** Number of the connection it came on, from 1. */
  readonly socket: number;
  /** Server name of the TLS handshake. */
  readonly servername: string | undefined;
  readonly method: string;
  /** As on the request line. */
  readonly target: string;
  /** Target without its query. */
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Request line and headers with the empty line, latin1. */
  readonly head: string;
  readonly framing: "none" | "length" | "chunked";
  /** Bytes of the body so far, decoded. */
  readonly body: Buffer;
  /** The whole body has come. */
  readonly complete: boolean;
  /** It was answered before its body was whole. */
  readonly answeredEarly: boolean;
  /** Values of every header of this name, in any case. */
  header(name: string): readonly string[];
}

export interface StrictUpstream {
  readonly port: number;
  /** `127.0.0.1:PORT` */
  readonly address: string;
  readonly requests: readonly StrictRequest[];
  /** What was wrong with bytes that came, and on which socket. */
  readonly violations: readonly string[];
  /** Bytes after the last request of each socket that make no request: must be none once the sockets are quiet. */
  leftovers(): readonly string[];
  /** Every byte ever received, all sockets. */
  transcript(): Buffer;
  readonly connections: number;
  readonly open: number;
  dropConnections(): void;
  close(): Promise<void>;
}

export interface StrictUpstreamOptions {
  /** Given: TLS with this certificate. */
  readonly tls?: TestCertificate;
  /** Bytes of the answer to a complete request. Default: 200 with the request's head as the body. */
  readonly answer?: (request: StrictRequest) => string | Buffer;
  /** Bytes to answer with as soon as the head is there; undefined = wait for the body. */
  readonly early?: (request: StrictRequest) => string | Buffer | undefined;
}

/** 200 with a body and its length. */
export const ok = (body: string | Buffer): Buffer => {
  const bytes = Buffer.from(body);
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`), bytes]);
};

const echoHead = ({ method, head }: StrictRequest): Buffer => {
  const answer = ok(Buffer.from(head, "latin1"));
  return method === "HEAD" ? answer.subarray(0, answer.indexOf("\r\n\r\n") + 4) : answer;
};

export const startStrictUpstream = async (options: StrictUpstreamOptions = {}): Promise<StrictUpstream> => {
  const { tls, answer = echoHead, early } = options;
  const requests: StrictRequest[] = [];
  const violations: string[] = [];
  const received: Buffer[] = [];
  const parsers: StrictParser[] = [];
  const open = new Set<Socket>();
  let connections = 0;

  const serve = (socket: Socket): void => {
    connections += 1;
    open.add(socket);
    socket.setNoDelay(true);
    const servername = (socket as TLSSocket).servername;
    const parser = new StrictParser(connections, typeof servername === "string" ? servername : undefined);
    parsers.push(parser);
    const answered = new Set<StrictRequest>();
    const reply = (request: StrictRequest, bytes: string | Buffer): void => {
      answered.add(request);
      socket.write(bytes);
    };
    socket.on("data", (chunk: Buffer) => {
      received.push(chunk);
      for (const request of parser.feed(chunk)) {
        if (!requests.includes(request)) {
          requests.push(request);
          const bytes = early?.(request);
          if (bytes !== undefined) {
            request.answeredEarly = !request.complete;
            reply(request, bytes);
          }
        }
        if (request.complete && !answered.has(request)) reply(request, answer(request));
      }
      if (parser.violation === undefined) return;
      violations.push(`socket ${parser.number}: ${parser.violation}`);
      socket.destroy();
    });
    // A proxy that breaks off is a normal case here; the test looks at what came.
    socket.on("error", () => socket.destroy());
    socket.once("close", () => open.delete(socket));
  };

  const server: Server =
    tls === undefined ? createTcpServer(serve) : createTlsServer({ ...tls, ALPNProtocols: ["http/1.1"] }, serve);
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const dropConnections = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    port,
    address: `127.0.0.1:${port}`,
    requests,
    violations,
    leftovers: () =>
      parsers.flatMap(({ number, leftover }) => (leftover === "" ? [] : [`socket ${number}: ${leftover}`])),
    transcript: () => Buffer.concat(received),
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    dropConnections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        dropConnections();
      }),
  };
};

const REQUEST_LINE = /^([A-Z][A-Z-]*) (\/[!-~]*|\*) HTTP\/1\.1$/;
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)$/;
const LENGTH = /^(?:0|[1-9][0-9]{0,15})$/;
const CHUNK_SIZE = /^(?:0|[1-9a-f][0-9a-f]{0,7})$/i;

class Received implements StrictRequest {
  readonly socket: number;
  readonly servername: string | undefined;
  readonly method: string;
  readonly target: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly head: string;
  readonly framing: StrictRequest["framing"];
  readonly chunks: Buffer[] = [];
  complete = false;
  answeredEarly = false;

  constructor(facts: Omit<StrictRequest, "body" | "complete" | "answeredEarly" | "header" | "path">) {
    this.socket = facts.socket;
    this.servername = facts.servername;
    this.method = facts.method;
    this.target = facts.target;
    this.path = facts.target.split("?", 1)[0] ?? "";
    this.headers = facts.headers;
    this.head = facts.head;
    this.framing = facts.framing;
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  header(name: string): readonly string[] {
    return this.headers.filter(([one]) => one.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  }
}

/** One connection's bytes. */
class StrictParser {
  readonly number: number;
  readonly servername: string | undefined;
  violation: string | undefined;
  #bytes: Buffer = Buffer.alloc(0);
  #current: Received | undefined;
  /** Of the body or the chunk, bytes still to come. */
  #due = 0;
  #state: "head" | "length" | "size" | "chunk" | "end" = "head";

  constructor(number: number, servername: string | undefined) {
    this.number = number;
    this.servername = servername;
  }

  get leftover(): string {
    return this.#state === "head" && this.#bytes.length > 0 ? JSON.stringify(this.#bytes.toString("latin1")) : "";
  }

  /** Requests whose head or end came with these bytes. */
  feed(chunk: Buffer): Set<Received> {
    const touched = new Set<Received>();
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    try {
      while (this.violation === undefined && this.#step(touched));
    } catch (error) {
      this.violation = String(error);
    }
    return touched;
  }

  #step(touched: Set<Received>): boolean {
    if (this.#state === "head") return this.#head(touched);
    const request = this.#current;
    if (request === undefined) throw new Error("a body without a request");
    if (this.#state === "length" || this.#state === "chunk") {
      const piece = this.#bytes.subarray(0, this.#due);
      if (piece.length === 0) return false;
      request.chunks.push(Buffer.from(piece));
      this.#bytes = this.#bytes.subarray(piece.length);
      this.#due -= piece.length;
      if (this.#due > 0) return false;
      if (this.#state === "chunk") this.#state = "end";
      else this.#finish(request, touched);
      return true;
    }
    const line = this.#line();
    if (line === undefined) return false;
    if (this.#state === "end") {
      if (line !== "") throw new Error(`a chunk ends with ${JSON.stringify(line)}`);
      this.#state = "size";
      return true;
    }
    if (!CHUNK_SIZE.test(line)) throw new Error(`chunk size ${JSON.stringify(line)}`);
    this.#due = Number.parseInt(line, 16);
    if (this.#due > 0) {
      this.#state = "chunk";
      return true;
    }
    // No trailers: the very next bytes end the message.
    if (this.#bytes.length < 2) {
      this.#bytes = Buffer.concat([Buffer.from(`${line}\r\n`), this.#bytes]);
      return false;
    }
    if (this.#line() !== "") throw new Error("a trailer");
    this.#finish(request, touched);
    return true;
  }

  #head(touched: Set<Received>): boolean {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end === -1) return false;
    const head = this.#bytes.subarray(0, end + 4).toString("latin1");
    this.#bytes = this.#bytes.subarray(end + 4);
    const [line = "", ...lines] = head.slice(0, -4).split("\r\n");
    const [, method, target] = REQUEST_LINE.exec(line) ?? [];
    if (method === undefined || target === undefined) throw new Error(`request line ${JSON.stringify(line)}`);
    const headers = lines.map((text) => {
      const [, name, value] = HEADER_LINE.exec(text) ?? [];
      if (name === undefined || value === undefined) throw new Error(`header line ${JSON.stringify(text)}`);
      return [name, value] as const;
    });
    const values = (wanted: string) => headers.filter(([name]) => fold(name) === wanted).map(([, value]) => value);
    const [host, ...hosts] = values("host");
    const [length, ...lengths] = values("content-length");
    const [coding, ...codings] = values("transfer-encoding");
    if (host === undefined || hosts.length > 0) throw new Error(`${hosts.length + 1} Host headers or none: ${head}`);
    if (lengths.length > 0 || codings.length > 0 || (length !== undefined && coding !== undefined)) {
      throw new Error(`framed more than once: ${head}`);
    }
    if (length !== undefined && !LENGTH.test(length)) throw new Error(`Content-Length ${JSON.stringify(length)}`);
    if (coding !== undefined && coding !== "chunked") throw new Error(`Transfer-Encoding ${JSON.stringify(coding)}`);
    const framing = coding !== undefined ? "chunked" : length !== undefined ? "length" : "none";
    const { number: socket, servername } = this;
    const request = new Received({ socket, servername, method, target, headers, head, framing });
    this.#current = request;
    touched.add(request);
    this.#due = Number(length ?? 0);
    if (framing === "chunked") this.#state = "size";
    else if (this.#due > 0) this.#state = "length";
    else this.#finish(request, touched);
    return true;
  }

  #line(): string | undefined {
    const at = this.#bytes.indexOf("\r\n");
    if (at === -1) return undefined;
    const line = this.#bytes.subarray(0, at).toString("latin1");
    this.#bytes = this.#bytes.subarray(at + 2);
    return line;
  }

  #finish(request: Received, touched: Set<Received>): void {
    request.complete = true;
    touched.add(request);
    this.#current = undefined;
    this.#state = "head";
  }
}

/** Every name that some server reads as the same header. */
const fold = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "-");
