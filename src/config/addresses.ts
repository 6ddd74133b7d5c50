/** Zod types for the addresses of the file: where to listen, ranges, and where a host is really reached. */
import * as z from "zod";
import { type Authority, formatHost, parseAuthority, parseHost } from "../core/authority.ts";
import { type Cidr, parseCidr } from "../core/ip.ts";
import { refuse } from "./units.ts";

export type ListenAddress =
  | {
      readonly kind: "tcp";
      /** IP address without brackets. */
      readonly host: string;
      /** 0 = any free. */
      readonly port: number;
    }
  | {
      readonly kind: "unix";
      readonly path: string;
    };

const LISTEN_FORM = "must be HOST:PORT, unix:PATH or off";
const PORT = /^(?:0|[1-9][0-9]{0,4})$/;

/** Undefined for `off`; a unix path as written. Whether the address may be listened on is decided elsewhere. */
const listenText = z.string().meta({ pattern: "^(off|unix:.+|.+:[0-9]+)$" });

export const listenAddress = listenText.transform((text, context): ListenAddress | undefined => {
  if (text === "off") return undefined;
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "" || path.includes("\0")) return refuse(context, "a path must follow 'unix:'");
    return { kind: "unix", path };
  }
  const colon = text.lastIndexOf(":");
  const digits = text.slice(colon + 1);
  const port = Number(digits);
  if (colon === -1 || !PORT.test(digits) || port > 65535)
    return refuse(context, LISTEN_FORM, "For example 127.0.0.1:7070.");
  const host = parseHost(text.slice(0, colon));
  if (host === undefined) return refuse(context, LISTEN_FORM, "For example 127.0.0.1:7070, or [::1]:7070.");
  if (host.kind !== "name") return { kind: "tcp", host: host.name, port };
  // What a name means is for the resolver to say, and a listener must be where it seems to be.
  if (host.name === "localhost") return { kind: "tcp", host: "127.0.0.1", port };
  return refuse(context, "must be an IP address; only 'localhost' may stand for one");
});

/** Only processes of this machine reach it. */
/** A unix socket and nothing else: what only the user of this process may reach. */
export const unixAddress = listenAddress.transform((address, context): ListenAddress => {
  if (address?.kind === "unix") return address;
  return refuse(
    context,
    "must be unix:PATH",
    "It is for the user of this process alone, so it takes no network address.",
  );
});

export const isLocalListener = (address: ListenAddress): boolean =>
  address.kind === "unix" || address.host === "::1" || address.host.startsWith("127.");

/** Node binds a longer path cut off, silently (ruling 19). `bytes` */
export const MAX_SOCKET_PATH = 103;

const cidrText = z.string().meta({ pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$", examples: ["10.0.0.0/8"] });

export const cidr = cidrText.transform((text, context): Cidr => {
  const range = parseCidr(text);
  if (range !== undefined) return range;
  return refuse(
    context,
    "must be a range of addresses",
    "Write the first address of the range and its length: 10.0.0.0/8, fd00::/8, or 127.0.0.1/32 for one.",
  );
});

/** `host:port`, both needed. */
const authorityText = z.string().meta({ pattern: ":[0-9]+$", examples: ["127.0.0.1:9443"] });

export const authority = authorityText.transform((text, context): Authority => {
  const parsed = parseAuthority(text);
  return parsed ?? refuse(context, "must be HOST:PORT", "For example 127.0.0.1:9443.");
});

/** Scheme, host and port of a URL (RFC 6454 section 4). */
export interface Origin {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
}

const ORIGIN_FORM = "must be an origin: https:// or http://, a host, and a port where it is not the usual one";

const originText = z.string().meta({ pattern: "^https?://[^/?#]+$", examples: ["https://api.example.com"] });

export const origin = originText.transform((text, context): Origin => {
  const [, scheme, rest = ""] = /^(https?):\/\/([^/?#]+)$/.exec(text) ?? [];
  const parsed = parseAuthority(rest, scheme === "http" ? 80 : 443);
  if (parsed === undefined) return refuse(context, ORIGIN_FORM, "For example https://api.example.com, without a path.");
  return { scheme: scheme === "http" ? "http" : "https", authority: parsed };
});

/** A name or address as a Host header has it, without port, in canonical form. */
export const hostName = z.string().transform((text, context): string => {
  const host = parseHost(text);
  return host === undefined
    ? refuse(context, "must be a host without port", "For example sidekey.internal, 10.0.0.5 or [fd00::5].")
    : formatHost(host);
});
