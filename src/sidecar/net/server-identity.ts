/**
 * Whether a verified certificate is for a name. Stricter than Node's own check, which takes the common name where there
 * is no other, a trailing dot and a wildcard inside a label: none of these is a server's name (RFC 9525 section 6.3).
 */
import { isIPv6, SocketAddress } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";

/** Undefined when it is. */
export const checkIdentity = (name: string, certificate: PeerCertificate): Error | undefined => {
  const { subjectaltname = "" } = certificate;
  // Node quotes a name in which something other than a name stands, a NUL or a comma: no such certificate is sound.
  if (subjectaltname.includes('"')) return new Error("the certificate's names are malformed");
  const entries = subjectaltname.split(", ").filter(isPlain);
  if (holdsAddress(name, entries)) return undefined;
  const kept = entries.join(", ");
  return checkServerIdentity(name, { ...certificate, subject: {}, subjectaltname: kept } as PeerCertificate);
};

/** An address, or a DNS name whose only wildcard is its whole first label. */
const isPlain = (entry: string): boolean => {
  if (!entry.startsWith("DNS:")) return true;
  const name = entry.slice("DNS:".length);
  return !name.endsWith(".") && !name.replace(/^\*\./, "").includes("*");
};

const ADDRESS = "IP Address:";

/** Node 22.23 finds no IPv6 address in any certificate; others compare the same canonical texts (RFC 5952). */
const holdsAddress = (name: string, entries: readonly string[]): boolean => {
  const wanted = canonical(name);
  if (wanted === undefined) return false;
  return entries.some((entry) => entry.startsWith(ADDRESS) && canonical(entry.slice(ADDRESS.length)) === wanted);
};

/** Of an IPv6 address without a zone, which no certificate holds. */
const canonical = (text: string): string | undefined =>
  isIPv6(text) && !text.includes("%") ? new SocketAddress({ address: text, family: "ipv6" }).address : undefined;
