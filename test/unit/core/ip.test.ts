import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cidrContains, isLoopback, isMapped, parseCidr, parseIp, parsePeer } from "../../../src/core/ip.ts";

const hex = (text: string): string => Buffer.from(parseIp(text) ?? []).toString("hex");

describe("parseIp", () => {
  it.each([
    ["127.0.0.1", "7f000001"],
    ["::", "00000000000000000000000000000000"],
    ["::1", "00000000000000000000000000000001"],
    ["1::", "00010000000000000000000000000000"],
    ["2001:db8::ff00:42:8329", "20010db8000000000000ff0000428329"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["::ffff:1.2.3.4", "00000000000000000000ffff01020304"],
    ["64:ff9b::10.0.0.1", "0064ff9b00000000000000000a000001"],
    ["1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304"],
  ])("reads %s", (text, bytes) => {
    expect(hex(text)).toBe(bytes);
  });

  it.each(["", "x", "127.1", "::1%lo", "[::1]", "1.2.3.4.5", "256.1.1.1", ":::"])("refuses %j", (text) => {
    expect(parseIp(text)).toBeUndefined();
  });

  it("agrees with the URL parser on every IPv6 address", () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
        expect(hex(text)).toBe(hex(canonical));
        expect(hex(text)).toHaveLength(32);
      }),
    );
  });
});

describe("parseCidr", () => {
  it.each([
    ["10.0.0.0/8", 8],
    ["0.0.0.0/0", 0],
    ["10.1.2.3/32", 32],
    ["10.1.2.3", 32],
    ["::/0", 0],
    ["fd00::/8", 8],
    ["::1", 128],
    ["::ffff:10.0.0.0/104", 8],
    ["192.0.2.128/25", 25],
  ])("reads %s", (text, prefix) => {
    expect(parseCidr(text)?.prefix).toBe(prefix);
  });

  it.each([
    "10.1.2.3/8",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "10.0/8",
    "::1/129",
    "::1/64",
    "x/8",
    "",
    "/8",
    "10.0.0.0/8/8",
  ])("refuses %j", (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  it("contains the addresses whose first bits are its own", () => {
    fc.assert(
      fc.property(
        fc.ipV4(),
        fc.integer({ min: 0, max: 32 }),
        fc.integer({ min: 0, max: 31 }),
        (text, prefix, flipped) => {
          const address = parseIp(text) ?? new Uint8Array();
          const number = Buffer.from(address).readUInt32BE();
          const network = prefix === 0 ? 0 : (number & (0xffffffff << (32 - prefix))) >>> 0;
          const bytes = Buffer.alloc(4);
          bytes.writeUInt32BE(network);
          const range = parseCidr(`${bytes.join(".")}/${prefix}`);
          if (range === undefined) throw new Error("not a range");
          expect(cidrContains(range, address)).toBe(true);
          bytes.writeUInt32BE((number ^ (1 << (31 - flipped))) >>> 0);
          expect(cidrContains(range, bytes)).toBe(flipped >= prefix);
        },
      ),
    );
  });

  it("knows mapped addresses", () => {
    expect(isMapped(parseIp("::ffff:1.2.3.4") ?? new Uint8Array())).toBe(true);
    expect(isMapped(parseIp("::fffe:1.2.3.4") ?? new Uint8Array())).toBe(false);
    expect(isMapped(parseIp("1.2.3.4") ?? new Uint8Array())).toBe(false);
  });
});

describe("the end of a socket", () => {
  it("is IPv4 also where a dual-stack listener shows it mapped, and has no zone", () => {
    expect(parsePeer("::ffff:10.0.0.1")).toEqual(parseIp("10.0.0.1"));
    expect(parsePeer("fe80::1%eth0")).toEqual(parseIp("fe80::1"));
    expect(parsePeer("2001:db8::1")).toEqual(parseIp("2001:db8::1"));
    expect(parsePeer("")).toBeUndefined();
  });

  it("is loopback in 127.0.0.0/8 and at ::1 only", () => {
    const isLocal = (text: string): boolean => isLoopback(parsePeer(text) ?? new Uint8Array(4));
    const yes = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"];
    const no = ["128.0.0.1", "10.0.0.1", "0.0.0.0", "::", "::2", "::127.0.0.1", "1::1", "fe80::1", "::ffff:10.0.0.1"];
    expect(yes.filter(isLocal)).toEqual(yes);
    expect(no.filter(isLocal)).toEqual([]);
  });
});
