/**
 * Opens connections to upstreams: the only place that turns a name into an address. Every address is judged where the
 * socket connects, so that DNS can't move a checked name to a closed address; TLS is verified before the caller gets
 * the connection.
 */
import { isIP, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type Authority, formatHost } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { EgressGuard } from "../policy/egress.ts";
import type { ClosedPlaces } from "./closed-places.ts";
import { type Connection, plainConnection } from "./connection.ts";
import { DNS_TIMEOUT_MS, guardedLookup, type Resolver, systemResolver } from "./lookup.ts";
import { createProxyExceptions } from "./proxy-exceptions.ts";
import { openProxyTunnel, type TunnelRequest, type UpstreamProxy } from "./proxy-tunnel.ts";
import { createSecurer } from "./secure.ts";
import { Wire } from "./wire.ts";

export type { Resolver };

/** Right side of `upstream.connect`: written by the operator, so allowed as written (ruling 17). */
export interface ConnectTarget {
  /** IP literal or name. */
  readonly address: string;
  readonly port: number;
}

export interface ConnectorOptions {
  readonly guard: EgressGuard;
  /** `host:port` of the authority to where it is really reached; these beat the proxy. */
  readonly redirects: ReadonlyMap<string, ConnectTarget>;
  /** `upstream.proxy`: everything else but its exceptions goes through it, and it resolves the names. */
  readonly proxy?: UpstreamProxy | undefined;
  /** PEM added to the system roots. */
  readonly extraCa: string | undefined;
  /** Own listening `address:port`s, asked at each connect. */
  readonly isOwnListener: (address: string, port: number) => boolean;
  /** What no agent may reach, whatever else is open. Default none. */
  readonly closed?: ClosedPlaces;
  readonly resolve?: Resolver;
  /** `ms`; default 5 s. */
  readonly dnsTimeoutMs?: number;
}

/** How far a connection may go without TLS. */
export type Cleartext = "never" | "loopback" | "opened" | "uncredentialed";

export interface ConnectRequest {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
  /** For `http`: what the route allows (ruling 11). */
  readonly cleartext: Cleartext;
  /** `ms`, for name, TCP, proxy and TLS together. */
  readonly timeoutMs: number;
  /** From an IP literal that the operator wrote in a route's pattern. */
  readonly written: boolean;
  /** `endedInOrder` is going to be asked: under TLS that takes a fifth more CPU time per request (`Securer`). */
  readonly watchEnd: boolean;
}

export type Connected = (error: SidekeyError | null, connection: Connection | null) => void;

/**
 * Calls back once, with a connected (and verified) socket or with POLICY_ADDRESS, POLICY_CLEARTEXT, POLICY_LOOP,
 * UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT or TLS_UPSTREAM_UNTRUSTED. What it returns gives the attempt up.
 */
export type Connector = (request: ConnectRequest, done: Connected) => () => void;

/** Where the TCP connection goes, and what may be said about it beforehand. */
interface Hop {
  readonly hostname: string;
  readonly port: number;
  /** The operator wrote this very address. */
  readonly written: boolean;
  readonly proxy: UpstreamProxy | undefined;
}

/** Of silence, before the system asks whether the peer is still there. Node's default, 0, is refused by it: two hours stay. */
const KEEP_ALIVE_MS = 60_000;
const LOOPBACK = /^(?:127\.|::1$|::ffff:127\.)/;
/** RFC 6761 section 6.3, and what cloud machines call their metadata service: behind a proxy, the proxy's own. */
const CLOSED_NAMES = /^(?:(?:.*\.)?localhost|metadata|metadata\.google\.internal|instance-data(?:\.ec2\.internal)?)$/;

export const createConnector = (options: ConnectorOptions): Connector => {
  const { guard, redirects, proxy, isOwnListener, closed } = options;
  const resolve = options.resolve ?? systemResolver;
  const dnsTimeoutMs = options.dnsTimeoutMs ?? DNS_TIMEOUT_MS;
  const securer = createSecurer(options.extraCa);
  const isExcepted = createProxyExceptions(proxy?.exceptions ?? "");

  const hopFor = ({ authority, written }: ConnectRequest): Hop => {
    const redirect = redirects.get(authority.key);
    if (redirect !== undefined) {
      return { hostname: redirect.address, port: redirect.port, written: true, proxy: undefined };
    }
    if (proxy === undefined || isExcepted(authority)) {
      return { hostname: authority.host.name, port: authority.port, written, proxy: undefined };
    }
    return { hostname: proxy.authority.host.name, port: proxy.authority.port, written: true, proxy };
  };

  /**
   * A name of its own under TLS that is verified for it may share its address with a vault, behind one balancer: what
   * arrives there is for that name alone.
   */
  const isClosed = (
    { scheme, cleartext, authority, written }: ConnectRequest,
    address: string,
    port: number,
  ): boolean => {
    const isForItsName = scheme === "https" && cleartext === "never" && authority.host.kind === "name" && !written;
    return closed?.holds(address, port) === true && (!isForItsName || redirects.has(authority.key));
  };

  const judge = (address: string, port: number, written: boolean): SidekeyError | undefined => {
    if (isOwnListener(address, port)) return new SidekeyError("POLICY_LOOP");
    if (!(written ? guard.permitsWritten(address) : guard.permits(address))) return new SidekeyError("POLICY_ADDRESS");
    return undefined;
  };

  /** Ruling 11, for the address that bytes in cleartext would go to. */
  const judgeCleartext = ({ scheme, cleartext }: ConnectRequest, address: string): SidekeyError | undefined => {
    if (scheme === "https" || cleartext === "uncredentialed" || LOOPBACK.test(address)) return undefined;
    return cleartext === "opened" && guard.opens(address) ? undefined : new SidekeyError("POLICY_CLEARTEXT");
  };

  /** Behind a proxy only the text of the authority can be judged (ruling 17); its loopback is not this machine's. */
  const judgeProxied = (request: ConnectRequest): SidekeyError | undefined => {
    const { host, port } = request.authority;
    if (host.kind === "name") {
      if (CLOSED_NAMES.test(host.name)) return new SidekeyError("POLICY_ADDRESS");
      if (request.scheme === "http" && request.cleartext !== "uncredentialed") {
        return new SidekeyError("POLICY_CLEARTEXT", { detail: "behind upstream.proxy the address is not known" });
      }
      return undefined;
    }
    const refusal = judge(host.name, port, request.written);
    if (refusal !== undefined || request.cleartext === "uncredentialed" || request.scheme === "https") return refusal;
    return request.cleartext === "opened" && guard.opens(host.name) ? undefined : new SidekeyError("POLICY_CLEARTEXT");
  };

  return function connect(request, done) {
    const { authority, scheme } = request;
    const hop = hopFor(request);
    const judgeHop = (address: string): SidekeyError | undefined =>
      (hop.proxy === undefined && isClosed(request, address, hop.port) ? vaultRefusal() : undefined) ??
      judge(address, hop.port, hop.written) ??
      (hop.proxy === undefined ? judgeCleartext(request, address) : undefined);
    // An IP literal never reaches the lookup function: judged here.
    const refusal =
      (closed?.names(authority) === true ? vaultRefusal() : undefined) ??
      (hop.proxy === undefined ? undefined : judgeProxied(request)) ??
      (isIP(hop.hostname) === 0 ? undefined : judgeHop(hop.hostname));
    if (refusal !== undefined) {
      done(refusal, null);
      return () => undefined;
    }

    let settled = false;
    let phase: "tcp" | "tls" = "tcp";
    const settle = (error: Error | null, connection: Connection | null): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      if (connection === null) raw.destroy();
      done(error === null ? null : connectFailure(error, phase, authority), connection);
    };
    const timer = setTimeout(() => settle(new SidekeyError("UPSTREAM_TIMEOUT"), null), request.timeoutMs);

    // Not as options of connect(): a socket that was made before takes no notice of them there, and says nothing.
    const raw = new Socket().setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    // A late second error must not be unhandled.
    raw.on("error", (error) => settle(error, null));
    const secure = (transport: Duplex): void => securer.secure(transport, authority, request.watchEnd, settle);
    const ready = (): void => {
      if (scheme === "http") settle(null, plainConnection(raw));
      else phase = "tls";
      if (settled || beganBefore) return;
      secure(request.watchEnd ? new Wire(raw) : raw);
    };
    // See `Securer`: cheaper than a wire, where TLS is the first thing to be said.
    const beganBefore = scheme === "https" && request.watchEnd && hop.proxy === undefined;
    if (beganBefore) secure(raw);
    if (hop.proxy === undefined) raw.once("connect", ready);
    else {
      const mayBegin = scheme === "http" && request.cleartext === "uncredentialed";
      const tunnel: TunnelRequest = { proxy: hop.proxy, to: authority, mayBegin };
      raw.once("connect", () => {
        openProxyTunnel(raw, tunnel, (error) => {
          if (error === null) ready();
          else settle(error, null);
        });
      });
    }
    raw.connect({
      host: hop.hostname,
      port: hop.port,
      lookup: guardedLookup(resolve, judgeHop, dnsTimeoutMs),
      autoSelectFamily: true,
    });
    return () => settle(new SidekeyError("UPSTREAM_RESET", { detail: "given up" }), null);
  };
};

const vaultRefusal = (): SidekeyError =>
  new SidekeyError("POLICY_ADDRESS", { detail: "the vault of this sidecar is closed to agents" });

/** Codes of a connection that broke, in whatever phase: nothing was said about trust. */
const BROKEN: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"]);

const connectFailure = (error: Error, phase: "tcp" | "tls", authority: Authority): SidekeyError => {
  if (error instanceof SidekeyError) return error;
  // Happy eyeballs gathers one error per address; a refusal among them is the one that says why.
  const inner = "errors" in error && Array.isArray(error.errors) ? (error.errors as unknown[]) : [];
  const refusal = inner.find((one): one is SidekeyError => one instanceof SidekeyError);
  if (refusal !== undefined) return refusal;
  const code = "code" in error && typeof error.code === "string" ? error.code : "closed";
  const detail = `${formatHost(authority.host)}:${authority.port} (${code})`;
  const untrusted = phase === "tls" && !BROKEN.has(code);
  return new SidekeyError(untrusted ? "TLS_UPSTREAM_UNTRUSTED" : "UPSTREAM_UNREACHABLE", { detail, cause: error });
};
