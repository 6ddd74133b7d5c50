import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalPath, generousPath } from "../../../../src/sidecar/policy/path.ts";

describe("canonicalPath", () => {
  it.each([
    "/",
    "/a",
    "/a/",
    "/v1/chat/completions",
    "/repos/acme/x.git/info/refs",
    "/a.b/c..d/...",
    "/.well-known/openid-configuration",
    "/v1beta/models/gemini:generateContent",
    "/~user/a_b-c!$&'()*+,=@",
    "/a;v=1/b;w",
    "/caf%C3%A9/a%20b",
    "/100%25",
    "/a%2Cb%3Ac%3F%23",
  ])("leaves %s as it is", (path) => {
    expect(canonicalPath(path)).toBe(path);
  });

  it.each([
    ["/%41%62c", "/Abc"],
    ["/%7euser", "/~user"],
    ["/a%2db%2Ec", "/a-b.c"],
    ["/a%3ab%c3%a9", "/a%3Ab%C3%A9"],
    ["/{id}", "/%7Bid%7D"],
    ["/a|b", "/a%7Cb"],
    ['/[x]"^`<>', "/%5Bx%5D%22%5E%60%3C%3E"],
    ["/%25%34%31", "/%2541"],
  ])("writes %s as %s", (raw, canonical) => {
    expect(canonicalPath(raw)).toBe(canonical);
  });

  it.each([
    "",
    "*",
    "a/b",
    "//",
    "//a",
    "/a//b",
    "/a//",
    "/.",
    "/..",
    "/./a",
    "/a/.",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/%2e/a",
    "/%2E%2e/a",
    "/.%2e/a",
    "/a/%2e%2E",
    "/%252e%252e/a",
    "/a/%25%32%65/b",
    "/a%2fb",
    "/a%2Fb",
    "/a%252fb",
    "/a%25252fb",
    "/a\\b",
    "/\\a",
    "/a%5cb",
    "/a%5C..%5Cb",
    "/a%255cb",
    "/a%00",
    "/a%0ab",
    "/a%0D%0Ab",
    "/a%7f",
    "/a%2500",
    "/a\0b",
    "/a\nb",
    "/a b",
    "/a\tb",
    "/a\x7f",
    "/caf\u00e9",
    "/\uff0e\uff0e/a",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a%u002f",
    "/a%2",
    "/..;/a",
    "/.;x/a",
    "/..;x=1/a",
    "/..%3b/a",
    "/%2e%2e%3B/a",
    "/;/a",
    "/a/;x",
    "/a?b",
    "/a#b",
    "/%c0%ae%c0%ae/a",
    "/a%c0%afb",
    "/a%e0%80%afb",
    "/a%f0%80%80%afb",
    "http://h/a",
  ])("refuses %j", (raw) => {
    expect(canonicalPath(raw)).toBeUndefined();
  });

  const messyPath = fc
    .array(
      fc.constantFrom(
        "/",
        "a",
        "B",
        ".",
        "..",
        "%2e",
        "%2F",
        "%41",
        "%25",
        "25",
        "%7e",
        ";",
        "\\",
        "%5c",
        "*",
        "%",
        "é",
        "|",
        ":",
      ),
      { maxLength: 14 },
    )
    .map((parts) => `/${parts.join("")}`);

  it("changes nothing when applied a second time", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          messyPath,
          fc.string({ unit: "binary-ascii" }).map((text) => `/${text}`),
        ),
        (raw) => {
          const once = canonicalPath(raw);
          if (once !== undefined) expect(canonicalPath(once)).toBe(once);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("never lets a second decoder see a separator, a control or a dot segment", () => {
    fc.assert(
      fc.property(messyPath, (raw) => {
        const path = canonicalPath(raw);
        if (path === undefined) return;
        const segments = path.split("/").slice(1);
        for (const reading of [segments, generousPath(path).split("/").slice(1)]) {
          expect(reading).toHaveLength(segments.length);
          reading.slice(0, -1).forEach((segment) => {
            expect(segment).not.toBe("");
          });
          for (const segment of reading) expect([".", ".."]).not.toContain(segment);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("takes a path of 64 KiB of escapes in linear time", () => {
    expect(canonicalPath(`/${"%25".repeat(20_000)}`)).toBe(`/${"%25".repeat(20_000)}`);
    expect(canonicalPath(`/${"%2525".repeat(13_000)}`)).toBeUndefined();
    expect(canonicalPath(`${"/a".repeat(32_000)}?`)).toBeUndefined();
  });
});

describe("generousPath", () => {
  it("is the same string where there is one reading", () => {
    expect(generousPath("/v1/chat/completions")).toBe("/v1/chat/completions");
  });

  it("decodes escapes, escapes of escapes, and cuts parameters", () => {
    expect(generousPath("/a%3Ab/%2561dmin;x=1/c%20d")).toBe("/a:b/admin/c d");
  });
});
