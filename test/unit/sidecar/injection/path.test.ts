/** The secret in front of the path: canonical as a whole, or refused. */
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { applyInjections } from "../../../../src/sidecar/injection/apply.ts";
import { path } from "../../../../src/sidecar/injection/kinds/path.ts";
import { canonicalPath } from "../../../../src/sidecar/policy/path.ts";

const target = (value: string | Buffer, format = "/bot{secret}", own = "/getMe"): string => {
  const injector = path.create(path.fields.parse({ kind: "path", format }));
  const secrets = [{ value: new SecretValue(Buffer.from(value)) }];
  return applyInjections([], { method: "GET", path: own, query: "?a=%2f" }, [{ injector, secret: 0 }], secrets);
};

describe("the kind path", () => {
  it("puts format and secret before the path, and leaves the query alone", () => {
    expect(target("123456:ABC-def_1")).toBe("/bot123456:ABC-def_1/getMe?a=%2f");
    expect(target("x", "/a/{secret}/b", "/")).toBe("/a/x/b/?a=%2f");
  });

  it("takes a secret of several segments", () => {
    expect(target("T000/B000/xyz", "/services/{secret}", "/")).toBe("/services/T000/B000/xyz/?a=%2f");
  });

  it.each(["a b", "a;b", "a?b#c", "ü", "a%b", "a&b=c", Buffer.from([0x61, 0xff, 0x80])])(
    "encodes what %j needs, and no more",
    (value) => {
      const [sent = ""] = target(value).split("?");
      expect(canonicalPath(sent)).toBe(sent);
      const bytes = sent
        .slice("/bot".length, -"/getMe".length)
        .replace(/%(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
      expect(Buffer.from(bytes, "latin1").equals(Buffer.from(value))).toBe(true);
    },
  );

  it.each([
    "../x",
    "a/../../x",
    "a//b",
    "a/",
    "a/./b",
    "a\\b",
    "a/..;x/b",
    "%2e%2e/x",
    "a%2fb",
    "a%5cb",
    "%252e",
    "a/..",
  ])("refuses %j, which is another path to some server", (value) => {
    expect(() => target(value, "/k/{secret}")).toThrow(expect.objectContaining({ code: "SOURCE_BAD_VALUE" }));
  });

  it("refuses one that begins with a slash where the format ends with one", () => {
    expect(() => target("/x", "/k/{secret}")).toThrow(expect.objectContaining({ code: "SOURCE_BAD_VALUE" }));
    expect(target("/x", "/k{secret}")).toBe("/k/x/getMe?a=%2f");
  });

  it.each([
    ["bot{secret}", "must begin with /"],
    ["/bot", "{secret} exactly once"],
    ["/{secret}/{secret}", "{secret} exactly once"],
    ["/{secret}/", "not end with /"],
    ["//{secret}", "plain spelling"],
    ["/../{secret}", "plain spelling"],
    ["/a%2e/{secret}", "plain spelling"],
    ["/a?key={secret}", "plain spelling"],
    ["/a#{secret}", "plain spelling"],
    ["/a b/{secret}", "plain spelling"],
  ])("refuses the format %j: %s", (format, message) => {
    const parsed = path.fields.safeParse({ kind: "path", format });
    expect(parsed.error?.issues.map((issue) => issue.message).join()).toContain(message);
  });
});
