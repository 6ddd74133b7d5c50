import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { canonicalPath } from "../../../../src/sidecar/policy/path.ts";
import { isPatternProblem, parseDeny, parsePattern, type Scheme } from "../../../../src/sidecar/policy/pattern.ts";
import {
  createRouteTable,
  type RouteDecision,
  type RouteRules,
  type RouteTable,
} from "../../../../src/sidecar/policy/route-table.ts";

const sound = <T extends object>(parsed: T): Exclude<T, { readonly problem: string }> => {
  if (isPatternProblem(parsed)) throw new Error(parsed.problem);
  return parsed as Exclude<T, { readonly problem: string }>;
};

type Written = Readonly<
  Record<string, string | readonly string[] | { match: readonly string[]; deny: readonly string[] }>
>;

const rules = (routes: Written): RouteRules<string>[] =>
  Object.entries(routes).map(([name, written]) => {
    const { match, deny } =
      typeof written === "object" && "match" in written ? written : { match: [written].flat() as string[], deny: [] };
    return {
      name,
      patterns: match.map((text) => sound(parsePattern(text))),
      deny: deny.map((text) => sound(parseDeny(text))),
      route: `payload of ${name}`,
    };
  });

const tableOf = (routes: Written): RouteTable<string> => {
  const { table } = createRouteTable(rules(routes));
  if (table === undefined) throw new Error("the routes tie");
  return table;
};

const authorityOf = (text: string, port: number) => {
  const authority = parseAuthority(text, port);
  if (authority === undefined) throw new Error(`not an authority: ${text}`);
  return authority;
};

const ask = (table: RouteTable<string>, line: string): RouteDecision<string> => {
  const [method = "", url = ""] = line.split(" ");
  const [, scheme = "", host = "", raw = "/"] = /^(https?):\/\/([^/]+)(\/.*)?$/.exec(url) ?? [];
  const path = canonicalPath(raw);
  if (path === undefined) return { decision: "denied", name: "400", reason: "not canonical" };
  const authority = authorityOf(host, scheme === "https" ? 443 : 80);
  return table.lookup({ method, scheme: scheme as Scheme, authority, path });
};

const routeOf = (table: RouteTable<string>, line: string): string => {
  const answer = ask(table, line);
  return answer.decision === "none" ? "none" : answer.decision === "denied" ? `denied ${answer.name}` : answer.name;
};

describe("createRouteTable", () => {
  it("hands back the payload, the name and the pattern that matched", () => {
    const table = tableOf({ a: ["https://a.example/x", "https://a.example/y/**"] });
    expect(ask(table, "GET https://a.example/y/z")).toMatchObject({
      decision: "route",
      name: "a",
      route: "payload of a",
      pattern: { text: "https://a.example/y/**" },
    });
  });

  it("prefers exact hosts, then more labels, then *. before **.", () => {
    const table = tableOf({
      many2: "https://**.example.com",
      many3: "https://**.b.example.com",
      one2: "https://*.example.com",
      one3: "https://*.b.example.com",
      exact: "https://a.b.example.com/only",
    });
    expect(routeOf(table, "GET https://a.b.example.com/only")).toBe("exact");
    expect(routeOf(table, "GET https://a.b.example.com/else")).toBe("one3");
    expect(routeOf(table, "GET https://x.a.b.example.com/")).toBe("many3");
    expect(routeOf(table, "GET https://b.example.com/")).toBe("one2");
    expect(routeOf(table, "GET https://x.c.example.com/")).toBe("many2");
    expect(routeOf(table, "GET https://example.com/")).toBe("none");
    expect(routeOf(table, "GET https://notexample.com/")).toBe("none");
  });

  it("compares paths segment by segment from the left: literal, *, **", () => {
    const table = tableOf({
      rest: "https://h.example/**",
      aRest: "https://h.example/a/**",
      aStar: "https://h.example/a/*",
      starB: "https://h.example/*/b",
      a: "https://h.example/a",
      ab: "https://h.example/a/b",
      starRest: "https://h.example/*/**",
    });
    expect(routeOf(table, "GET https://h.example/")).toBe("rest");
    expect(routeOf(table, "GET https://h.example/a")).toBe("a");
    expect(routeOf(table, "GET https://h.example/a/")).toBe("aRest");
    expect(routeOf(table, "GET https://h.example/a/b")).toBe("ab");
    expect(routeOf(table, "GET https://h.example/a/c")).toBe("aStar");
    expect(routeOf(table, "GET https://h.example/a/b/c")).toBe("aRest");
    expect(routeOf(table, "GET https://h.example/x/b")).toBe("starB");
    expect(routeOf(table, "GET https://h.example/x/y")).toBe("starRest");
  });

  it("prefers a METHODS list before none, and only then", () => {
    const table = tableOf({
      any: "https://h.example/a/**",
      reads: "GET,HEAD https://h.example/a/**",
      deletes: "DELETE https://h.example/**",
    });
    expect(routeOf(table, "GET https://h.example/a/x")).toBe("reads");
    expect(routeOf(table, "POST https://h.example/a/x")).toBe("any");
    expect(routeOf(table, "DELETE https://h.example/a/x")).toBe("any");
    expect(routeOf(table, "DELETE https://h.example/b")).toBe("deletes");
  });

  it("falls back to a less specific route when the more specific one does not take the method", () => {
    const table = tableOf({ exact: "GET https://a.example.com/x", wild: "https://*.example.com/**" });
    expect(routeOf(table, "GET https://a.example.com/x")).toBe("exact");
    expect(routeOf(table, "PUT https://a.example.com/x")).toBe("wild");
  });

  it("does not depend on the order of the file", () => {
    const routes = Object.entries({
      a: "https://h.example/a/**",
      b: "https://h.example/a/*",
      c: "GET https://h.example/a/*",
      d: "https://*.example/**",
      e: "https://**.example/a/b",
    });
    const requests = [
      "GET https://h.example/a/b",
      "PUT https://h.example/a/b",
      "GET https://h.example/a/b/c",
      "GET https://h.example/",
    ];
    const expected = requests.map((line) => routeOf(tableOf(Object.fromEntries(routes)), line));
    expect(expected).toEqual(["c", "b", "a", "d"]);
    fc.assert(
      fc.property(fc.shuffledSubarray(routes, { minLength: routes.length }), (shuffled) => {
        const table = tableOf(Object.fromEntries(shuffled));
        expect(requests.map((line) => routeOf(table, line))).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it("keeps schemes and ports apart", () => {
    const table = tableOf({ tls: "https://h.example", plain: "http://h.example", other: "https://h.example:8443" });
    expect(routeOf(table, "GET https://h.example/")).toBe("tls");
    expect(routeOf(table, "GET http://h.example/")).toBe("plain");
    expect(routeOf(table, "GET https://h.example:8443/")).toBe("other");
    expect(routeOf(table, "GET https://h.example:9443/")).toBe("none");
    expect(routeOf(table, "GET http://h.example:443/")).toBe("none");
  });

  it("never matches TRACE, TRACK or CONNECT", () => {
    const table = tableOf({ a: "* https://h.example/**" });
    for (const method of ["TRACE", "TRACK", "CONNECT"])
      expect(routeOf(table, `${method} https://h.example/`)).toBe("none");
    expect(routeOf(table, "PROPFIND https://h.example/")).toBe("a");
  });

  it("tells a named host from an unknown one when nothing matches", () => {
    const table = tableOf({ a: "GET https://h.example/a", w: "https://*.wild.example/a" });
    expect(ask(table, "GET https://h.example/b")).toEqual({ decision: "none", hostNamed: true });
    expect(ask(table, "POST https://h.example/a")).toEqual({ decision: "none", hostNamed: true });
    expect(ask(table, "GET https://x.wild.example/b")).toEqual({ decision: "none", hostNamed: true });
    expect(ask(table, "GET https://other.example/")).toEqual({ decision: "none", hostNamed: false });
  });

  it("names what to intercept by host and port, for either scheme", () => {
    const table = tableOf({ a: "https://h.example/a", b: "http://plain.example", c: "https://**.wild.example:8443" });
    const named = (text: string): boolean => table.namesAuthority(authorityOf(text, 443));
    expect(named("h.example")).toBe(true);
    expect(named("h.example:8443")).toBe(false);
    expect(named("plain.example:80")).toBe(true);
    expect(named("plain.example")).toBe(false);
    expect(named("x.y.wild.example:8443")).toBe(true);
    expect(named("wild.example:8443")).toBe(false);
    expect(named("127.0.0.1")).toBe(false);
  });

  it("names the hosts that are never tunnelled, on any port", () => {
    const table = tableOf({
      a: "https://h.example/a",
      b: "http://plain.example:8080",
      c: "https://**.many.example:8443",
      d: "https://*.one.example",
      e: "http://[::1]:9000",
    });
    const named = (text: string): boolean => table.namesHost(authorityOf(text, 443).host);
    const yes = ["h.example", "plain.example", "x.many.example", "x.y.many.example", "x.one.example", "[::1]"];
    const no = ["example", "x.h.example", "many.example", "one.example", "x.y.one.example", "ny.example", "127.0.0.1"];
    expect(yes.filter(named)).toEqual(yes);
    expect(no.filter(named)).toEqual([]);
    expect(ask(table, "GET https://h.example:8443/a")).toEqual({ decision: "none", hostNamed: true });
    expect(ask(table, "GET http://x.y.many.example/")).toEqual({ decision: "none", hostNamed: true });
  });

  describe("deny", () => {
    it("wins in its own route and binds nowhere else", () => {
      const table = tableOf({
        a: { match: ["https://h.example/a/**"], deny: ["DELETE **", "* /a/admin/**"] },
        b: "https://h.example/**",
      });
      expect(routeOf(table, "GET https://h.example/a/x")).toBe("a");
      expect(routeOf(table, "DELETE https://h.example/a/x")).toBe("denied a");
      expect(routeOf(table, "GET https://h.example/a/admin")).toBe("denied a");
      expect(routeOf(table, "DELETE https://h.example/b")).toBe("b");
    });

    it.each([
      "/admin/users",
      "/%61dmin/users",
      "/%2561dmin/users",
      "/admin/users/",
      "/admin;x=1/users",
      "/admin/users;x",
      "/admin%3Bx/users",
      "/admin/%75sers",
      "/./admin/users",
      "//admin/users",
      "/x/../admin/users",
      "/x/%2e%2e/admin/users",
      "/x/..;/admin/users",
      "/admin%2fusers",
      "/admin%252fusers",
      "/admin\\users",
      "/admin/users%00",
      "/%c0%afadmin/users",
    ])("is not got round by spelling the path %s", (path) => {
      const table = tableOf({ a: { match: ["https://h.example/**"], deny: ["* /admin/users"] } });
      expect(routeOf(table, `GET https://h.example${path}`)).toMatch(/^denied/);
    });

    it("is not got round by escaping any characters of a denied path", () => {
      const table = tableOf({ a: { match: ["https://h.example/**"], deny: ["* /v1/a:b/x,y"] } });
      const spelling = fc
        .tuple(
          ...Array.from("/v1/a:b/x,y", (char) =>
            fc.constantFrom(char, escapeOf(char), escapeOf("%") + escapeOf(char).slice(1)),
          ),
        )
        .map((chars) => `/${chars.slice(1).join("")}`);
      fc.assert(
        fc.property(spelling, (path) => {
          expect(routeOf(table, `GET https://h.example${path}`)).toMatch(/^denied/);
        }),
        { numRuns: 2000 },
      );
    });

    it("refuses a spelling that would lead past a stricter route", () => {
      const table = tableOf({
        strict: { match: ["https://h.example/v1/a:b"], deny: ["**"] },
        loose: "https://h.example/**",
      });
      expect(routeOf(table, "GET https://h.example/v1/a:b")).toBe("denied strict");
      expect(routeOf(table, "GET https://h.example/v1/a%3Ab")).toMatch(/^denied/);
      expect(routeOf(table, "GET https://h.example/v1/a:b;x")).toMatch(/^denied/);
      expect(routeOf(table, "GET https://h.example/v1/c%3Ab;x")).toBe("loose");
    });

    it("does not open a path that only a second decoding would allow", () => {
      const table = tableOf({ a: "https://h.example/public" });
      expect(routeOf(table, "GET https://h.example/%2570ublic")).not.toBe("a");
    });
  });

  describe("ties", () => {
    const tied = (routes: Written): string[][] =>
      (createRouteTable(rules(routes)).conflicts ?? []).map(({ first, second }) => [first.route, second.route]);

    it("finds equal host, path and methods in common, naming both", () => {
      expect(tied({ a: "https://h.example", b: "https://H.example:443/**" })).toEqual([["a", "b"]]);
      expect(tied({ a: "GET,PUT https://h.example/x", b: "PUT,POST https://h.example/x" })).toEqual([["a", "b"]]);
      expect(tied({ a: "https://*.example/%7Ex/*", b: "https://*.example/~x/*" })).toEqual([["a", "b"]]);
      expect(tied({ a: "https://h.example", b: "https://h.example", c: "* https://h.example/**" })).toHaveLength(3);
    });

    it("lets everything else stand", () => {
      expect(tied({ a: "GET https://h.example/x", b: "POST https://h.example/x" })).toEqual([]);
      expect(tied({ a: "GET https://h.example/x", b: "https://h.example/x" })).toEqual([]);
      expect(tied({ a: "https://h.example/*/b", b: "https://h.example/a/*" })).toEqual([]);
      expect(tied({ a: "https://h.example/a", b: "https://h.example/a/**" })).toEqual([]);
      expect(tied({ a: "https://*.example", b: "https://**.example" })).toEqual([]);
      expect(tied({ a: "https://h.example", b: "http://h.example" })).toEqual([]);
      expect(tied({ a: ["https://h.example/x", "https://h.example/x"] })).toEqual([]);
    });
  });
});

const escapeOf = (char: string): string => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
