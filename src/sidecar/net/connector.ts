/**
 * Opens sockets to upstreams: the only place that turns a name into an address. Every address is judged where the
 * socket connects, so that DNS can't move a checked name to a closed address; TLS is verified, for the name of the
 * matched authority, before the caller gets the socket and so before the first credential byte.
 */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  createSecureContext,
  rootCertificates,
  type TLSSocket,
} from "node:tls";
import { type Authority, formatHost } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { EgressGuard } from "../policy/egress.ts";

/** Names to addresses, passed in so that tests need no DNS. Shape of `dns.lookup` with `all: true`. */
export type Resolver = (
  hostname: string,
  options: { readonly all: true; readonly order: "verbatim" },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Right side of `upstream.connect`: written by the operator, so allowed as written (ruling 17). */
export interface ConnectTarget {
  /** IP literal or name. */
  readonly address: string;
  readonly port: number;
}

export interface ConnectorOptions {
  readonly guard: EgressGuard;
  /** `host:port` of the authority to where it is really reached. */
  readonly redirects: ReadonlyMap<string, ConnectTarget>;
  /** PEM added to the system roots. */
  readonly extraCa: string | undefined;
  /** Own listening `address:port`s, asked at each connect. */
  readonly isOwnListener: (address: string, port: number) => boolean;
  readonly resolve?: Resolver;
}

/** How far a connection may go without TLS. */
export type Cleartext = "never" | "loopback" | "opened" | "uncredentialed";

export interface ConnectRequest {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
  /** For `http`: what the route allows (ruling 11). */
  readonly cleartext: Cleartext;
  /** `ms`, for name, TCP and TLS together. */
  readonly timeoutMs: number;
  /** From an IP literal that the operator wrote in a route's pattern. */
  readonly written: boolean;
}

export type Connected = (error: Error | null, socket: Socket | TLSSocket | null) => void;

/**
 * Calls back once, with a connected (and verified) socket or with a `SidekeyError`:
 * POLICY_ADDRESS, POLICY_CLEARTEXT, POLICY_LOOP, UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT, TLS_UPSTREAM_UNTRUSTED.
 */
export type Connector = (request: ConnectRequest, done: Connected) => void;

const LOOPBACK = /^(?:127\.|::1$|::ffff:127\.)/;

export const createConnector = (options: ConnectorOptions): Connector => {
  const { guard, redirects, isOwnListener } = options;
  const resolve: Resolver = options.resolve ?? systemLookup;
  // Left out, Node shares its one built-in root store between all contexts; a list costs 10 ms and memory, once.
  const secureContext = createSecureContext(
    options.extraCa === undefined ? {} : { ca: [...rootCertificates, options.extraCa] },
  );
  // One TLS session per authority, so that a new connection costs no full handshake.
  const sessions = new Map<string, Buffer>();

  const judge = (
    address: string,
    port: number,
    written: boolean,
    request: ConnectRequest,
  ): SidekeyError | undefined => {
    if (isOwnListener(address, port)) return new SidekeyError("POLICY_LOOP");
    if (!(written ? guard.permitsWritten(address) : guard.permits(address))) return new SidekeyError("POLICY_ADDRESS");
    if (request.scheme === "http" && request.cleartext !== "uncredentialed" && !LOOPBACK.test(address)) {
      if (request.cleartext !== "opened" || !guard.opens(address)) return new SidekeyError("POLICY_CLEARTEXT");
    }
    return undefined;
  };

  return function connect(request, done) {
    const { authority, scheme } = request;
    const redirect = redirects.get(authority.key);
    const hostname = redirect?.address ?? authority.host.name;
    const port = redirect?.port ?? authority.port;
    const written = redirect !== undefined || request.written;

    // An IP literal never reaches the lookup function: judged here.
    if (isIP(hostname) !== 0) {
      const refusal = judge(hostname, port, written, request);
      if (refusal !== undefined) return done(refusal, null);
    }

    const guardedLookup: LookupFunction = (name, lookupOptions, callback) => {
      resolve(name, { all: true, order: "verbatim" }, (error, addresses) => {
        if (error !== null) return callback(error, []);
        let refusal: SidekeyError | undefined;
        const open = addresses.filter(({ address }) => {
          const verdict = judge(address, port, written, request);
          refusal ??= verdict;
          return verdict === undefined;
        });
        const first = open[0];
        if (first === undefined) return callback(refusal ?? new SidekeyError("UPSTREAM_UNREACHABLE"), []);
        if (lookupOptions.all === true) callback(null, open);
        else callback(null, first.address, first.family);
      });
    };

    const tcp = { host: hostname, port, lookup: guardedLookup, autoSelectFamily: true, noDelay: true, keepAlive: true };
    const name = authority.host.name;
    const socket: Socket | TLSSocket =
      scheme === "http"
        ? connectTcp(tcp)
        : connectTls({
            ...tcp,
            secureContext,
            session: sessions.get(authority.key),
            // RFC 6066 section 3: no SNI for an address.
            ...(authority.host.kind === "name" && { servername: name }),
            // Always the authority's name, whatever the socket was connected to.
            checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
            ALPNProtocols: ["http/1.1"],
            minVersion: "TLSv1.2",
          });

    let phase: "tcp" | "tls" = "tcp";
    const timer = setTimeout(() => socket.destroy(new SidekeyError("UPSTREAM_TIMEOUT")), request.timeoutMs);
    const finish = (error: Error | null): void => {
      clearTimeout(timer);
      socket.off("error", fail);
      socket.off("close", closed);
      socket.off(scheme === "http" ? "connect" : "secureConnect", ready);
      done(error, error === null ? socket : null);
    };
    const ready = (): void => {
      socket.setNoDelay(true);
      finish(null);
    };
    const fail = (error: Error): void => {
      // A late second error must not be unhandled.
      socket.on("error", () => socket.destroy());
      finish(connectFailure(error, phase, authority));
    };
    const closed = (): void => finish(connectFailure(new Error("closed"), phase, authority));
    socket
      .on("error", fail)
      .on("close", closed)
      .on(scheme === "http" ? "connect" : "secureConnect", ready);
    if (scheme === "https") {
      socket.once("connect", () => {
        phase = "tls";
      });
      (socket as TLSSocket).on("session", (session) => remember(sessions, authority.key, session));
    }
  };
};

const MAX_SESSIONS = 512;

const remember = (sessions: Map<string, Buffer>, key: string, session: Buffer): void => {
  sessions.delete(key);
  sessions.set(key, session);
  if (sessions.size > MAX_SESSIONS) {
    const oldest = sessions.keys().next().value;
    if (oldest !== undefined) sessions.delete(oldest);
  }
};

const connectFailure = (error: Error, phase: "tcp" | "tls", authority: Authority): SidekeyError => {
  if (error instanceof SidekeyError) return error;
  // Happy eyeballs gathers one error per address; a refusal among them is the one that says why.
  const inner = "errors" in error && Array.isArray(error.errors) ? (error.errors as unknown[]) : [];
  const refusal = inner.find((one): one is SidekeyError => one instanceof SidekeyError);
  if (refusal !== undefined) return refusal;
  const code = "code" in error && typeof error.code === "string" ? error.code : "closed";
  const detail = `${formatHost(authority.host)}:${authority.port} (${code})`;
  return new SidekeyError(phase === "tls" ? "TLS_UPSTREAM_UNTRUSTED" : "UPSTREAM_UNREACHABLE", {
    detail,
    cause: error,
  });
};
