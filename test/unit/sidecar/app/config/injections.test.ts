/** What a route injects, as the file says it: several injections, their secrets, and places that two can't both have. */
import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../../../src/sidecar/app/config/config.ts";
import type { InjectionConfig } from "../../../../../src/sidecar/app/config/model.ts";

const load = (inject: string, secret = "secret: a/route") =>
  loadConfig({
    file: "/x/sidekey.yaml",
    text: `version: 1\nroutes:\n  r:\n    match: https://a.example\n    ${secret}\n    inject:\n${inject}\n`,
  });

const injections = (inject: string, secret?: string): readonly InjectionConfig[] => {
  const result = load(inject, secret);
  if ("problems" in result) throw new Error(JSON.stringify(result.problems));
  return result.config.routes[0]?.injections ?? [];
};

const problems = (inject: string, secret?: string): readonly string[] => {
  const result = load(inject, secret);
  return "problems" in result
    ? result.problems.map(({ line, column, path, message }) => `${line}:${column} ${path} ${message}`)
    : [];
};

describe("several injections", () => {
  it("send the route's secret, or one of their own, in the order of the file", () => {
    const list = `
      - { kind: bearer }
      - { kind: header, name: X-App, secret: "a/app#id@3" }
      - { kind: query, name: key }`;
    expect(injections(list).map(({ kind, ref }) => [kind, ref.text])).toEqual([
      ["bearer", "local:a/route"],
      ["header", "local:a/app#id@3"],
      ["query", "local:a/route"],
    ]);
  });

  it("need no secret of the route when each has one", () => {
    const list = "      - { kind: bearer, secret: a/one }\n      - { kind: query, name: key, secret: a/two }";
    expect(injections(list, "deny: []").map(({ ref }) => ref.text)).toEqual(["local:a/one", "local:a/two"]);
    const result = load(list);
    expect("problems" in result ? result.problems : result.warnings).toMatchObject([
      { path: "routes.r.secret", message: "is used by no injection: each has a secret of its own" },
    ]);
  });

  it("each need one, and the one that has none is named", () => {
    expect(problems("      - { kind: bearer, secret: a/one }\n      - { kind: query, name: key }", "deny: []")).toEqual(
      ["8:9 routes.r.inject[1] has no 'secret', and neither has its route"],
    );
    expect(problems("      - { kind: bearer }\n      - { kind: query, name: key }", "deny: []")).toEqual([
      "3:3 routes.r has no 'secret'",
    ]);
  });

  it("are 16 at most", () => {
    const list = (count: number): string =>
      Array.from({ length: count }, (_, i) => `      - { kind: header, name: X-${i} }`).join("\n");
    expect(injections(list(16))).toHaveLength(16);
    expect(problems(list(17))).toEqual([expect.stringContaining("routes.r.inject ")]);
  });

  it.each([
    ["{ kind: bearer }", "{ kind: header, name: authorization }", "header:authorization"],
    ["{ kind: bearer }", "{ kind: basic }", "header:authorization"],
    ["{ kind: header, name: X-Api-Key }", "{ kind: bearer, name: x_api.key }", "header:x-api-key"],
    ["{ kind: path, format: '/a{secret}' }", "{ kind: path, format: '/b{secret}', secret: a/b }", "path"],
    ["{ kind: cookie, name: sid }", "{ kind: cookie, name: SID, secret: a/b }", "cookie:sid"],
    ["{ kind: cookie, name: sid }", "{ kind: header, name: Cookie }", "cookie:sid"],
    ["{ kind: header, name: cookie }", "{ kind: cookie, name: sid }", "header:cookie"],
    ["{ kind: query, name: api_key }", "{ kind: query, name: API-Key, secret: a/b }", "query:api_key"],
  ])("%s and %s can't both be: said at both", (one, other, place) => {
    const found = problems(`      - { kind: header, name: X-Other }\n      - ${one}\n      - ${other}`);
    expect(found).toEqual([
      `8:9 routes.r.inject[1] writes to ${place}, and so does inject[2]`,
      expect.stringMatching(/^9:9 routes\.r\.inject\[2\] writes to .*, and so does inject\[1\]$/),
    ]);
  });

  it("may write to places that only look alike", () => {
    const places = ["header, name: key", "query, name: key", "query, name: keys", "header, name: X-Key"];
    const list = [...places, "cookie, name: key", "cookie, name: keys", "path, format: '/{secret}'"];
    expect(injections(list.map((one) => `      - { kind: ${one} }`).join("\n"))).toHaveLength(7);
  });

  it("report a bad reference where it stands", () => {
    expect(problems("      - { kind: bearer }\n      - { kind: query, name: key, secret: nowhere }")).toEqual([
      expect.stringMatching(/^8:\d+ routes\.r\.inject\[1\]\.secret the path must be two or more segments/),
    ]);
  });
});

describe("placeholders", () => {
  const swap = (more = ""): string => `{ kind: placeholder, in: [header:X-A]${more} }`;
  const text = (inject: string): readonly (string | undefined)[] =>
    injections(`      - ${inject}`).map(({ fields }) =>
      fields.kind === "placeholder" ? fields.placeholder : undefined,
    );
  const routes = (...lists: readonly string[]) => {
    const lines = lists.map((list, i) => `  r${i}: { match: "https://${i}.example", secret: a/b, inject: ${list} }`);
    return loadConfig({ file: "/x/sidekey.yaml", text: `version: 1\nroutes:\n${lines.join("\n")}\n` });
  };

  it("are the file's, or one that stays the same for the state directory and differs by route", () => {
    expect(text(swap(", placeholder: placeholder-0123456789"))).toEqual(["placeholder-0123456789"]);
    const [made = ""] = text(swap());
    expect(made).toMatch(/^sidekey-placeholder-r-[0-9a-f]{12}$/);
    expect(text(swap())).toEqual([made]);
    const result = routes(`[${swap()}, ${swap(", secret: a/c")}]`, swap());
    if ("problems" in result) throw new Error(JSON.stringify(result.problems));
    const all = result.config.routes.flatMap((route) =>
      route.injections.map(({ fields }) => fields.kind === "placeholder" && fields.placeholder),
    );
    expect(new Set(all).size).toBe(3);
    // What `run` puts into the environment is what is swapped.
    expect(result.config.routes.map(({ placeholder }) => placeholder)).toEqual([all[0], all[2]]);
  });

  it.each([
    ["the same", "placeholder-0123456789", "placeholder-0123456789"],
    ["one inside the other", "placeholder-0123456789", "my-placeholder-0123456789"],
  ])("can't be %s: said at both", (_name, one, other) => {
    const result = routes(swap(`, placeholder: ${one}`), swap(`, placeholder: ${other}`));
    const found = "problems" in result ? result.problems : [];
    expect(found.map(({ line, path, message }) => `${line} ${path} ${message}`)).toEqual([
      "3 routes.r0.inject has the same placeholder as routes.r1, or one inside the other",
      "4 routes.r1.inject has the same placeholder as routes.r0, or one inside the other",
    ]);
  });

  it("may share a place with each other, and with nothing that sets it", () => {
    const basic = "      - { kind: placeholder, in: [basic, header:X-A, query:q] }";
    expect(injections(`${basic}\n${basic.replace(" }", ", secret: a/b }")}`)).toHaveLength(2);
    expect(injections(`${basic}\n      - { kind: cookie, name: q }\n      - { kind: query, name: p }`)).toHaveLength(3);
    const path = "      - { kind: placeholder, in: [path] }\n      - { kind: path, format: '/x{secret}' }";
    expect(injections(path)).toHaveLength(2);
    for (const [other, place] of [
      ["bearer", "basic"],
      ["basic, username: u", "basic"],
      ["header, name: x_a", "header:x-a"],
      ["query, name: Q", "query:q"],
    ]) {
      expect(problems(`${basic}\n      - { kind: ${other} }`)).toEqual([
        `7:9 routes.r.inject[0] writes to ${place}, and so does inject[1]`,
        expect.stringContaining("routes.r.inject[1] writes to "),
      ]);
    }
  });
});

describe("placeholders that a vault issued", () => {
  const ISSUED = "      { kind: vault-placeholder, in: [header:Authorization], secrets: [a/*] }";

  it("need a vault that issues them", () => {
    expect(problems(ISSUED, "deny: []")).toEqual(["6:5 routes.r.inject needs a source of kind sidekey"]);
    expect(
      problems(
        "      { kind: vault-placeholder, in: [header:Authorization], secrets: [a/*], source: local }",
        "deny: []",
      ),
    ).toEqual([expect.stringContaining("routes.r.inject.source is no declared source of kind sidekey")]);
  });

  it("are one injection of their route, however many places it has", () => {
    const list =
      "      - { kind: vault-placeholder, in: [basic], secrets: [a/b] }\n      - { kind: vault-placeholder, in: [path], secrets: [a/b] }";
    expect(problems(list, "deny: []")).toEqual(["8:9 routes.r.inject[1] is the second of this kind on the route"]);
  });

  it("do not meet what another injection sets", () => {
    const list =
      "      - { kind: bearer }\n      - { kind: vault-placeholder, in: [header:authorization], secrets: [a/b] }";
    expect(problems(list)).toEqual(
      expect.arrayContaining([
        expect.stringContaining("routes.r.inject[0] writes to header:authorization, and so does inject[1]"),
      ]),
    );
  });
});
