/**
 * IP addresses and ranges as bytes. Never decides on a text: getaddrinfo reads `127.1` and `0x7f000001` as addresses,
 * `net.isIP` doesn't, so only what `net.isIP` accepts gets here and everything is compared as numbers.
 */
import { isIPv4, isIPv6 } from "node:net";

/** 4 or 16 bytes in network order. */
export type IpBytes = Uint8Array;

export interface Cidr {
  /** 4 or 16 bytes, the bits past `prefix` zero. */
  readonly bytes: IpBytes;
  /** In bits. */
  readonly prefix: number;
}

/** The bytes of a dotted quad or an IPv6 address without zone and brackets; anything else is undefined. */
export const parseIp = (text: string): IpBytes | undefined => {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  // A zone (`fe80::1%eth0`) names an interface of this machine: never something to route or allow by.
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const before = hextets(head);
  if (tail === undefined) return toBytes(before);
  const after = hextets(tail);
  const gap = new Array<number>(8 - before.length - after.length).fill(0);
  return toBytes([...before, ...gap, ...after]);
};

const hextets = (text: string): number[] => {
  const words: number[] = [];
  if (text === "") return words;
  for (const part of text.split(":")) {
    if (part.includes(".")) {
      const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
      words.push(a * 256 + b, c * 256 + d);
    } else words.push(Number.parseInt(part, 16));
  }
  return words;
};

const toBytes = (words: readonly number[]): IpBytes => {
  const bytes = new Uint8Array(16);
  words.forEach((word, index) => {
    bytes[index * 2] = word >> 8;
    bytes[index * 2 + 1] = word & 0xff;
  });
  return bytes;
};

/**
 * `ADDRESS/BITS`, or a bare address for that one alone. Undefined when it is neither, or when bits past the prefix are
 * set: `10.1.2.3/8` says two things at once. A range of v4-mapped addresses is the v4 range.
 */
export const parseCidr = (text: string): Cidr | undefined => {
  const slash = text.indexOf("/");
  const bytes = parseIp(slash === -1 ? text : text.slice(0, slash));
  if (bytes === undefined) return undefined;
  const bits = bytes.length * 8;
  const digits = slash === -1 ? String(bits) : text.slice(slash + 1);
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const prefix = Number(digits);
  if (prefix > bits) return undefined;
  const cidr = { bytes, prefix };
  if (!sameBits(bytes, maskBytes(bytes, prefix), bits)) return undefined;
  return prefix >= 96 && isMapped(bytes) ? { bytes: bytes.slice(12), prefix: prefix - 96 } : cidr;
};

export const cidrContains = (cidr: Cidr, address: IpBytes): boolean =>
  cidr.bytes.length === address.length && sameBits(cidr.bytes, address, cidr.prefix);

/** `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2). */
export const isMapped = (bytes: IpBytes): boolean =>
  bytes.length === 16 && bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);

const maskBytes = (bytes: IpBytes, prefix: number): IpBytes =>
  bytes.map((byte, index) => byte & (0xff << Math.max(0, Math.min(8, (index + 1) * 8 - prefix))));

const sameBits = (a: IpBytes, b: IpBytes, bits: number): boolean => {
  for (let index = 0; index * 8 < bits; index++) {
    const loose = Math.max(0, (index + 1) * 8 - bits);
    if (((a[index] ?? 0) ^ (b[index] ?? 0)) >> loose !== 0) return false;
  }
  return true;
};

/**
 * The address of a socket's end as the system gives it: without zone, and IPv4 also where a dual-stack listener shows
 * it v4-mapped. For comparing who is connected, never for choosing where to connect.
 */
export const parsePeer = (text: string): IpBytes | undefined => {
  const bytes = parseIp(text.replace(/%.*$/, ""));
  return bytes !== undefined && isMapped(bytes) ? bytes.slice(12) : bytes;
};

/** 127.0.0.0/8 or ::1, as `parsePeer` gives them. */
export const isLoopback = (bytes: IpBytes): boolean =>
  bytes.length === 4 ? bytes[0] === 127 : bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0);
