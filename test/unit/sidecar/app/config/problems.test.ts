import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../../../src/sidecar/app/config/config.ts";

/** `line:column path message` of every problem. */
const problems = (text: string): string[] => {
  const result = loadConfig({ file: "/srv/sidekey.yaml", text });
  if (!("problems" in result)) return [];
  return result.problems.map(({ line, column, path, message }) => `${line}:${column} ${path} ${message}`);
};

/** The problems of a file with one route. */
const routeProblems = (route: string): string[] => problems(`version: 1\nroutes:\n  r: ${route}\n`);

describe("problems of the file", () => {
  it("are all reported in one run, in the order of the file", () => {
    expect(
      problems(`version: 1
agnet: x
routes:
  one:
    match: https://a.example/x
    secret: nowhere:x
    secert: y
  two:
    match: [https://a.example/x, "GET https://b.example/**/x"]
    secret: 5
  three: { match: https://a.example/x, secret: a/b }
  bad host: a/b
unmatched: alow
listen: { proxy: 0.0.0.0:7070 }
`),
    ).toEqual([
      "2:1 agnet is not a known key",
      "6:5 routes.one.secret the text before the first ':' is not a declared source",
      "7:5 routes.one.secert is not a known key",
      "9:34 routes.two.match[1] '**' may stand only at the end of a path (character 23)",
      "10:5 routes.two.secret must be text, and is a number",
      "11:12 routes.three.match routes 'one' and 'three' are equally specific",
      "12:3 routes[\"bad host\"] must be a name of lower-case letters, digits, '.', '_' and '-', or a host",
      "13:1 unmatched must be one of: deny, tunnel",
      "14:11 listen.proxy would listen beyond this machine, where nothing tells callers apart",
    ]);
  });

  it.each([["agents: {}", "agents"]])("say that %s is not in this version", (line, key) => {
    expect(problems(`version: 1\n${line}\n`)).toEqual([
      expect.stringMatching(new RegExp(`^2:\\d+ ${key} ${key} is not in this version$`)),
    ]);
  });

  it.each([
    ["allow_range: often", "allow_range"],
    ["cookies: keep", "cookies"],
    ["on_reflection: ignore", "on_reflection"],
  ])("name what a route's %s may be", (line, key) => {
    expect(routeProblems(`{ match: https://a.example, secret: a/b, ${line} }`)).toEqual([
      expect.stringContaining(`routes.r.${key} must be`),
    ]);
  });

  it("say that later kinds are not in this version", () => {
    for (const kind of ["vault", "aws-secrets-manager", "agent-secret-store"]) {
      expect(problems(`version: 1\nsources: { s: { kind: ${kind}, address: x } }\nroutes: { a.example: s:x }`)).toEqual(
        [expect.stringContaining(`sources.s.kind source kind '${kind}' is not in this version`)],
      );
    }
  });

  it.each([
    ["{ kind: sidekey, agent_key: { env: K } }", "sources.s.address is missing"],
    ["{ kind: sidekey, address: x, agent_key: { env: K } }", "sources.s.address must be https://HOST[:PORT]"],
    ["{ kind: sidekey, address: https://v.test/v1, agent_key: { env: K } }", "sources.s.address must be https://"],
    ["{ kind: sidekey, address: http://v.test, agent_key: { env: K } }", "in cleartext HTTP"],
    ["{ kind: sidekey, address: https://u:canary@v.test, agent_key: { env: K } }", "must not hold a password"],
    ["{ kind: sidekey, address: https://v.test }", "sources.s must have 'agent_key' or 'token'"],
    ["{ kind: sidekey, address: https://v.test, token: { env: K }, agent_key: { env: K } }", "has both"],
    ["{ kind: sidekey, address: https://v.test, token: { env: K }, cert: c.pem }", "has 'cert' without 'cert_key'"],
    ["{ kind: sidekey, address: https://v.test, token: { env: K }, cert_key: k }", "has 'cert_key' without 'cert'"],
    ["{ kind: sidekey, address: https://v.test, token: canary }", "a value is never written here"],
    ["{ kind: sidekey, address: https://v.test, token: { env: K }, name: a/b }", "sources.s.name must be"],
  ])("say what is wrong with a vault's source: %s", (source, words) => {
    const said = problems(`version: 1\nsources: { s: ${source} }\nroutes: { a.example: s:a/b }`);
    expect(said).toEqual([expect.stringContaining(words)]);
    expect(said.join("\n")).not.toContain("canary");
  });

  it("take a name of one segment for a vault's alone, and no path that goes astray", () => {
    const problemsOf = (path: string): readonly string[] =>
      problems(
        `version: 1\nsources: { s: { kind: sidekey, address: https://v.test, token: { env: K } } }\nroutes: { a.example: "s:${path}" }`,
      );
    expect(problemsOf("openai-key")).toEqual([]);
    expect(problemsOf("a/b/c")).toEqual([]);
    for (const path of ["a//b", "../a", "a b", "."]) expect(problemsOf(path)).toHaveLength(1);
  });

  it("name the credentials, the CA and the certificate of a vault's source that are not there, for whoever has an environment", () => {
    const text = `version: 1
sources:
  a: { kind: sidekey, address: https://v.test, token: { env: ABSENT } }
  b: { kind: sidekey, address: https://v.test, agent_key: { file: /nowhere/key }, ca: /nowhere/ca.pem, cert: /nowhere/cert.pem, cert_key: /nowhere/key.pem }
routes: { a.example: a:a/b }
`;
    expect(problems(text)).toEqual([]);
    const loaded = loadConfig({ file: "f.yaml", text, environment: {} });
    expect("problems" in loaded && loaded.problems.map(({ line, path, message }) => [line, path, message])).toEqual([
      [3, "sources.a.token", "The credential in variable ABSENT is missing or empty."],
      [4, "sources.b.agent_key", "The credential file /nowhere/key cannot be read (ENOENT)."],
      [4, "sources.b.ca", "/nowhere/ca.pem cannot be read (ENOENT)"],
      [4, "sources.b.cert", "/nowhere/cert.pem cannot be read (ENOENT)"],
      [4, "sources.b.cert_key", "/nowhere/key.pem cannot be read (ENOENT)"],
    ]);
  });

  it.each([
    ["{ match: https://a.example }", "has no 'secret'"],
    ["{ secret: a/b, match: [] }", "must hold at least 1 entry"],
    ['"a/b"', ""],
    ["5", "must be text or a map"],
    ["", "is empty; it must be text or a map"],
    ["{ match: https://a.example, secret: one }", "two or more segments"],
    [
      "{ match: https://a.example, secret: a/b, inject: { kind: beaer } }",
      "must be one of: bearer, basic, header, query, path, cookie, placeholder",
    ],
    ["{ match: https://a.example, secret: a/b, inject: {} }", "is missing"],
    ["{ match: https://a.example, secret: a/b, inject: [] }", "must hold at least 1 entry"],
    ["{ match: https://a.example, secret: a/b, inject: { kind: header, name: Host } }", "cannot carry a credential"],
    ["{ match: https://a.example, secret: a/b, inject: { kind: header } }", "is missing"],
    ["{ match: https://a.example, secret: a/b, deny: 'DELETE **' }", "must be a list, and is text"],
    ["{ match: https://a.example, secret: a/b, deny: ['DELETE https://a.example/'] }", "takes a path without scheme"],
    ["{ match: https://a.example, secret: a/b, env: A-B }", "must be a variable's name"],
    ["{ match: https://a.example, secret: a/b, max_age: 60 }", "must be a duration"],
    ["{ match: https://a.example, secret: a/b, timeouts: { connect: 0s } }", "must be more than zero"],
    ["{ match: https://a.example, secret: a/b, cleartext: 'true' }", "must be true or false"],
    ["{ match: http://a.example, secret: a/b }", "would send the credential over cleartext HTTP"],
    ["{ match: http://10.0.0.1, secret: a/b }", "would send the credential over cleartext HTTP"],
    ["{ match: 'http://*.localhost', secret: a/b }", "would send the credential over cleartext HTTP"],
    ["{ match: a.example, secret: a/b }", "needs 'https://' or 'http://'"],
    ["{ match: https://a.example, secret: a/b, gateway: https://b.example }", "no 'match' of this route covers"],
    ["{ match: https://a.example, secret: a/b, gateway: http://a.example:443 }", "no 'match' of this route covers"],
    ["{ match: https://a.example, secret: a/b, gateway: https://a.example:8443 }", "no 'match' of this route covers"],
    ["{ match: 'https://*.a.example', secret: a/b, gateway: https://a.example }", "no 'match' of this route covers"],
    ["{ match: 'https://*.a.example', secret: a/b, gateway: https://x.y.a.example }", "no 'match' of this route cov"],
    ["{ match: 'https://**.a.example', secret: a/b, gateway: https://x.y.a.example }", ""],
    ["{ match: https://a.example, secret: a/b, gateway: https://a.example/v1 }", "must be an origin"],
    ["{ match: https://a.example, secret: a/b, gateway: a.example }", "must be an origin"],
    ["{ match: https://a.example, secret: a/b, gateway: https://u@a.example }", "must be an origin"],
  ])("of a route written %s", (route, message) => {
    const found = routeProblems(route);
    if (message === "") expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringContaining(message)]);
  });

  it.each([
    ["listen: { proxy: 10.0.0.1:7070 }", "would listen beyond this machine"],
    ["listen: { proxy: '[::]:7070' }", "would listen beyond this machine"],
    ["listen: { gateway: 0.0.0.0:7071, clients: [] }", "would listen beyond this machine"],
    ["listen: { proxy: 'off', gateway: 'off' }", "leaves no way in"],
    ["listen: { gateway: 127.0.0.1:7070 }", "is the address of listen.proxy"],
    ["listen: { health: 127.0.0.1:7070 }", "is the address of listen.proxy"],
    ["listen: { health: 0.0.0.0:7072 }", "would listen beyond this machine"],
    ["listen: { proxy: 'unix:a', admin: 'unix:./a' }", "is the address of listen.proxy"],
    ["listen: { admin: 127.0.0.1:7073 }", "must be unix:PATH"],
    ["listen: { admin: off }", "must be unix:PATH"],
    ["listen: { proxy: 'unix:a', gateway: 'unix:./a' }", "is the address of listen.proxy"],
    ["listen: { gateway: true }", "must be text"],
    ["listen: { names: ['a.example:80'] }", "must be a host without port"],
    ["listen: { names: ['*.a.example'] }", "must be a host without port"],
    ["listen: { clients: [10.0.0.1/8] }", "must be a range of addresses"],
    [`listen: { gateway: 'unix:${"x".repeat(120)}' }`, "longer than 103 bytes"],
    ["listen: { proxy: 7070 }", "must be text"],
    ["listen: { proxy: 'proxy.example:7070' }", "must be an IP address"],
    [`listen: { proxy: 'unix:${"x".repeat(120)}' }`, "longer than 103 bytes"],
    ["sources: {}", "names no source"],
    ["sources: { local: { kind: local, key: secret } }", "must be { file: PATH } or { env: NAME }"],
    ["sources: { Local: { kind: local } }", "must be a lower-case letter"],
    ["sources: { f: { kind: file } }", "is missing"],
    ["egress: { allow: [10.1.2.3/8] }", "must be a range of addresses"],
    ["egress: { allow: 10.0.0.0/8 }", "must be a list"],
    ["upstream: { connect: { a.example: '127.0.0.1:1' } }", "the key must be HOST:PORT"],
    ["upstream: { connect: { 'a.example:1': '127.0.0.1' } }", "must be HOST:PORT"],
    ["upstream: { connect: { 'a.example:1': '127.0.0.1:1', 'A.example:1': '127.0.0.1:2' } }", "written twice"],
    ["audit: { sync: 0s }", "must be more than zero"],
    ["audit: { sync: sometimes }", "must be always, never, or a duration"],
    ["audit: { max_size: 1KiB }", "must be 64KiB or more"],
    ["audit: { keep: 0 }", "must be at least 1"],
    ["limits: { streams: 1.5 }", "must be a whole number"],
    ["log: { level: trace }", "must be one of: error, warn, info, debug"],
    ["agent: 'a b'", "must be 1 to 64 letters"],
    ["state: ''", "must not be empty"],
    ["routes: [a]", "must be a map, and is a list"],
  ])("of a file with %s", (line, message) => {
    expect(problems(`version: 1\n${line}\n`)).toEqual([
      expect.stringMatching(new RegExp(`^2:\\d+ .*${message.replace(/[[\]{}()]/g, "\\$&")}`)),
    ]);
  });

  it("point to the parent when a key is missing", () => {
    expect(problems("agent: a\n")).toEqual(["1:1 version is missing"]);
    expect(problems("version: 1\nroutes:\n  b.example: {}\n")).toEqual(["3:3 routes[\"b.example\"] has no 'secret'"]);
  });

  it("do not claim that a key is missing which is there but wrong", () => {
    expect(routeProblems("{ match: 5, secret: 5 }")).toHaveLength(2);
  });
});
