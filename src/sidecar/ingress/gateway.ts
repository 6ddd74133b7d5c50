/**
 * The gateway: `/<route>/rest` goes to that route's upstream as `/rest`, for clients that take a base URL and no proxy.
 * It only reads what is asked for; policy matches the upstream's URL afresh, so that a base URL reaches nothing that the
 * same URL through the proxy would not. To a browser this port is a web site, so every trace of a page is refused
 * (ruling 20): a rebound Host, an Origin, a fetch from elsewhere.
 */
import type { Server, Socket } from "node:net";
import { createAuthority, formatHost, parseAuthority, parseHost } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { HeaderList } from "../../core/headers.ts";
import { isLoopback, parsePeer } from "../../core/ip.ts";
import { canonicalPath } from "../policy/path.ts";
import type { GatewayReader } from "./connection-kind.ts";
import type { Door } from "./door.ts";
import type { RequestHandler } from "./handler.ts";
import { createListener } from "./listener.ts";
import type { ListenerTraits } from "./listener-traits.ts";
import { parseOriginTarget } from "./target.ts";

export interface GatewayOptions {
  readonly handler: RequestHandler;
  readonly door: Door;
  readonly listener: ListenerTraits;
  /** Canonical host names that stand for this listener beside its own address, on any port. */
  readonly names: ReadonlySet<string>;
}

/** For `listen()`. */
export const createGateway = (options: GatewayOptions): Server => {
  const { handler, door, listener, names } = options;
  return createListener((socket) => {
    if (!door.admit(socket, listener.clients)) return;
    const own = listener.kind === "unix" ? isUnixHost : ownHosts(socket);
    const isOurs = (host: string): boolean => own(host) || isNamed(host, names);
    handler.serve(socket, { way: "gateway", target: createGatewayReader(isOurs) });
  });
};

/** `isOurs`: whether a Host header names this listener. */
const createGatewayReader =
  (isOurs: (host: string) => boolean): GatewayReader =>
  ({ target: url, headers }, { host }, origins) => {
    if (host === undefined) throw bad("no Host header");
    if (!isOurs(host)) {
      if (parseAuthority(host, HTTP_PORT) === undefined) throw bad("the Host header is not a valid host and port");
      throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH", { detail: "Host is not the gateway's" });
    }
    if (comesFromPage(headers)) throw new SidekeyError("INGRESS_BROWSER");
    if (!url.startsWith("/")) throw bad("the gateway takes targets that begin with '/'");
    const end = url.slice(1).search(/[/?]/) + 1;
    const route = end === 0 ? url.slice(1) : url.slice(1, end);
    const origin = origins.get(route);
    if (origin === undefined) {
      const mark = url.indexOf("?");
      // `//evil`, `/../x`: what can't be read in one way is no unknown route.
      if (canonicalPath(mark === -1 ? url : url.slice(0, mark)) === undefined) throw bad("the path has two readings");
      throw new SidekeyError("POLICY_NO_ROUTE");
    }
    const rest = end === 0 ? "/" : url.slice(end);
    const target = parseOriginTarget(rest.startsWith("/") ? rest : `/${rest}`, origin.scheme, origin.authority);
    return { ...target, route };
  };

const bad = (detail: string): SidekeyError => new SidekeyError("INGRESS_BAD_REQUEST", { detail });

/** The listener's own address as this connection reached it, also for one bound to every address. */
const ownHosts = ({ localAddress = "", localPort = 0 }: Socket): ((host: string) => boolean) => {
  const bytes = parsePeer(localAddress);
  const literal = localAddress.replace(/%.*$/, "").replace(/^::ffff:(?=[0-9.]+$)/, "");
  const host = parseHost(bytes?.length === 16 ? `[${literal}]` : literal);
  // A peer that is gone already leaves no address.
  if (bytes === undefined || host === undefined || localPort === 0) return () => false;
  const own = createAuthority(host, localPort).key;
  const localhost = isLoopback(bytes) ? `localhost:${localPort}` : own;
  return (text) => {
    if (text === own || text === localhost) return true;
    const key = parseAuthority(text, HTTP_PORT)?.key;
    return key !== undefined && (key === own || key === localhost);
  };
};

const HTTP_PORT = 80;

/** A unix socket has no address; clients that are told of one fill in `localhost`. */
const isUnixHost = (text: string): boolean => parseAuthority(text, HTTP_PORT)?.host.name === "localhost";

const isNamed = (text: string, names: ReadonlySet<string>): boolean => {
  if (names.size === 0) return false;
  const authority = parseAuthority(text, HTTP_PORT);
  return authority !== undefined && names.has(formatHost(authority.host));
};

/** Only browsers send these; `none` is a person who typed the address, and our own pages there are none. */
const comesFromPage = (headers: HeaderList): boolean => {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length === 6 && name.toLowerCase() === "origin") return true;
    if (name.length === 14 && name.toLowerCase() === "sec-fetch-site") {
      const value = headers[i + 1];
      if (value !== "none" && value !== "same-origin") return true;
    }
  }
  return false;
};
