/**
 * One request and its answer over node:http or node:https: bounded in time and in bytes, verified, never redirected,
 * never through a proxy. Knows nothing of vaults, keys or retries, and must never put what was sent or received into an
 * error.
 */
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from "node:https";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { BadAnswerError, type NetworkError, ValidationError } from "../errors.ts";
import type { VaultAddress } from "./address.ts";
import { ANSWER_TIMEOUT, CONNECT_TIMEOUT, networkFault, type Shown } from "./network-fault.ts";

export interface WireRequest {
  readonly method: string;
  /** Encoded, with its query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** On a connection of its own: one that was idle may be closing at the other end, and then nobody knows what arrived. */
  readonly fresh: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface WireAnswer {
  readonly status: number;
  /** First value of each. */
  header(name: string): string | undefined;
  readonly body: Buffer;
}

export interface WireStream {
  readonly status: number;
  header(name: string): string | undefined;
  readonly stream: IncomingMessage;
  /** What is left of it, up to the usual size, as one body. */
  collect(): Promise<Buffer>;
}

export interface Wire {
  /** Errors: CLIENT_UNREACHABLE, CLIENT_BAD_ANSWER; the signal's own reason. */
  exchange(request: WireRequest): Promise<WireAnswer>;
  /** Up to the head of the answer. Errors: as `exchange`. */
  open(request: WireRequest): Promise<WireStream>;
  /** For connections from here on; those that are open stay. Errors: CLIENT_REFUSED; then nothing has changed. */
  useTls(material: WireTls): void;
  close(): void;
}

export interface WireTls {
  /** PEM; trusted in place of the system's roots. */
  readonly ca?: string | undefined;
  /** For a vault that asks its clients for one. PEM. */
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined;
}

export interface WireOptions extends WireTls {
  readonly address: VaultAddress;
  /** For a connection, for the head of the answer, and for the rest of it, each. `ms` */
  readonly timeoutMs: number;
  /** Of an answer's body. `bytes` */
  readonly maxAnswer: number;
  readonly clock: Pick<Clock, "now">;
}

/** Idle connections kept for the next call. */
const MAX_IDLE = 8;
/** Below the 5 s after which most servers close an idle connection. `ms` */
const IDLE_MS = 4_000;

/** OpenSSL's own errors come with the first call, and say nothing of whose they are. Errors: CLIENT_REFUSED. */
const requireUsable = ({ ca, cert, key }: SecureContextOptions): void => {
  if (ca !== undefined && !String(ca).includes("-----BEGIN CERTIFICATE-----")) {
    throw new ValidationError({ detail: "What was given as 'ca' holds no certificate in PEM.", hint: MEND_PEM });
  }
  try {
    createSecureContext({ ca, cert, key });
  } catch {
    throw new ValidationError({
      detail: "What was given as 'certificate' is damaged, locked, or no pair of a certificate and its key.",
      hint: MEND_PEM,
    });
  }
};

const MEND_PEM = "Give the text of the file in PEM, not its path.";

/** Errors: CLIENT_REFUSED. */
const usableTls = ({ ca, certificate }: WireTls) => {
  const tls = {
    minVersion: "TLSv1.2",
    // Written out, so that no variable of the environment turns it off.
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca }),
    ...(certificate !== undefined && certificate),
  } as const;
  requireUsable(tls);
  return tls;
};

export const createWire = ({ address, timeoutMs, maxAnswer, clock, ...first }: WireOptions): Wire => {
  let tls = usableTls(first);
  const kept = { keepAlive: true, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS, scheduling: "lifo" } as const;
  // Connections are kept by what they were made with: those of another certificate are left to their idle end.
  const agent = address.secure ? new HttpsAgent(kept) : new HttpAgent(kept);
  const shown = (): Shown | undefined => ("cert" in tls ? { cert: tls.cert, now: clock.now() } : undefined);

  const send = ({ method, target, headers, body, fresh, signal }: WireRequest): ClientRequest => {
    const options: RequestOptions = {
      host: address.host,
      port: address.port,
      method,
      path: target,
      headers: {
        host: address.authority,
        "accept-encoding": "identity",
        ...headers,
        ...(body !== undefined && { "content-length": String(Buffer.byteLength(body)) }),
      },
      agent: fresh ? false : agent,
      ...(signal !== undefined && { signal }),
    };
    return address.secure ? httpsRequest({ ...options, ...tls }) : httpRequest(options);
  };

  /** `onStale`: the other end closed a connection that was kept, before it said a word. */
  const attempt = (request: WireRequest, onStale?: () => void): Promise<WireStream> =>
    new Promise((resolve, reject) => {
      const outgoing = send(request);
      let connected = false;
      const stop = (code: string): void => void outgoing.destroy(Object.assign(new Error("timed out"), { code }));
      let timer = setTimeout(stop, timeoutMs, CONNECT_TIMEOUT);
      const arrived = (): void => {
        connected = true;
        clearTimeout(timer);
        timer = setTimeout(stop, timeoutMs, ANSWER_TIMEOUT);
      };
      outgoing.on("socket", (socket) => {
        // Where the option is given to an agent, Node 20 does not hand it on for TLS.
        socket.setNoDelay(true);
        if (outgoing.reusedSocket) arrived();
        else socket.once(address.secure ? "secureConnect" : "connect", arrived);
      });
      const fault = (error: Error): NetworkError =>
        networkFault(error, address, connected, outgoing.reusedSocket ? undefined : shown());
      outgoing.on("error", (error) => {
        clearTimeout(timer);
        if (outgoing.reusedSocket && isReset(error)) onStale?.();
        reject(request.signal?.aborted === true ? request.signal.reason : fault(error));
      });
      // An upgrade nobody asked for would otherwise end in silence.
      outgoing.on("upgrade", (_response, socket) => {
        socket.destroy();
        reject(new BadAnswerError({ detail: `${address.origin} answers with an upgrade.` }));
      });
      outgoing.on("response", (stream) => {
        clearTimeout(timer);
        const status = stream.statusCode ?? 0;
        // Its failure is told by who reads it; unread, it is nobody's.
        stream.on("error", () => undefined);
        resolve({ status, header: (name) => firstOf(stream, name), stream, collect: () => collect(stream, request) });
      });
      outgoing.end(request.body);
    });

  const open = async (request: WireRequest): Promise<WireStream> => {
    let isStale = false;
    try {
      return await attempt(request, () => {
        isStale = true;
      });
    } catch (error) {
      // Kept connections carry only what may be sent twice.
      if (!isStale || request.signal?.aborted === true) throw error;
      return attempt({ ...request, fresh: true });
    }
  };

  const collect = (stream: IncomingMessage, { signal }: WireRequest): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      const fail = (error: NetworkError): void => {
        clearTimeout(timer);
        stream.destroy();
        reject(signal?.aborted === true ? signal.reason : error);
      };
      const timer = setTimeout(() => fail(networkFault({ code: ANSWER_TIMEOUT }, address, true)), timeoutMs);
      const tooLong = (): void =>
        fail(new BadAnswerError({ detail: `${address.origin} answers with more than ${maxAnswer} bytes.` }));
      if (Number(stream.headers["content-length"] ?? 0) > maxAnswer) return tooLong();
      stream.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxAnswer) tooLong();
        else chunks.push(chunk);
      });
      stream.on("end", () => {
        if (!stream.complete) return;
        clearTimeout(timer);
        resolve(Buffer.concat(chunks, size));
      });
      stream.on("error", (error) => fail(networkFault(error, address, true)));
      // After an end in order this changes nothing any more.
      stream.on("close", () => fail(new BadAnswerError({ detail: `The answer of ${address.origin} was cut off.` })));
    });

  return {
    open,
    async exchange(request) {
      const { status, header, stream, collect: rest } = await open(request);
      if (status >= 300 && status < 400 && status !== 304) {
        stream.destroy();
        throw new BadAnswerError({
          detail: `${address.origin} answers with a redirect, which is never followed.`,
          hint: "Give the address at which the vault itself listens.",
          httpStatus: status,
        });
      }
      return { status, header, body: await rest() };
    },
    useTls(material) {
      tls = usableTls(material);
    },
    close: () => agent.destroy(),
  };
};

const isReset = (error: NodeJS.ErrnoException): boolean => error.code === "ECONNRESET" || error.code === "EPIPE";

const firstOf = (stream: IncomingMessage, name: string): string | undefined => {
  const value = stream.headers[name];
  return Array.isArray(value) ? value[0] : value;
};
