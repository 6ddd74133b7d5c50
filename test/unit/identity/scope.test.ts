import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatScopes,
  MAX_GLOB_LENGTH,
  parseScope,
  parseScopes,
  scopesCover,
  scopesWithin,
} from "../../../src/identity/scope.ts";

const covers = (scope: string, action: "read" | "write" | "delete" | "use", path: string): boolean =>
  scopesCover([parseScope(scope)], action, path);

describe("parseScope", () => {
  it.each([
    "secrets:use:production/*",
    "secrets:read:*",
    "secrets:*:a/b",
    "secrets:delete:a*b/*c",
    "secrets:write:A.b_c-9/x",
    `secrets:use:${"a".repeat(MAX_GLOB_LENGTH)}`,
  ])("accepts %s and keeps its text", (text) => {
    expect(parseScope(text).text).toBe(text);
  });

  it.each([
    "",
    "secrets",
    "secrets:use",
    "secrets:use:",
    "secrets:use:a/b:c",
    "secret:use:a/b",
    "Secrets:use:a/b",
    "secrets:USE:a/b",
    "secrets::a/b",
    "secrets:execute:a/b",
    "secrets:use:a b",
    "secrets:use:a/?",
    "secrets:use:[ab]/c",
    "secrets:use:{a,b}/c",
    "secrets:use:a\\b",
    "secrets:use:/a/b",
    "secrets:use:a//b",
    "secrets:use:a/",
    "secrets:use:a/../b",
    "secrets:use:./a",
    "secrets:use:a/b\n",
    "secrets:use:żółć/a",
    "secrets:use:a/b\0",
    `secrets:use:${"a".repeat(MAX_GLOB_LENGTH + 1)}`,
    " secrets:use:a/b",
  ])("refuses %j", (text) => {
    expect(() => parseScope(text)).toThrow(expect.objectContaining({ code: "IDENTITY_BAD_SCOPE" }));
  });

  it("reads a space-separated list without repeats, and refuses empty members", () => {
    const scopes = parseScopes("secrets:use:a/b secrets:read:c/* secrets:use:a/b");
    expect(formatScopes(scopes)).toBe("secrets:use:a/b secrets:read:c/*");
    for (const text of ["", " ", "secrets:use:a/b ", "secrets:use:a/b  secrets:use:c/d"]) {
      expect(() => parseScopes(text)).toThrow(expect.objectContaining({ code: "IDENTITY_BAD_SCOPE" }));
    }
  });
});

describe("scopesCover", () => {
  it("lets * as the action be read, write and delete, but not use", () => {
    expect(covers("secrets:*:a/b", "read", "a/b")).toBe(true);
    expect(covers("secrets:*:a/b", "write", "a/b")).toBe(true);
    expect(covers("secrets:*:a/b", "delete", "a/b")).toBe(true);
    expect(covers("secrets:*:a/b", "use", "a/b")).toBe(false);
  });

  it("does not take read for use, or use for read", () => {
    expect(covers("secrets:read:a/b", "use", "a/b")).toBe(false);
    expect(covers("secrets:use:a/b", "read", "a/b")).toBe(false);
  });

  it.each([
    ["production/*", "production/x/key", true],
    ["production/*", "production/", true],
    ["production/*", "production", false],
    ["production/*", "preproduction/x", false],
    ["production/*", "productionx/key", false],
    ["*", "a/b/c", true],
    ["*/key", "a/b/key", true],
    ["*/key", "a/keys", false],
    ["a/*/key", "a/b/c/key", true],
    ["a/*/key", "a/key", false],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["ab*ba", "aba", false],
    ["a*b*c", "axxbyyc", true],
    ["a*b*c", "acb", false],
    ["a*bc*c", "abc", false],
    ["a**b", "ab", true],
    ["a/b", "a/b", true],
    ["a/b", "a/bc", false],
    ["a/b", "xa/b", false],
    ["a.b/c", "axb/c", false],
    ["A/b", "a/b", false],
  ])("%s on %s is %s", (glob, path, expected) => {
    expect(covers(`secrets:use:${glob}`, "use", path)).toBe(expected);
  });

  it("agrees with a regular expression made from the same glob", () => {
    const word = fc.stringMatching(/^[ab*]{1,8}$/);
    const path = fc.stringMatching(/^[ab]{0,10}$/);
    fc.assert(
      fc.property(word, path, (glob, text) => {
        const pattern = new RegExp(`^${glob.replaceAll("*", ".*")}$`);
        expect(covers(`secrets:use:${glob}`, "use", text)).toBe(pattern.test(text));
      }),
      { numRuns: 2000 },
    );
  });

  it("answers a glob that makes a backtracking matcher explode", () => {
    const glob = `${"a*".repeat(500)}b`;
    const before = process.cpuUsage().user;
    expect(covers(`secrets:use:${glob}`, "use", "a".repeat(MAX_GLOB_LENGTH))).toBe(false);
    expect(process.cpuUsage().user - before).toBeLessThan(1_000_000);
  });

  it("needs only one of several scopes", () => {
    const scopes = parseScopes("secrets:read:a/* secrets:use:b/*");
    expect(scopesCover(scopes, "use", "b/c")).toBe(true);
    expect(scopesCover(scopes, "use", "a/c")).toBe(false);
    expect(scopesCover([], "use", "a/c")).toBe(false);
  });
});

describe("scopesWithin", () => {
  const within = (requested: string, allowed: string): boolean =>
    scopesWithin(parseScopes(requested), parseScopes(allowed));

  it.each([
    ["secrets:read:a/b", "secrets:read:a/*"],
    ["secrets:read:a/*", "secrets:read:a/*"],
    ["secrets:read:a/b/*", "secrets:read:a/*"],
    ["secrets:read:a/*/key", "secrets:read:a/*"],
    ["secrets:read:*", "secrets:read:*"],
    ["secrets:*:a/*", "secrets:*:*"],
    ["secrets:read:a/*", "secrets:*:a/*"],
    ["secrets:*:a/*", "secrets:read:a/* secrets:write:a/* secrets:delete:a/*"],
    ["secrets:use:a/b", "secrets:*:* secrets:use:a/*"],
  ])("%s is within %s", (requested, allowed) => {
    expect(within(requested, allowed)).toBe(true);
  });

  it.each([
    ["secrets:read:*", "secrets:read:a/*"],
    ["secrets:read:a*", "secrets:read:a/*"],
    ["secrets:read:*/b", "secrets:read:a/*"],
    ["secrets:read:a/*", "secrets:read:a/*/key"],
    ["secrets:read:a/*", "secrets:read:a/b"],
    ["secrets:write:a/b", "secrets:read:a/*"],
    ["secrets:*:a/b", "secrets:read:a/* secrets:write:a/*"],
    ["secrets:use:a/b", "secrets:*:*"],
    ["secrets:read:a/b secrets:read:c/d", "secrets:read:a/*"],
    ["secrets:read:a/*", "secrets:read:a/b* secrets:read:a/c*"],
  ])("%s is not within %s", (requested, allowed) => {
    expect(within(requested, allowed)).toBe(false);
  });

  it("never lets a request reach what the allowed scopes do not", () => {
    const piece = fc.constantFrom("a", "b", "ab", "*", "a*", "*b", "a*b", "**");
    const glob = fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join("/"));
    const word = fc.constantFrom("a", "b", "ab", "ba", "aab", "x");
    const path = fc.array(word, { minLength: 1, maxLength: 5 }).map((words) => words.join("/"));
    fc.assert(
      fc.property(fc.array(glob, { minLength: 1, maxLength: 3 }), glob, path, (allowed, requested, at) => {
        const held = allowed.map((one) => parseScope(`secrets:read:${one}`));
        const asked = [parseScope(`secrets:read:${requested}`)];
        if (!scopesWithin(asked, held) || !scopesCover(asked, "read", at)) return;
        expect(scopesCover(held, "read", at)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });
});
