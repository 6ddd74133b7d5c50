/**
 * Host and port of a request, in one canonical spelling. One grammar for CONNECT, Host, absolute targets, SNI and the
 * patterns of routes, so that policy, DNS, TLS and the wire can't disagree (RFC 9110 section 7.2, RFC 3986 section
 * 3.2.2). Never `new URL`: it repairs what must be refused.
 */
import { isIPv4, isIPv6 } from "node:net";

export type HostKind = "name" | "ipv4" | "ipv6";

export interface Host {
  readonly kind: HostKind;
  /** Lower-case name, dotted quad, or IPv6 in its shortest form without brackets. */
  readonly name: string;
}

export interface Authority {
  readonly host: Host;
  readonly port: number;
  /** `host:port`, IPv6 in brackets. The key for routes, pools and audit. */
  readonly key: string;
}

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const PORT = /^(?:0|[1-9][0-9]{0,4})$/;

/** Host in canonical form, or undefined when it is none: no trailing dot, userinfo, percent, zone or bare number. */
export const parseHost = (text: string): Host | undefined => {
  if (text.startsWith("[")) {
    const inner = text.endsWith("]") ? text.slice(1, -1) : "";
    return isIPv6(inner) && !inner.includes("%") ? { kind: "ipv6", name: canonicalIpv6(inner) } : undefined;
  }
  if (isIPv4(text)) return { kind: "ipv4", name: text };
  if (text.length === 0 || text.length > 253) return undefined;
  const name = text.toLowerCase();
  const labels = name.split(".");
  for (const label of labels) if (!LABEL.test(label)) return undefined;
  // A last label that is a number makes resolvers read the whole as an IPv4 address (127.1, 0x7f000001).
  const last = labels[labels.length - 1] ?? "";
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(last)) return undefined;
  return { kind: "name", name };
};

/** `host:port` or `host`; without a port, `defaultPort`, and if there is none either, undefined. Port 0 is none. */
export const parseAuthority = (text: string, defaultPort?: number): Authority | undefined => {
  const colon = text.endsWith("]") ? -1 : text.lastIndexOf(":");
  const host = parseHost(colon === -1 ? text : text.slice(0, colon));
  if (host === undefined) return undefined;
  let port = defaultPort;
  if (colon !== -1) {
    const digits = text.slice(colon + 1);
    if (!PORT.test(digits)) return undefined;
    port = Number(digits);
  }
  if (port === undefined || port === 0 || port > 65535) return undefined;
  return createAuthority(host, port);
};

export const createAuthority = (host: Host, port: number): Authority => ({
  host,
  port,
  key: `${formatHost(host)}:${port}`,
});

/** As written in a Host header or a URL: IPv6 in brackets. */
export const formatHost = (host: Host): string => (host.kind === "ipv6" ? `[${host.name}]` : host.name);

/** As written in a Host header: the port is left out when it is the scheme's own. */
export const formatAuthority = (authority: Authority, defaultPort: number): string =>
  authority.port === defaultPort ? formatHost(authority.host) : authority.key;

/** RFC 5952 by way of the URL parser, which is safe here: the text is a checked IPv6 address. */
const canonicalIpv6 = (address: string): string => new URL(`http://[${address}]`).hostname.slice(1, -1);
