import { describe, expect, it } from "vitest";
import {
  formatHostPattern,
  isPatternProblem,
  matchesPath,
  type Pattern,
  parseDeny,
  parseHostKey,
  parsePattern,
} from "../../../../src/sidecar/policy/pattern.ts";

const pattern = (text: string): Pattern => {
  const parsed = parsePattern(text);
  if (isPatternProblem(parsed)) throw new Error(`${text}: ${parsed.problem}`);
  return parsed;
};

describe("parsePattern", () => {
  it("reads methods, scheme, host, port and path", () => {
    const { methods, scheme, host, port, path } = pattern("GET,POST https://API.Example.com:8443/v1/*/x/**");
    expect([...(methods ?? [])]).toEqual(["GET", "POST"]);
    expect(scheme).toBe("https");
    expect(host).toMatchObject({ kind: "exact", authority: { key: "api.example.com:8443" } });
    expect(port).toBe(8443);
    expect(path).toEqual({
      segments: [{ canonical: "v1", generous: "v1" }, undefined, { canonical: "x", generous: "x" }],
      rest: true,
    });
  });

  it("takes 443 and 80 as the ports of https and http, and no path as any path", () => {
    expect(pattern("https://a.example").port).toBe(443);
    expect(pattern("http://a.example").port).toBe(80);
    expect(pattern("https://a.example").path).toEqual({ segments: [], rest: true });
  });

  it.each([
    ["https://a.example", "a.example:443"],
    ["https://*.a.example", "*.a.example:443"],
    ["https://**.a.example:8443", "**.a.example:8443"],
    ["https://[0:0::1]:8443/x", "[::1]:8443"],
    ["http://127.0.0.1:9000/x", "127.0.0.1:9000"],
  ])("canonicalises the host of %s", (text, host) => {
    expect(formatHostPattern(pattern(text))).toBe(host);
  });

  it("takes * as every method", () => {
    expect(pattern("* https://a.example/").methods).toBeUndefined();
    expect(pattern("M-SEARCH https://a.example/").methods).toEqual(new Set(["M-SEARCH"]));
  });

  it("writes literal segments as canonical paths have them", () => {
    expect(pattern("https://a.example/%7Eme/a%2cb").path.segments).toEqual([
      { canonical: "~me", generous: "~me" },
      { canonical: "a%2Cb", generous: "a,b" },
    ]);
  });

  it.each([
    ["", 0],
    ["a.example/x", 0],
    ["ws://a.example/", 0],
    ["HTTPS://a.example/", 0],
    ["get https://a.example/", 0],
    ["GET, https://a.example/", 4],
    ["GET,,POST https://a.example/", 4],
    ["GET,TRACE https://a.example/", 4],
    ["CONNECT https://a.example/", 0],
    ["GET  https://a.example/", 4],
    ["GET https://a.example/ x", 22],
    [" https://a.example/", 0],
    ["https:///x", 8],
    ["https://", 8],
    ["https://a.example:0/", 18],
    ["https://a.example:99999/", 18],
    ["https://a.example:/", 18],
    ["https://a.example:443x/", 18],
    ["https://user:pw@a.example/", 13],
    ["https://user@a.example/", 8],
    ["https://a.example./", 8],
    ["https://a..example/", 8],
    ["https://b\u00fccher.example/", 8],
    ["https://127.1/", 8],
    ["https://2130706433/", 8],
    ["https://0x7f000001/", 8],
    ["https://*/", 8],
    ["https://**/", 8],
    ["https://*.*.example/", 10],
    ["https://a.*.example/", 8],
    ["https://*example.com/", 8],
    ["https://*.1.2.3/", 10],
    ["https://***.example/", 8],
    ["https://::1/", 8],
    ["https://a.example?x=1", 8],
    ["https://a.example/x?y=1", 19],
    ["https://a.example/x#y", 19],
    ["https://a.example/a//b", 17],
    ["https://a.example/../b", 17],
    ["https://a.example/%2e%2e/b", 17],
    ["https://a.example/a%2fb", 17],
    ["https://a.example/a\\b", 17],
    ["https://a.example/**/b", 18],
    ["https://a.example/a*", 19],
    ["https://a.example/***", 18],
    [`https://a.example/${"x".repeat(3000)}`, 2048],
  ])("refuses %j, saying where", (text, at) => {
    const parsed = parsePattern(text);
    expect(isPatternProblem(parsed)).toBe(true);
    expect(parsed).toMatchObject({ at });
  });

  it("never repeats the text in a problem", () => {
    for (const text of [
      "canary-1",
      "canary-1 x y",
      "https://canary-1@h/",
      "https://h:canary-1/",
      "CANARY=1 https://h",
    ]) {
      expect(JSON.stringify(parsePattern(text)).toLowerCase()).not.toContain("canary");
    }
  });
});

describe("parseDeny", () => {
  it.each(["DELETE **", "* /admin/**", "**", "/admin/**", "DELETE,TRACE /x/*"])("reads %s", (text) => {
    expect(isPatternProblem(parseDeny(text))).toBe(false);
  });

  it.each(["DELETE", "delete /x", "DELETE https://a.example/x", "DELETE x", "DELETE /a/**/b", ""])(
    "refuses %j",
    (text) => {
      expect(isPatternProblem(parseDeny(text))).toBe(true);
    },
  );
});

describe("parseHostKey", () => {
  it.each([
    ["api.example.com", "api.example.com:443"],
    ["api.example.com:8443", "api.example.com:8443"],
    ["*.example.com", "*.example.com:443"],
    ["localhost:9443", "localhost:9443"],
  ])("reads %s as https to any path", (key, host) => {
    const parsed = parseHostKey(key);
    if (isPatternProblem(parsed)) throw new Error(parsed.problem);
    expect(formatHostPattern(parsed)).toBe(host);
    expect(parsed).toMatchObject({ scheme: "https", methods: undefined, path: { segments: [], rest: true } });
  });

  it.each(["https://a.example", "a.example/x", "a b", "", "*"])("refuses %j", (key) => {
    expect(isPatternProblem(parseHostKey(key))).toBe(true);
  });
});

describe("matchesPath", () => {
  it.each([
    ["/a/**", "/a", true],
    ["/a/**", "/a/", true],
    ["/a/**", "/a/b/c", true],
    ["/a/**", "/ab", false],
    ["/a/**", "/", false],
    ["/**", "/", true],
    ["/**", "/x/y", true],
    ["/", "/", true],
    ["/", "/x", false],
    ["/a", "/a", true],
    ["/a", "/a/", false],
    ["/a/", "/a/", true],
    ["/a/", "/a", false],
    ["/a/*", "/a/b", true],
    ["/a/*", "/a/", false],
    ["/a/*", "/a/b/c", false],
    ["/a/*", "/a/b/", false],
    ["/a/*/c", "/a/b/c", true],
    ["/a/*/c", "/a//c", false],
    ["/*/**", "/a", true],
    ["/*/**", "/", false],
    ["/A", "/a", false],
  ])("%s covers %s: %s", (text, path, expected) => {
    expect(matchesPath(pattern(`https://a.example${text}`).path, path, "canonical")).toBe(expected);
  });
});
