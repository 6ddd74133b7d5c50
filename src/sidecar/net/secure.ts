/**
 * TLS to an upstream on a connected socket: verified, for the name of the matched authority alone, before anybody gets
 * the connection and so before the first credential byte.
 */
import type { Socket } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  createSecureContext,
  rootCertificates,
  type TLSSocket,
} from "node:tls";
import type { Authority } from "../../core/authority.ts";
import type { Connection } from "./connection.ts";
import { Wire } from "./wire.ts";

/** Calls back once. */
export type Secured = (error: Error | null, connection: Connection | null) => void;

export interface Securer {
  /** Takes the socket over; destroys it when the handshake fails. */
  secure(socket: Socket, authority: Authority, done: Secured): TLSSocket;
}

const MAX_SESSIONS = 512;

/** `extraCa`: PEM added to the system roots. */
export const createSecurer = (extraCa: string | undefined): Securer => {
  // Left out, Node shares its one built-in root store between all contexts; a list costs 10 ms and memory, once.
  const secureContext = createSecureContext({
    minVersion: "TLSv1.2",
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
    secure(socket, authority, done) {
      const { name, kind } = authority.host;
      const wire = new Wire(socket);
      const secure = connectTls({
        socket: wire,
        secureContext,
        session: sessions.get(authority.key),
        // RFC 6066 section 3: no SNI for an address.
        ...(kind === "name" && { servername: name }),
        // Always the authority's name, whatever the socket was connected to.
        checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
        ALPNProtocols: ["http/1.1"],
        rejectUnauthorized: true,
      });
      let cut = false;
      const push = secure.push;
      secure.push = (chunk, encoding) => {
        // The end of what TLS carried: by close_notify, unless the wire had ended before.
        if (chunk === null && wire.readableEnded) cut = true;
        return push.call(secure, chunk, encoding);
      };
      const settle = (error: Error | null): void => {
        secure.off("secureConnect", ready).off("error", fail).off("close", closed);
        // A late second error must not be unhandled.
        if (error !== null) secure.on("error", () => undefined).destroy();
        done(error, error === null ? { socket: secure, endedInOrder } : null);
      };
      const endedInOrder = (): boolean => secure.readableEnded && secure.errored === null && !cut;
      const ready = (): void => settle(null);
      const fail = (error: Error): void => settle(error);
      const closed = (): void => settle(new Error("closed"));
      secure
        .on("secureConnect", ready)
        .on("error", fail)
        .on("close", closed)
        .on("session", (session) => remember(authority.key, session));
      return secure;
    },
  };
};
