/**
 * Which addresses may be connected to. Judged on the address where the socket connects, never on a name (threats B5,
 * B6). Private and special addresses are closed unless `egress.allow` opens them; metadata services are never open.
 */
import { type Cidr, cidrContains, type IpBytes, isMapped, parseCidr, parseIp } from "../../core/ip.ts";

export interface EgressGuard {
  /** Public, or opened by `egress.allow`; not a metadata service. Anything that is no address is refused. */
  permits(address: string): boolean;
  /** For an address the operator wrote (ruling 17): everything but metadata services. */
  permitsWritten(address: string): boolean;
  /** Covered by `egress.allow`, and no metadata service: what ruling 11 asks of cleartext beyond loopback. */
  opens(address: string): boolean;
}

const ranges = (...texts: string[]): readonly Cidr[] =>
  texts.map((text) => {
    const cidr = parseCidr(text);
    if (cidr === undefined) throw new TypeError(`not a range: ${text}`);
    return cidr;
  });

/** Where clouds and orchestrators hand out credentials to whoever asks from the machine. */
const METADATA = ranges(
  // AWS, Azure, Google, Oracle, DigitalOcean and others at 169.254.169.254, with their name and time services.
  "169.254.169.0/24",
  // AWS container credentials: 169.254.170.2 and 169.254.170.23.
  "169.254.170.0/24",
  // Tencent, Scaleway.
  "169.254.0.23",
  "169.254.42.42",
  // Azure's host, Alibaba, Oracle's older one.
  "168.63.129.16",
  "100.100.100.200",
  "192.0.0.192",
  // The same over IPv6: AWS, Google, Scaleway.
  "fd00:ec2::/32",
  "fd20:ce::/32",
  "fd00:42::42",
);

/** IPv4 that is not public: IANA's special-purpose registry (RFC 6890 and later), multicast and reserved. */
const CLOSED_V4 = ranges(
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
);

/** The only IPv6 space in public use; NAT64, ULA, link-local, site-local and multicast lie outside. */
const PUBLIC_V6 = ranges("2000::/3");

/** Special inside it: Teredo, benchmarking, ORCHID and the rest of 2001::/23, documentation, 6to4. */
const CLOSED_V6 = ranges("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20");

const COMPATIBLE = ranges("::/96");
/** ::, ::1 and the rest of ::/104 are addresses of their own, not IPv4 in disguise. */
const NOT_COMPATIBLE = ranges("::/104");
const NAT64 = ranges("64:ff9b::/96", "64:ff9b:1::/48");
const SIX_TO_FOUR = ranges("2002::/16");
const TEREDO = ranges("2001::/32");

export const createEgressGuard = ({ allow }: { readonly allow: readonly Cidr[] }): EgressGuard => {
  const opens = (bytes: IpBytes): boolean => isIn(allow, bytes);
  const judge = (address: string, verdict: (bytes: IpBytes) => boolean): boolean => {
    const bytes = parseIp(address);
    if (bytes === undefined) return false;
    const plain = unwrap(bytes);
    return !reachesMetadata(plain) && verdict(plain);
  };
  return {
    permits: (address) => judge(address, (bytes) => opens(bytes) || isPublic(bytes)),
    permitsWritten: (address) => judge(address, () => true),
    opens: (address) => judge(address, opens),
  };
};

const isIn = (list: readonly Cidr[], bytes: IpBytes): boolean => {
  for (const range of list) if (cidrContains(range, bytes)) return true;
  return false;
};

/** v4-mapped and v4-compatible addresses are judged by their IPv4 address: the system connects to that one. */
const unwrap = (bytes: IpBytes): IpBytes => {
  const isCompatible = isIn(COMPATIBLE, bytes) && !isIn(NOT_COMPATIBLE, bytes);
  return isMapped(bytes) || isCompatible ? bytes.slice(12) : bytes;
};

const isPublic = (bytes: IpBytes): boolean => {
  if (bytes.length === 4) return !isIn(CLOSED_V4, bytes);
  if (!isIn(PUBLIC_V6, bytes) || isIn(CLOSED_V6, bytes)) return false;
  return !isIsatap(bytes) || isPublic(bytes.slice(12));
};

/** By itself, or through a translator that `egress.allow` opens. */
const reachesMetadata = (bytes: IpBytes): boolean => {
  if (isIn(METADATA, bytes)) return true;
  return bytes.length === 16 && embedded(bytes).some((v4) => isIn(METADATA, v4));
};

/** IPv4 addresses that a relay would send to: RFC 6052, RFC 3056, RFC 4380, RFC 5214. */
const embedded = (bytes: IpBytes): readonly IpBytes[] => {
  if (isIn(NAT64, bytes) || isIsatap(bytes)) return [bytes.slice(12)];
  if (isIn(SIX_TO_FOUR, bytes)) return [bytes.slice(2, 6)];
  // Teredo writes the client's address inverted.
  if (isIn(TEREDO, bytes)) return [bytes.slice(4, 8), bytes.slice(12).map((byte) => byte ^ 0xff)];
  return [];
};

/** Interface identifier `[02]00:5efe:a.b.c.d` (RFC 5214 section 6.1). */
const isIsatap = (bytes: IpBytes): boolean =>
  bytes.length === 16 && ((bytes[8] ?? 1) & 0xfd) === 0 && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe;
