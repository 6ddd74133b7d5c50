/** Whose address it is: what limits of one address are counted by. Pure. */
import { cidrContains, parseCidr, parsePeer } from "../../../core/ip.ts";

/** Bytes of an IPv6 address that a provider gives whole to one customer (RFC 6177). */
const CUSTOMER_BYTES = 8;

/**
 * An IPv4 address, however it is written, is itself; of an IPv6 address all of its /64 are one, since whoever has one has
 * them all. What is no address is one caller, so that nobody gets a limit of his own by writing nonsense.
 */
export const networkOf = (ip: string): string => {
  const bytes = parsePeer(ip);
  if (bytes === undefined) return "unknown";
  return Buffer.from(bytes.length === 16 ? bytes.subarray(0, CUSTOMER_BYTES) : bytes).toString("hex");
};

/** Whether an address is in one of these CIDRs. */
export const createRanges = (cidrs: readonly string[]): ((ip: string) => boolean) => {
  const ranges = cidrs.flatMap((text) => parseCidr(text) ?? []);
  return (ip) => {
    const bytes = parsePeer(ip);
    return bytes !== undefined && ranges.some((range) => cidrContains(range, bytes));
  };
};
