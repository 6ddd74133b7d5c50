/**
 * Whether a verified certificate is for a name. Stricter than Node's own check, which takes the common name where there
 * is no other, a trailing dot and a wildcard inside a label: none of these is a server's name (RFC 9525 section 6.3).
 */
import { checkServerIdentity, type PeerCertificate } from "node:tls";

/** Undefined when it is. */
export const checkIdentity = (name: string, certificate: PeerCertificate): Error | undefined => {
  const { subjectaltname = "" } = certificate;
  // Node quotes a name in which something other than a name stands, a NUL or a comma: no such certificate is sound.
  if (subjectaltname.includes('"')) return new Error("the certificate's names are malformed");
  const kept = subjectaltname.split(", ").filter(isPlain).join(", ");
  return checkServerIdentity(name, { ...certificate, subject: {}, subjectaltname: kept } as PeerCertificate);
};

/** An address, or a DNS name whose only wildcard is its whole first label. */
const isPlain = (entry: string): boolean => {
  if (!entry.startsWith("DNS:")) return true;
  const name = entry.slice("DNS:".length);
  return !name.endsWith(".") && !name.replace(/^\*\./, "").includes("*");
};
