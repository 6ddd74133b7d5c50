import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../../src/sidecar/app/config/config.ts";
import { createExplainer, type Explanation } from "../../../../src/sidecar/app/explain.ts";

const ROUTES = `
routes:
  api.openai.com: production/openai/key
  github: { match: ["GET https://api.github.com/repos/**", "https://api.github.com/user"], secret: production/github/token, deny: ["GET /repos/*/*/keys/**"] }
  basic: { match: "https://*.corp.test/**", secret: production/corp/login, inject: { kind: basic, username: bot } }
  key: { match: "https://127.0.0.1:9443/**", secret: production/a/b, inject: { kind: header, name: X-Api-Key } }
  several: { match: "https://several.test", secret: production/a/b, inject: [{ kind: header, name: X-Api-Key }, { kind: query, name: App_Key, secret: production/a/app }] }
  prefix: { match: "https://prefix.test", secret: production/a/b, inject: [{ kind: path, format: "/bot{secret}" }, { kind: cookie, name: Sid }] }
  swap: { match: "https://swap.test", secret: production/a/b, inject: { kind: placeholder, placeholder: placeholder-0123456789, in: [header:X-Api-Key, basic, "query:Key", path] } }
`;

const explain = (method: string, url: string, rest = ""): Explanation => {
  const result = loadConfig({ file: "/x/sidekey.yaml", text: `version: 1\n${ROUTES}${rest}` });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems));
  return createExplainer(result.config)(method, url);
};

describe("what becomes of a request", () => {
  it("that a route matches", () => {
    expect(explain("GET", "https://API.openai.com/v1/models?x=1#part")).toEqual({
      decision: "inject",
      route: "api.openai.com",
      preset: "openai",
      pattern: "https://api.openai.com/**",
      source: "local",
      secret: "local:production/openai/key",
      inject: [{ kind: "bearer", where: "header:authorization" }],
      removed: ["header:authorization"],
      reason: "the most specific pattern that covers this host and path",
    });
    expect(explain("POST", "https://a.corp.test")).toMatchObject({ route: "basic", inject: [{ kind: "basic" }] });
    expect(explain("GET", "https://127.0.0.1:9443/x")).toMatchObject({ inject: [{ where: "header:x-api-key" }] });
  });

  it("that a route with several injections matches", () => {
    expect(explain("GET", "https://several.test/x")).toMatchObject({
      source: "local",
      secret: "local:production/a/b,local:production/a/app",
      inject: [
        { kind: "header", where: "header:x-api-key", secret: "local:production/a/b" },
        { kind: "query", where: "query:App_Key", secret: "local:production/a/app" },
      ],
      removed: ["header:x-api-key", "query:App_Key"],
    });
    expect(explain("GET", "https://prefix.test/x")).toMatchObject({
      secret: "local:production/a/b",
      inject: [
        { kind: "path", where: "path" },
        { kind: "cookie", where: "cookie:Sid" },
      ],
      removed: ["cookie:Sid"],
    });
    expect(explain("GET", "https://swap.test/x")).toMatchObject({
      inject: [
        {
          kind: "placeholder",
          where: "header:x-api-key, basic, query:Key, path",
          placeholder: "placeholder-0123456789",
        },
      ],
      removed: [],
    });
  });

  it.each([
    ["GET", "https://something.quite.different.test/", "POLICY_NO_ROUTE", /no route names this host$/],
    [
      "GET",
      "https://api.opnai.com/v1",
      "POLICY_NO_ROUTE",
      /no route names this host; did you mean api\.openai\.com\?$/,
    ],
    [
      "POST",
      "https://api.github.com/repos/a/b",
      "POLICY_NO_ROUTE",
      /GET https:\/\/api\.github\.com\/repos\/\*\* \(route github\)/,
    ],
    ["GET", "http://api.github.com/user", "POLICY_NO_ROUTE", /another scheme or port/],
    ["GET", "https://api.github.com/repos/a/b/keys/1", "POLICY_DENIED", /deny/],
    ["GET", "https://api.github.com/repos/a/b/%6beys/1", "POLICY_DENIED", /deny/],
    ["GET", "https://api.openai.com/a/../b", "INGRESS_BAD_REQUEST", /more than one reading/],
    ["GET", "api.openai.com/v1", "INGRESS_BAD_REQUEST", /must begin with https/],
    ["GET", "https://user@api.openai.com/", "INGRESS_BAD_REQUEST", /host or port/],
    ["G T", "https://api.openai.com/", "INGRESS_BAD_REQUEST", /method/],
    ["TRACE", "https://api.openai.com/", "INGRESS_METHOD_REFUSED", /never forwarded/],
    ["CONNECT", "https://api.openai.com/", "POLICY_DENIED", /inside/],
  ])("%s %s: %s", (method, url, code, reason) => {
    expect(explain(method, url)).toMatchObject({ decision: "deny", code, reason: expect.stringMatching(reason) });
  });

  it("that nothing names passes where the file says so, and never to a closed address", () => {
    const tunnel = "unmatched: tunnel\n";
    expect(explain("GET", "https://other.test/", tunnel)).toMatchObject({ decision: "tunnel" });
    expect(explain("GET", "https://api.github.com/other", tunnel)).toMatchObject({ code: "POLICY_NO_ROUTE" });
    expect(explain("GET", "https://169.254.169.254/", tunnel)).toMatchObject({ code: "POLICY_ADDRESS" });
    expect(explain("GET", "https://10.0.0.1/", `${tunnel}egress: { allow: ["10.0.0.0/8"] }\n`)).toMatchObject({
      decision: "tunnel",
    });
  });
});

describe("the tests of a file", () => {
  const problemsOf = (tests: string): readonly string[] => {
    const result = loadConfig({ file: "/x/sidekey.yaml", text: `version: 1\nagent: bot\n${ROUTES}tests: ${tests}\n` });
    return "problems" in result
      ? result.problems.map(({ path, message, hint }) => `${path}: ${message} ${hint ?? ""}`)
      : [];
  };

  it("expect deny, tunnel or a route that is there", () => {
    expect(
      problemsOf(
        '[{ request: "GET https://a.test/", expect: deny }, { request: "GET https://a.test/", expect: github, agent: bot }]',
      ),
    ).toEqual([]);
    expect(problemsOf('[{ request: "GET https://a.test/", expect: gihtub }]')).toEqual([
      "tests[0].expect: is neither deny, tunnel nor a route of this file Did you mean 'github'?",
    ]);
    expect(problemsOf('[{ request: "GET https://a.test/", expect: deny, agent: x }]')).toEqual([
      "tests[0].agent: is not the one agent of this file, 'bot' ",
    ]);
    expect(problemsOf('[{ request: "https://a.test/", expect: deny }]')).toEqual([
      expect.stringContaining('tests[0].request: must be "METHOD URL"'),
    ]);
  });
});
