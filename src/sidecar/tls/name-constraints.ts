/**
 * X.509 name constraints (RFC 5280 section 4.2.1.10) of the one form that Sidekey writes: a list of permitted hosts, and
 * every other name and address excluded. Bytes in, bytes out; it decides nothing about routes. A form that is not ours
 * is never guessed at: it reads as undefined.
 */
import type { Host } from "../../core/authority.ts";
import { parseIp } from "../../core/ip.ts";

/** `name` permits itself and, as X.509 has it, every name below it; an address permits itself. */
export type PermittedHost = Host;

export const NAME_CONSTRAINTS_OID = "2.5.29.30";

/** Tags in DER. The context-specific ones are fields of the two ASN.1 types. */
const SEQUENCE = 0x30;
const PERMITTED = 0xa0;
const EXCLUDED = 0xa1;
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;

/** Canonical: the same hosts in any order give the same bytes. */
export const encodeNameConstraints = (hosts: readonly PermittedHost[]): Buffer => {
  const permitted = [...new Set(hosts.map(baseOf))].sort().map((hex) => Buffer.from(hex, "hex"));
  const has = (tag: number): boolean => permitted.some((base) => base[0] === tag);
  const excluded: Buffer[] = [];
  // Where nothing of a type is permitted, that type is not constrained at all: so it is excluded as a whole.
  if (!has(DNS_NAME)) excluded.push(tlv(DNS_NAME, Buffer.alloc(0)));
  if (!has(IP_ADDRESS)) excluded.push(tlv(IP_ADDRESS, Buffer.alloc(8)), tlv(IP_ADDRESS, Buffer.alloc(32)));
  const subtrees = (tag: number, bases: readonly Buffer[]): readonly Buffer[] =>
    bases.length === 0 ? [] : [tlv(tag, Buffer.concat(bases.map((base) => tlv(SEQUENCE, base))))];
  return tlv(SEQUENCE, Buffer.concat([...subtrees(PERMITTED, permitted), ...subtrees(EXCLUDED, excluded)]));
};

/** The permitted hosts, or undefined for bytes that `encodeNameConstraints` would not have written. */
export const decodeNameConstraints = (der: Buffer): readonly PermittedHost[] | undefined => {
  const hosts: PermittedHost[] = [];
  const [outer] = read(der) ?? [];
  for (const { tag, value } of read(outer?.value ?? Buffer.alloc(0)) ?? []) {
    if (tag !== PERMITTED) continue;
    for (const subtree of read(value) ?? []) {
      const [base] = read(subtree.value) ?? [];
      const host = base === undefined ? undefined : hostOf(base);
      if (host === undefined) return undefined;
      hosts.push(host);
    }
  }
  return encodeNameConstraints(hosts).equals(der) ? hosts : undefined;
};

/** Whether a certificate for `host` passes these constraints. */
export const permits = (hosts: readonly PermittedHost[], { kind, name }: Host): boolean =>
  hosts.some(
    (permitted) =>
      permitted.kind === kind && (permitted.name === name || (kind === "name" && name.endsWith(`.${permitted.name}`))),
  );

/** Which of the wanted hosts these constraints shut out. */
export const shutOut = (hosts: readonly PermittedHost[], wanted: readonly PermittedHost[]): readonly PermittedHost[] =>
  wanted.filter((host) => !permits(hosts, host));

/** The GeneralName in hex. */
const baseOf = ({ kind, name }: PermittedHost): string => {
  if (kind === "name") return tlv(DNS_NAME, Buffer.from(name, "latin1")).toString("hex");
  const address = parseIp(name);
  if (address === undefined) throw new TypeError("not an address");
  return tlv(IP_ADDRESS, Buffer.concat([address, Buffer.alloc(address.length, 0xff)])).toString("hex");
};

const hostOf = ({ tag, value }: Element): PermittedHost | undefined => {
  if (tag === DNS_NAME) return { kind: "name", name: value.toString("latin1") };
  if (tag !== IP_ADDRESS) return undefined;
  if (value.length === 8) return { kind: "ipv4", name: [...value.subarray(0, 4)].join(".") };
  if (value.length !== 32) return undefined;
  const groups = Array.from({ length: 8 }, (_, at) => value.readUInt16BE(at * 2).toString(16)).join(":");
  // In its shortest form, as hosts are compared.
  return { kind: "ipv6", name: new URL(`http://[${groups}]`).hostname.slice(1, -1) };
};

const tlv = (tag: number, value: Buffer): Buffer => Buffer.concat([Buffer.from([tag, ...lengthOf(value)]), value]);

const lengthOf = ({ length }: Buffer): readonly number[] => {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
};

interface Element {
  readonly tag: number;
  readonly value: Buffer;
}

/** The elements that fill `der`, or undefined when it is cut or goes on. */
const read = (der: Buffer): readonly Element[] | undefined => {
  const elements: Element[] = [];
  let at = 0;
  while (at < der.length) {
    const tag = der[at] ?? 0;
    let length = der[at + 1] ?? 0xff;
    at += 2;
    if (length > 0x84) return undefined;
    if (length >= 0x80) {
      const size = length - 0x80;
      if (size === 0 || at + size > der.length) return undefined;
      length = der.readUIntBE(at, size);
      at += size;
    }
    if (at + length > der.length) return undefined;
    elements.push({ tag, value: der.subarray(at, at + length) });
    at += length;
  }
  return elements;
};
