/** Targets: one spelling each, or none. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readTarget } from "../../../../../src/vault/server/http/target.ts";

const read = (target: string, method = "GET"): string | undefined => readTarget(method, target)?.url;

describe("a target", () => {
  it.each([
    ["GET", "/v1/health", "/v1/health"],
    ["GET", "/v1/%68ealth?x=%2F", "/v1/health?x=%2F"],
    ["GET", "/v1/secrets/a", "/v1/secrets/a"],
    ["GET", "/v1/secrets/a/b/c", "/v1/secrets/a%2Fb%2Fc"],
    ["GET", "/v1/secrets/a%2Fb/c?version=2", "/v1/secrets/a%2Fb%2Fc?version=2"],
    ["GET", "/v1/secrets/a/b/history", "/v1/secrets/a%2Fb/history"],
    ["PUT", "/v1/secrets/a/b/history", "/v1/secrets/a%2Fb%2Fhistory"],
    ["POST", "/v1/secrets/a/b/rotate", "/v1/secrets/a%2Fb/rotate"],
    ["POST", "/v1/secrets/import", "/v1/secrets/import"],
    ["GET", "/v1/secrets/import", "/v1/secrets/import"],
    ["GET", "/", "/"],
  ])("%s %s is read as %s", (method, target, url) => {
    expect(read(target, method)).toBe(url);
  });

  it.each([
    "",
    "v1",
    "*",
    "http://v/v1",
    "//v1",
    "/v1//x",
    "/v1/",
    "/v1/./x",
    "/v1/%2e%2e/x",
    "/a%00",
    "/a%",
    "/a%2",
    "/a\\b",
    "/a;b",
    "/a#b",
    "/é",
    "/%c3%a9",
    "/a%25b",
    "/a%5Cb",
    "/a b",
  ])("%j is none", (target) => {
    expect(read(target)).toBeUndefined();
  });

  it("of any secret's path is that path, however it is escaped", () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,8}$/);
    const escaped = (text: string, flags: readonly boolean[]): string =>
      [...text].map((char, at) => (flags[at % flags.length] ? `%${char.charCodeAt(0).toString(16)}` : char)).join("");
    fc.assert(
      fc.property(
        fc.array(segment, { minLength: 2, maxLength: 5 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }),
        (parts, flags) => {
          const path = parts.join("/");
          const url = read(`/v1/secrets/${escaped(path, flags)}`, "PUT");
          expect(decodeURIComponent(url?.slice("/v1/secrets/".length) ?? "")).toBe(path);
          expect(url?.slice("/v1/secrets/".length)).not.toContain("/");
        },
      ),
    );
  });
});
