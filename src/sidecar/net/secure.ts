/**
 * TLS to an upstream: verified, for the name of the matched authority alone, before anybody gets
 * the connection and so before the first credential byte.
 */
import type { Duplex } from "node:stream";
import {
  connect as connectTls,
  createSecureContext,
  DEFAULT_CIPHERS,
  rootCertificates,
  type TLSSocket,
} from "node:tls";
import type { Authority } from "../../core/authority.ts";
import type { Connection } from "./connection.ts";
import { checkIdentity } from "./server-identity.ts";

/** Calls back once. */
export type Secured = (error: Error | null, connection: Connection | null) => void;

export interface Securer {
  /**
   * Takes the transport over; destroys it when the handshake fails. A connected socket feeds TLS below JavaScript, where
   * a FIN and a close_notify look the same: fast, and its end is never vouched for. To watch the end, the transport must
   * be a `Wire`, or a socket that has not begun to connect.
   */
  secure(transport: Duplex, authority: Authority, watchEnd: boolean, done: Secured): void;
}

const MAX_SESSIONS = 512;

/**
 * What may wait on a connection before its other side is told to pause, each way. Node's own mark, 16 KiB, is less than
 * one read of the system brings, so that an upload paused behind each. The types leave the option out. `bytes`
 */
const HIGH_WATER = { highWaterMark: 128 * 1024 } as const;

/** `extraCa`: PEM added to the system roots. */
export const createSecurer = (extraCa: string | undefined): Securer => {
  // Left out, Node shares its one built-in root store between all contexts; a list costs 10 ms and memory, once.
  const secureContext = createSecureContext({
    minVersion: "TLSv1.2",
    // 112 bits: no RSA below 2048, no SHA-1 in a chain. Node's own level lets RSA of 1024 pass.
    ciphers: `${DEFAULT_CIPHERS}:@SECLEVEL=2`,
    ...(extraCa !== undefined && { ca: [...rootCertificates, extraCa] }),
  });
  // One session per authority, so that a new connection costs no full handshake. Node hands one over only once the
  // certificate was verified, and doesn't verify again what it resumes: hence never by anything but the authority.
  const sessions = new Map<string, Buffer>();

  const remember = (key: string, session: Buffer): void => {
    sessions.delete(key);
    sessions.set(key, session);
    if (sessions.size <= MAX_SESSIONS) return;
    const oldest = sessions.keys().next().value;
    if (oldest !== undefined) sessions.delete(oldest);
  };

  return {
    secure(transport, authority, watchEnd, done) {
      const { name, kind } = authority.host;
      const secure = connectTls({
        socket: transport,
        secureContext,
        session: sessions.get(authority.key),
        // RFC 6066 section 3: no SNI for an address.
        ...(kind === "name" && { servername: name }),
        // Always the authority's name, whatever the socket was connected to.
        checkServerIdentity: (_host, certificate) => checkIdentity(name, certificate),
        ALPNProtocols: ["http/1.1"],
        ...HIGH_WATER,
        rejectUnauthorized: true,
      });
      const announced = watchEnd ? watchAnnouncement(secure, transport) : () => false;
      const settle = (error: Error | null): void => {
        secure.off("secureConnect", ready).off("error", fail).off("close", closed);
        // A late second error must not be unhandled.
        if (error !== null) secure.on("error", () => undefined).destroy();
        done(error, error === null ? { socket: secure, endedInOrder } : null);
      };
      const endedInOrder = (): boolean => secure.readableEnded && secure.errored === null && announced();
      const ready = (): void => settle(null);
      const fail = (error: Error): void => settle(error);
      const closed = (): void => settle(new Error("closed"));
      secure
        .on("secureConnect", ready)
        .on("error", fail)
        .on("close", closed)
        .on("session", (session) => remember(authority.key, session));
    },
  };
};

/** Whether close_notify ended the stream: then it ends while what carries it has not. */
const watchAnnouncement = (secure: TLSSocket, transport: Duplex): (() => boolean) => {
  let announced = false;
  const push = secure.push;
  secure.push = (chunk, encoding) => {
    if (chunk === null) announced = !transport.readableEnded;
    return push.call(secure, chunk, encoding);
  };
  return () => announced;
};
