import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import {
  parseAbsoluteTarget,
  parseOriginTarget,
  requireSameAuthority,
} from "../../../../src/sidecar/ingress/target.ts";

const authority = (text: string) => {
  const parsed = parseAuthority(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
};

const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
  return "accepted";
};

describe("absolute targets", () => {
  it("are split into one canonical reading", () => {
    expect(parseAbsoluteTarget("HTTP://API.Test:8080/a/%7Eb?x=1&y=%zz")).toEqual({
      scheme: "http",
      authority: authority("api.test:8080"),
      path: "/a/~b",
      query: "?x=1&y=%zz",
    });
    expect(parseAbsoluteTarget("https://api.test").path).toBe("/");
    expect(parseAbsoluteTarget("https://api.test?q").query).toBe("?q");
    expect(parseAbsoluteTarget("http://[::1]:80/").authority.key).toBe("[::1]:80");
  });

  it.each([
    "/origin",
    "*",
    "ftp://a.test/",
    "http:/a.test/",
    "http:///p",
    "http://user@a.test/",
    "http://a.test:0/",
    "http://a.test:99999/",
    "http://a.test:080/",
    "http://a.test./",
    "http://127.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://a..test/",
    "http://a.test%00/",
    "http://[::1/",
    "http://[::1%25lo]/",
    "http://a_b-.test/",
    "http://a.test\\@evil.test/",
    "http://a.test#f",
    "http://a.test/#f",
    "http://a.test//b",
    "http://a.test/../b",
    "http://a.test/%2e%2e/b",
    "http://a.test/a%2fb",
    "http://a.test/\\b",
    "http://a.test/%zz",
    "http://a.test/?a#b",
  ])("%s is refused", (text) => {
    expect(codeOf(() => parseAbsoluteTarget(text))).toBe("INGRESS_BAD_REQUEST");
  });
});

describe("origin targets", () => {
  const settled = authority("api.test:443");

  it("take the connection's authority", () => {
    expect(parseOriginTarget("/v1/x?y", "https", settled)).toEqual({
      scheme: "https",
      authority: settled,
      path: "/v1/x",
      query: "?y",
    });
  });

  it.each(["//evil.test/p", "/\\evil.test", "///evil.test", "evil.test/", "?x", ""])("'%s' is refused", (text) => {
    expect(codeOf(() => parseOriginTarget(text, "https", settled))).toBe("INGRESS_BAD_REQUEST");
  });
});

describe("the Host header", () => {
  const target = { scheme: "https", authority: authority("api.test:443"), path: "/", query: "" } as const;

  it.each([undefined, "api.test", "API.test", "api.test:443"])("%s names the same host", (host) => {
    expect(codeOf(() => requireSameAuthority(host, target))).toBe("accepted");
  });

  it.each(["evil.test", "api.test:80", "api.test:8443", "sub.api.test", "127.0.0.1"])("%s is a mismatch", (host) => {
    expect(codeOf(() => requireSameAuthority(host, target))).toBe("INGRESS_AUTHORITY_MISMATCH");
  });

  it.each(["", "api.test@evil.test", "api.test/x", "api.test:", "a b", "api.test%00", "api.test."])(
    "'%s' is no host",
    (host) => {
      expect(codeOf(() => requireSameAuthority(host, target))).toBe("INGRESS_BAD_REQUEST");
    },
  );
});
