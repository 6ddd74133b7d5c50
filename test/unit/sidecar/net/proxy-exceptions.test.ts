import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { createProxyExceptions } from "../../../../src/sidecar/net/proxy-exceptions.ts";

const isExcepted = (text: string, target: string): boolean => {
  const authority = parseAuthority(target, 443);
  if (authority === undefined) throw new Error(`not an authority: ${target}`);
  return createProxyExceptions(text)(authority);
};

describe("NO_PROXY", () => {
  it.each([
    ["example.com", "example.com"],
    ["example.com", "api.example.com"],
    [".example.com", "api.example.com"],
    [".example.com", "example.com"],
    ["*.example.com", "api.example.com:8443"],
    ["EXAMPLE.com", "api.example.com"],
    ["a.test, b.test", "b.test"],
    ["a.test b.test", "b.test"],
    ["example.com:8443", "example.com:8443"],
    ["127.0.0.1", "127.0.0.1:9"],
    ["10.0.0.0/8", "10.1.2.3"],
    ["::1", "[::1]"],
    ["[::1]:443", "[::1]:443"],
    ["fd00::/8", "[fd00::1]"],
    ["*", "anything.test"],
  ])("%j excepts %s", (text, target) => {
    expect(isExcepted(text, target)).toBe(true);
  });

  it.each([
    ["", "example.com"],
    [",, ", "example.com"],
    ["example.com", "badexample.com"],
    ["example.com", "example.com.evil.test"],
    ["example.com:8443", "example.com"],
    ["10.0.0.0/8", "11.0.0.1"],
    ["10.0.0.0/8", "10.test"],
    ["0.0.1", "127.0.0.1"],
    ["com*", "example.com"],
    ["https://example.com", "example.com"],
  ])("%j does not except %s", (text, target) => {
    expect(isExcepted(text, target)).toBe(false);
  });
});
