/** What a preset is to a route: filler for what the route does not say. */
import { describe, expect, it } from "vitest";
import { loadConfig, type RouteConfig } from "../../../../../src/sidecar/app/config/config.ts";

const result = (route: string) => loadConfig({ file: "/x/sidekey.yaml", text: `version: 1\nroutes:\n  ${route}\n` });
const load = (route: string): RouteConfig => {
  const loaded = result(route);
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const [first] = loaded.config.routes;
  if (first === undefined) throw new TypeError("no route");
  return first;
};
const said = (route: string): readonly string[] => {
  const loaded = result(route);
  const list = "problems" in loaded ? loaded.problems : loaded.warnings;
  return list.map(({ path, message, hint }) => `${path} ${message} | ${hint}`);
};

describe("a route with a preset", () => {
  it("takes from it what it does not say", () => {
    const route = load("anything: { preset: anthropic, secret: production/a/key }");
    expect(route).toMatchObject({
      preset: "anthropic",
      patterns: [{ text: "https://api.anthropic.com/**" }],
      injections: [{ kind: "header", fields: { name: "x-api-key" }, ref: { text: "local:production/a/key" } }],
      variables: ["ANTHROPIC_API_KEY"],
      gateway: { authority: { key: "api.anthropic.com:443" } },
    });
    expect(route.placeholder).toMatch(/^sk-ant-api03-/);
  });

  it.each([
    [
      "match",
      "match: https://eu.anthropic.example/v1/**",
      { patterns: [{ text: "https://eu.anthropic.example/v1/**" }] },
    ],
    ["inject", "inject: { kind: bearer }", { injections: [{ kind: "bearer" }] }],
    ["env", "env: MY_KEY", { variables: ["MY_KEY"] }],
  ])("keeps its own %s, and the preset's rest", (_, own, expected) => {
    const route = load(`anything: { preset: anthropic, secret: a/b, ${own} }`);
    expect(route).toMatchObject({ preset: "anthropic", ...expected });
    expect(route.patterns).toHaveLength(1);
    expect(route.placeholder).toMatch(/^sk-ant-api03-/);
  });

  it("is for one host alone where that is its key, in either form", () => {
    for (const form of ["a/b", "{ secret: a/b }"]) {
      expect(load(`uploads.github.com: ${form}`)).toMatchObject({
        preset: "github",
        patterns: [{ text: "https://uploads.github.com/**" }],
        variables: ["GITHUB_TOKEN", "GH_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN"],
      });
    }
  });

  it("has no preset where its host has none, at another port, or with a match of its own", () => {
    for (const route of [
      "api.example.com: a/b",
      "'api.openai.com:8443': a/b",
      "api.openai.com: { match: 'https://x.example/**', secret: a/b }",
    ]) {
      const { preset, variables, placeholder, injections } = load(route);
      expect({ preset, variables, kind: injections[0]?.kind }).toEqual({
        preset: undefined,
        variables: [],
        kind: "bearer",
      });
      expect(placeholder).toMatch(/^sidekey-placeholder-/);
    }
  });
});

describe("a preset of several injections", () => {
  it.each([
    ["production/dd/keys", "local:production/dd/keys#api_key", "local:production/dd/keys#app_key"],
    ["production/dd/keys#eu@3", "local:production/dd/keys#eu.api_key@3", "local:production/dd/keys#eu.app_key@3"],
  ])("sends members of the route's secret %s", (secret, one, two) => {
    expect(load(`r: { preset: datadog, secret: "${secret}" }`).injections.map(({ ref }) => ref.text)).toEqual([
      one,
      two,
    ]);
    expect(load(`api.datadoghq.eu: "${secret}"`).injections.map(({ ref }) => ref.text)).toEqual([one, two]);
  });

  it("is nothing that a file could not write", () => {
    const own = `inject: [{ kind: header, name: X-A, secret: "#a" }, { kind: header, name: X-B, secret: x/y }]`;
    const route = load(`r: { match: "https://a.example/**", secret: a/b, ${own} }`);
    expect(route.injections.map(({ ref }) => ref.text)).toEqual(["local:a/b#a", "local:x/y"]);
  });

  it.each([
    ["no secret of the route", `inject: [{ kind: header, name: X-A, secret: "#a" }, { kind: bearer, secret: x/y }]`],
    ["no name", `secret: a/b, inject: { kind: bearer, secret: "#" }`],
    ["a version of its own", `secret: a/b, inject: { kind: bearer, secret: "#a@2@3" }`],
  ])("is refused with %s", (_, own) => {
    expect(said(`r: { match: "https://a.example/**", ${own} }`)[0]).toMatch(/^routes\.r/);
  });
});

describe("problems with a preset", () => {
  it("that is not there: what was meant", () => {
    expect(said("r: { preset: antropic, secret: a/b }")).toEqual([
      "routes.r.preset is not a preset | Did you mean 'anthropic'?",
    ]);
    const [all] = said("r: { preset: zzzzzzzzzzzz, secret: a/b }");
    expect(all).toMatch(/^routes\.r\.preset is not a preset \| There are: anthropic, .*twilio/);
  });

  it.each(["../openai", "OPENAI", "a b", ""])("that has no name (%j), without repeating it", (name) => {
    expect(said(`r: { preset: ${JSON.stringify(name)}, secret: a/b }`)).toEqual([
      "routes.r.preset must be the name of a preset: lower-case letters, digits and '-' | undefined",
    ]);
  });

  it("used twice: a tie, at the second's preset", () => {
    expect(said("r: { preset: openai, secret: a/b }\n  s: { preset: openai, secret: a/c }")).toEqual([
      expect.stringMatching(/^routes\.s\.preset routes 'r' and 's' are equally specific/),
    ]);
  });

  it("without a secret", () => {
    expect(said("r: { preset: openai }")).toEqual([expect.stringMatching(/^routes\.r has no 'secret'/)]);
  });
});

describe("a route without a preset to a host that takes no bearer", () => {
  it("is warned of, with the preset's name", () => {
    expect(said("r: { match: 'https://api.anthropic.com/**', secret: a/b }")).toEqual([
      "routes.r.match has no 'inject', so the secret goes out as 'Authorization: Bearer'; for Anthropic the preset sends it otherwise | Add preset: anthropic",
    ]);
  });

  it.each([
    "r: { match: 'https://api.openai.com/**', secret: a/b }",
    "r: { match: 'https://api.anthropic.com/**', secret: a/b, inject: { kind: bearer } }",
    "r: { match: 'https://api.example.com/**', secret: a/b }",
  ])("and nothing is said of %s", (route) => {
    expect(said(route)).toEqual([]);
  });
});
