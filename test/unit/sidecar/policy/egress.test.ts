import { describe, expect, it } from "vitest";
import { type Cidr, parseCidr } from "../../../../src/core/ip.ts";
import { createEgressGuard } from "../../../../src/sidecar/policy/egress.ts";

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`not a range: ${text}`);
  return parsed;
};

const guard = createEgressGuard({ allow: [] });
const everything = createEgressGuard({ allow: ["0.0.0.0/0", "::/0"].map(cidr) });

const PUBLIC = [
  "1.1.1.1",
  "8.8.8.8",
  "172.15.255.255",
  "172.32.0.1",
  "100.63.255.255",
  "100.128.0.1",
  "192.0.1.1",
  "198.17.255.255",
  "198.20.0.1",
  "223.255.255.255",
  "2606:4700::1111",
  "2a00:1450:4001::1",
  "::ffff:8.8.8.8",
  "::ffff:808:808",
  "::8.8.8.8",
  "2001:4860:4860::8888",
  "2620:fe::fe",
];

const CLOSED = [
  "0.0.0.0",
  "0.1.2.3",
  "127.0.0.1",
  "127.255.255.254",
  "10.0.0.1",
  "10.255.255.255",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.0.1",
  "192.168.255.255",
  "169.254.0.1",
  "100.64.0.1",
  "100.127.255.255",
  "192.0.0.1",
  "192.0.2.1",
  "192.88.99.1",
  "198.18.0.1",
  "198.19.255.255",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "239.255.255.255",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "0:0:0:0:0:0:0:1",
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "::ffff:10.0.0.1",
  "::127.0.0.1",
  "::10.0.0.1",
  "fe80::1",
  "febf::1",
  "fc00::1",
  "fdff::1",
  "fec0::1",
  "ff02::1",
  "64:ff9b::8.8.8.8",
  "64:ff9b::10.0.0.1",
  "64:ff9b:1::1",
  "100::1",
  "2001::1",
  "2001:0:4136:e378:8000:63bf:3fff:fdd2",
  "2001:2::1",
  "2001:10::1",
  "2001:20::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "2002:808:808::1",
  "3fff::1",
  "5f00::1",
  "2a00::5efe:10.0.0.1",
  "2a00::200:5efe:7f00:1",
];

const METADATA = [
  "169.254.169.254",
  "169.254.169.253",
  "169.254.170.2",
  "169.254.170.23",
  "169.254.42.42",
  "168.63.129.16",
  "100.100.100.200",
  "192.0.0.192",
  "fd00:ec2::254",
  "fd00:ec2::23",
  "fd20:ce::254",
  "fd00:42::42",
  "::ffff:169.254.169.254",
  "::ffff:a9fe:a9fe",
  "::169.254.169.254",
  "64:ff9b::169.254.169.254",
  "64:ff9b:1::a9fe:a9fe",
  "2002:a9fe:a9fe::1",
  "2001:0:a9fe:a9fe::",
  "2001:0:1:2:3:4:5601:5601",
  "2a00::5efe:169.254.169.254",
];

const NO_ADDRESS = [
  "",
  "localhost",
  "127.1",
  "0x7f000001",
  "2130706433",
  "0177.0.0.1",
  "1.2.3",
  "[::1]",
  "fe80::1%eth0",
  "8.8.8.8 ",
  "8.8.8.8:80",
  "\u2460\u2461\u2466.0.0.1",
  "127\u30020\u30020\u30021",
];

describe("createEgressGuard", () => {
  it.each(PUBLIC)("permits %s", (address) => {
    expect(guard.permits(address)).toBe(true);
    expect(guard.opens(address)).toBe(false);
  });

  it.each(CLOSED)("closes %s unless it is allowed or written", (address) => {
    expect(guard.permits(address)).toBe(false);
    expect(guard.permitsWritten(address)).toBe(true);
    expect(everything.permits(address)).toBe(true);
    expect(everything.opens(address)).toBe(true);
  });

  it.each(METADATA)("never opens the metadata address %s", (address) => {
    expect(guard.permits(address)).toBe(false);
    expect(guard.permitsWritten(address)).toBe(false);
    expect(everything.permits(address)).toBe(false);
    expect(everything.permitsWritten(address)).toBe(false);
    expect(everything.opens(address)).toBe(false);
  });

  it.each(NO_ADDRESS)("refuses %j, which is no address", (text) => {
    expect(everything.permits(text)).toBe(false);
    expect(everything.permitsWritten(text)).toBe(false);
  });

  it("opens exactly the allowed ranges, in every spelling of their addresses", () => {
    const some = createEgressGuard({ allow: ["10.1.0.0/16", "127.0.0.2", "fd12:3456::/32"].map(cidr) });
    for (const address of ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "127.0.0.2", "fd12:3456::1"]) {
      expect(some.permits(address)).toBe(true);
    }
    for (const address of ["10.0.255.255", "10.2.0.0", "127.0.0.1", "127.0.0.3", "fd12:3457::1"]) {
      expect(some.permits(address)).toBe(false);
    }
    expect(some.permits("8.8.8.8")).toBe(true);
    expect(some.opens("8.8.8.8")).toBe(false);
  });
});
