/**
 * NO_PROXY: which upstreams go around the proxy that the environment names. No standard says what it means; this is what
 * curl and Go agree on. An entry that is none of that excepts nothing: then the proxy has its say.
 */
import { type Authority, parseHost } from "../../core/authority.ts";
import { type Cidr, cidrContains, parseCidr, parseIp } from "../../core/ip.ts";

type Matcher = (authority: Authority) => boolean;

/** `*`, and between commas or blanks: a domain with all below it, an address, a range; each with a port if it likes. */
export const createProxyExceptions = (text: string): Matcher => {
  const matchers = text.split(/[\s,]+/).flatMap((entry) => (entry === "" ? [] : (matcherOf(entry) ?? [])));
  return (authority) => matchers.some((matches) => matches(authority));
};

const matcherOf = (entry: string): Matcher | undefined => {
  if (entry === "*") return () => true;
  const range = parseCidr(entry);
  if (range !== undefined) return ({ host }) => host.kind !== "name" && isIn(range, host.name);
  const [, name = "", port] = /^(.*?)(?::([0-9]{1,5}))?$/.exec(entry) ?? [];
  const host = parseHost(name.replace(/^(?:\*?\.)/, ""));
  if (host === undefined) return undefined;
  return (authority) =>
    (port === undefined || authority.port === Number(port)) &&
    (authority.host.name === host.name || (host.kind === "name" && authority.host.name.endsWith(`.${host.name}`)));
};

const isIn = (range: Cidr, address: string): boolean => {
  const bytes = parseIp(address);
  return bytes !== undefined && cidrContains(range, bytes);
};
