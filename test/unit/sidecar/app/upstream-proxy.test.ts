import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../../src/sidecar/app/config/config.ts";
import { credentialNames } from "../../../../src/sidecar/app/config/credential-names.ts";
import { readUpstreamProxy } from "../../../../src/sidecar/app/upstream-proxy.ts";

const load = (proxy: string) =>
  loadConfig({ file: "/etc/sidekey.yaml", text: `version: 1\nupstream:\n  proxy: ${proxy}\n` });

const problems = (proxy: string): string[] => {
  const loaded = load(proxy);
  return "problems" in loaded ? loaded.problems.map(({ message }) => message) : [];
};

const read = (yaml: string, environment: Readonly<Record<string, string>> = {}) => {
  const loaded = load(yaml);
  if ("problems" in loaded || loaded.config.upstream.proxy === undefined) throw new Error("not loaded");
  const proxy = readUpstreamProxy(loaded.config.upstream.proxy, { baseDir: "/etc", environment });
  return proxy === undefined
    ? undefined
    : [proxy.authority.key, proxy.authorization, ...(proxy.exceptions === undefined ? [] : [proxy.exceptions])];
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

  it("is what the environment says, for 'env'", () => {
    const url = "http://us%40er:pass@corp-proxy:3128";
    const proxy = ["corp-proxy:3128", basic("us@er:pass")];
    for (const name of ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"]) {
      expect(read("env", { [name]: url, no_proxy: "", NO_PROXY: "a.test" })).toEqual([...proxy, "a.test"]);
    }
    expect(read("env", { HTTPS_PROXY: "", https_proxy: "http://first:1", HTTP_PROXY: url })).toEqual([
      "first:1",
      undefined,
    ]);
    expect(read("env", { NO_PROXY: "a.test" })).toBeUndefined();
    expect(() => read("env", { HTTPS_PROXY: "socks5://a:hunter2@p:1" })).toThrow(
      /^CONFIG_INVALID.* HTTPS_PROXY does not/,
    );
  });

  it("takes its variables out of the environment of a program that is run", () => {
    const loaded = load("env");
    if ("problems" in loaded) throw new Error("not loaded");
    expect(credentialNames(loaded.config)).toEqual(expect.arrayContaining(["HTTPS_PROXY", "all_proxy"]));
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
    "ENV",
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
