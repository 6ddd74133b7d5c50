import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../../src/sidecar/app/config/config.ts";
import { readUpstreamProxy } from "../../../../src/sidecar/app/upstream-proxy.ts";

const load = (proxy: string) =>
  loadConfig({ file: "/etc/sidekey.yaml", text: `version: 1\nupstream:\n  proxy: ${proxy}\n` });

const problems = (proxy: string): string[] => {
  const loaded = load(proxy);
  return "problems" in loaded ? loaded.problems.map(({ message }) => message) : [];
};

const read = (proxy: string, environment: Readonly<Record<string, string>> = {}) => {
  const loaded = load(proxy);
  if ("problems" in loaded || loaded.config.upstream.proxy === undefined) throw new Error("not loaded");
  const { authority, authorization } = readUpstreamProxy(loaded.config.upstream.proxy, {
    baseDir: "/etc",
    environment,
  });
  return [authority.key, authorization];
};

const basic = (login: string): string => `Basic ${Buffer.from(login).toString("base64")}`;

describe("upstream.proxy", () => {
  it("is a URL, a variable that holds one, or a URL with a login", () => {
    expect(read("http://corp-proxy:3128")).toEqual(["corp-proxy:3128", undefined]);
    expect(read("http://[::1]:3128/")).toEqual(["[::1]:3128", undefined]);
    expect(read("{ url: http://CORP-proxy:3128 }")).toEqual(["corp-proxy:3128", undefined]);
    expect(read("{ env: P }", { P: "http://corp-proxy:3128" })).toEqual(["corp-proxy:3128", undefined]);
    expect(read("{ env: P }", { P: "http://us%40er:p:a%2Fss@corp-proxy:3128/" })).toEqual([
      "corp-proxy:3128",
      basic("us@er:p:a/ss"),
    ]);
    expect(read("{ url: http://p:1, username: us er, password: { env: W } }", { W: "pä\r\nss" })).toEqual([
      "p:1",
      basic("us er:pä\r\nss"),
    ]);
  });

  it.each([
    "http://user:hunter2@corp-proxy:3128",
    "http://hunter2@corp-proxy:3128",
    "{ url: http://user:hunter2@corp-proxy:3128 }",
    "http://@corp-proxy:3128",
  ])("never holds a login: %s", (proxy) => {
    expect(problems(proxy)).toEqual(["must not hold a password or a user name"]);
    const loaded = load(proxy);
    expect(JSON.stringify(loaded)).not.toContain("hunter2");
  });

  it.each([
    "corp-proxy:3128",
    "http://corp-proxy",
    "https://corp-proxy:3128",
    "socks5://corp-proxy:3128",
    "http://corp-proxy:3128/path",
    "http://corp-proxy:3128?x",
    "http://corp-proxy:0",
    "http://127.1:3128",
    "http://corp-proxy.:3128",
    '""',
    "env",
  ])("is not %s", (proxy) => {
    expect(problems(proxy)).toEqual([expect.stringContaining("must be http://HOST:PORT")]);
  });

  it.each([
    ["{}", "must hold either 'url' or 'env'"],
    ["{ url: http://p:1, env: P }", "must hold either 'url' or 'env'"],
    ["{ url: http://p:1, username: a }", "must hold 'username' and 'password', or neither"],
    ["{ url: http://p:1, password: { env: W } }", "must hold 'username' and 'password', or neither"],
    ["{ env: P, username: a, password: { env: W } }", "takes its login from the variable's URL, or from 'url'"],
    [
      "{ url: http://p:1, username: a, password: hunter2 }",
      "must be { file: PATH } or { env: NAME }; a value is never written here",
    ],
    ["{ url: http://p:1, username: 'a:b', password: { env: W } }", "must not hold a colon"],
    ["{ env: 'not a name' }", "must be a variable's name"],
    ["{ url: http://p:1, user: a }", "is not a known key"],
    ["[]", "must be text or a map, and is a list"],
  ])("is not %s either", (proxy, message) => {
    expect(problems(proxy)).toEqual([message]);
  });

  it.each([undefined, "", "corp-proxy:3128", "http://a:hunter2@", "http://a:hunter2%zz@p:1", "https://a:hunter2@p:1"])(
    "fails on a variable that holds %s, and does not say it",
    (value) => {
      const attempt = () => read("{ env: P }", value === undefined ? {} : { P: value });
      expect(attempt).toThrow(/^CONFIG_INVALID/);
      expect(attempt).not.toThrow(/hunter2/);
    },
  );
});
