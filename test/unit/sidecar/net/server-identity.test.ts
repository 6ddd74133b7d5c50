import type { PeerCertificate } from "node:tls";
import { describe, expect, it } from "vitest";
import { checkIdentity } from "../../../../src/sidecar/net/server-identity.ts";

const holds = (name: string, subjectaltname: string | undefined, CN = name): boolean =>
  checkIdentity(name, { subject: { CN }, subjectaltname } as unknown as PeerCertificate) === undefined;

describe("a certificate", () => {
  it.each([
    ["api.test", "DNS:api.test"],
    ["api.test", "DNS:other.test, DNS:API.test"],
    ["api.test", "DNS:a*b.test, DNS:api.test"],
    ["a.api.test", "DNS:*.api.test"],
    ["127.0.0.1", "DNS:x.test, IP Address:127.0.0.1"],
    ["::1", "IP Address:0:0:0:0:0:0:0:1"],
    ["2001:db8::1", "DNS:x.test, IP Address:2001:DB8:0:0:0:0:0:1"],
    ["2001:db8:0:0::1", "IP Address:2001:db8::1"],
  ])("for %s may say %s", (name, names) => {
    expect(holds(name, names)).toBe(true);
  });

  it.each([
    ["api.test", undefined],
    ["api.test", ""],
    ["api.test", "IP Address:127.0.0.1"],
    ["api.test", "URI:https://api.test"],
    ["api.test", "email:api.test"],
    ["api.test", "DNS:api.test."],
    ["api.test", "DNS:other.test"],
    ["api.test", "DNS:*"],
    ["api.test", "DNS:*.test"],
    ["a.api.test", "DNS:*.test"],
    ["a.api.test", "DNS:a.*.test"],
    ["a.api.test", "DNS:*a.api.test"],
    ["a.api.test", "DNS:a*.api.test"],
    ["a.b.api.test", "DNS:*.*.api.test"],
    ["api.test", 'DNS:"api.test\\u0000.evil.test"'],
    ["api.test", 'DNS:"evil.test, DNS:api.test", DNS:api.test'],
    ["127.0.0.1", "DNS:127.0.0.1"],
    ["127.0.0.1", "IP Address:127.0.0.2"],
    ["::1", "IP Address:0:0:0:0:0:0:0:2"],
    ["::1", "DNS:::1"],
    ["::1", "IP Address:127.0.0.1"],
    ["::1", undefined],
  ])("for %s may not say %s", (name, names) => {
    expect(holds(name, names)).toBe(false);
  });
});
