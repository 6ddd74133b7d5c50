import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isReferenceProblem, parseReference } from "../../../../src/sidecar/secrets/reference.ts";
import type { SecretRef } from "../../../../src/sidecar/secrets/source.ts";

const kinds = new Map([
  ["vault", "local"],
  ["mounted", "file"],
  ["environment", "env"],
  ["aws", "aws-secrets-manager"],
]);
const context = { declared: [...kinds.keys()], defaultSource: "vault", kindOf: (name: string) => kinds.get(name) };
const parse = (text: string) => parseReference(text, context);

const ref = (text: string): SecretRef => {
  const parsed = parse(text);
  if (isReferenceProblem(parsed)) throw new Error(`${text}: ${parsed.problem}`);
  return parsed;
};

describe("parseReference", () => {
  it.each<[string, Partial<SecretRef>]>([
    [
      "production/openai/api-key",
      {
        source: "vault",
        path: "production/openai/api-key",
        field: [],
        version: undefined,
        text: "vault:production/openai/api-key",
      },
    ],
    ["vault:a/b", { source: "vault", path: "a/b", text: "vault:a/b" }],
    ["a/b#token", { path: "a/b", field: ["token"], text: "vault:a/b#token" }],
    ["a/b#data.token@3", { path: "a/b", field: ["data", "token"], version: "3", text: "vault:a/b#data.token@3" }],
    ["a/b@3", { path: "a/b", version: "3", text: "vault:a/b@3" }],
    ["%61/b", { path: "a/b", text: "vault:a/b" }],
    ["environment:OPENAI_API_KEY", { source: "environment", path: "OPENAI_API_KEY" }],
    ["mounted:a%23b/c%40d/100%25", { path: "a#b/c@d/100%", text: "mounted:a%23b/c%40d/100%25" }],
    ["mounted:one", { path: "one" }],
    [
      "aws:arn:aws:secretsmanager:eu-west-1:1:secret:x#k@AWSCURRENT",
      { source: "aws", path: "arn:aws:secretsmanager:eu-west-1:1:secret:x", field: ["k"], version: "AWSCURRENT" },
    ],
  ])("reads %s", (text, expected) => {
    expect(ref(text)).toMatchObject(expected);
  });

  it("says that text before the first colon must be a declared source", () => {
    expect(parse("arn:aws:secretsmanager:x")).toEqual({
      problem: "the text before the first ':' is not a declared source",
      hint: expect.stringContaining("vault, mounted, environment, aws"),
    });
    expect(parse("monted:x")).toMatchObject({ hint: expect.stringMatching(/^Did you mean 'mounted:'\? Declared: /) });
    expect(isReferenceProblem(parse("a/b#c:d"))).toBe(true);
    expect(isReferenceProblem(parse(":a/b"))).toBe(true);
    expect(isReferenceProblem(parse("Vault:a/b"))).toBe(true);
  });

  it.each([
    "",
    "one",
    "a/",
    "/a/b",
    "a//b",
    "a/../b",
    "a/./b",
    "..",
    "a/b c",
    "a/b\n",
    "a/\u00e9",
    `a/${"x".repeat(129)}`,
    "a/b#",
    "a/b#.x",
    "a/b#x..y",
    "a/b#x#y",
    "a/b@",
    "a/b@1@2",
    "a/b@1#x",
    "a/b@ 1",
    "#x",
    "@1",
    "a/%",
    "a/%zz",
    "a/%2",
    "a/%2f",
    "a%2f..%2fb",
    "a/%00",
    "vault:",
    "environment:",
    "environment:A-B",
    "environment:A/B",
    "mounted:",
    "mounted:../x",
    "mounted:a/%2e%2e/b",
    "mounted:/etc/passwd",
    "mounted:a//b",
    "aws:",
    "aws:%0a",
    "a/".repeat(600),
  ])("refuses %j", (text) => {
    expect(isReferenceProblem(parse(text))).toBe(true);
  });

  it("never repeats the text, which may be a pasted secret", () => {
    for (const text of [
      "canary",
      "canary:x",
      "canary#a",
      "canary/..",
      "x:canary",
      "environment:canary-1",
      "mounted:../canary",
      "a/b#canary#",
      "a/b@canary@",
    ]) {
      const parsed = parse(text);
      expect(isReferenceProblem(parsed)).toBe(true);
      expect(JSON.stringify(parsed)).not.toContain("canary");
    }
  });

  it("reads its own canonical text back as the same reference", () => {
    const part = fc.stringMatching(/^[A-Za-z0-9_-]{1,8}$/);
    const path = fc
      .array(fc.stringMatching(/^[A-Za-z0-9#@% ._-]{1,8}$/), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join("/"));
    fc.assert(
      fc.property(
        path,
        fc.array(part, { maxLength: 2 }),
        fc.option(part, { nil: undefined }),
        (plain, field, version) => {
          const text = `aws:${encodeURIComponent(plain)}${field.length === 0 ? "" : `#${field.join(".")}`}${version === undefined ? "" : `@${version}`}`;
          const first = ref(text);
          expect(first.path).toBe(plain);
          expect(ref(first.text)).toEqual(first);
        },
      ),
    );
  });
});
