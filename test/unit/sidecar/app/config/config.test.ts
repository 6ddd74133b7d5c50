import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig, readConfig, type SidecarConfig } from "../../../../../src/sidecar/app/config/config.ts";

const FILE = "/srv/agent/sidekey.yaml";

const load = (text: string): SidecarConfig => {
  const result = loadConfig({ file: FILE, text });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems, null, 1));
  return result.config;
};

const warningsOf = (text: string): string[] => {
  const result = loadConfig({ file: FILE, text });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems, null, 1));
  return result.warnings.map(({ line, path }) => `${line} ${path}`);
};

describe("loadConfig", () => {
  it("fills every default of a file that says only its version", () => {
    const config = load("version: 1\n");
    expect(config).toEqual({
      file: FILE,
      baseDir: "/srv/agent",
      digest: createHash("sha256").update("version: 1\n").digest("hex"),
      agent: "default",
      state: "/srv/agent/.sidekey",
      listen: {
        proxy: { kind: "tcp", host: "127.0.0.1", port: 7070 },
        gateway: undefined,
        health: undefined,
        admin: { kind: "unix", path: "/srv/agent/.sidekey/admin.sock" },
        names: [],
        clients: [],
      },
      sources: [{ name: "local", kind: "local", fields: { kind: "local" } }],
      routes: [],
      unmatched: "deny",
      egress: { allow: [] },
      upstream: { connect: new Map() },
      tls: { export: undefined, caDays: 365, constrain: false },
      audit: {
        path: "/srv/agent/.sidekey/audit.jsonl",
        sync: 1_000,
        maxSize: 104_857_600,
        keep: 10,
        key: "/srv/agent/.sidekey/audit.key",
      },
      limits: { connections: 1024, tunnels: 1024, streams: 4096 },
      logLevel: "info",
      tests: [],
    });
  });

  it("goes without an admin socket where the state directory lies too deep for one, and says so", () => {
    const result = loadConfig({ file: FILE, text: `version: 1\nstate: /srv/${"x".repeat(100)}\n` });
    expect(result).toMatchObject({
      config: { listen: { admin: undefined } },
      warnings: [{ path: "listen", message: expect.stringContaining("the admin socket is off") }],
    });
    const written = loadConfig({ file: FILE, text: `version: 1\nlisten: { admin: "unix:/srv/${"x".repeat(100)}" }\n` });
    expect(written).toMatchObject({ problems: [{ path: "listen.admin" }] });
  });

  it("takes HOST: REF as any path of the host over https, with bearer", () => {
    const { routes } = load("version: 1\nroutes:\n  api.example.com: a/b\n  '*.example.com:8443': a/c\n");
    expect(routes).toMatchObject([
      {
        name: "api.example.com",
        patterns: [{ text: "https://api.example.com/**", scheme: "https", port: 443 }],
        deny: [],
        injections: [{ kind: "bearer", fields: { kind: "bearer", name: "Authorization" }, ref: { text: "local:a/b" } }],
        maxAgeMs: 60_000,
        staleWhileErrorMs: 60_000,
        timeouts: { connectMs: 10_000, headersMs: 600_000, idleMs: 300_000 },
        cleartext: false,
      },
      { name: "*.example.com:8443", patterns: [{ text: "https://*.example.com:8443/**", port: 8443 }] },
    ]);
    expect(routes[0]?.variables).toEqual([]);
  });

  it("takes every key of the object form", () => {
    const { routes } = load(`
version: 1
sources: { first: { kind: local }, env: { kind: env } }
routes:
  one:
    match: [ "GET https://a.example/x/**", "https://b.example" ]
    secret: env:A_KEY
    inject: { kind: header, name: X-Key, format: "key {secret}" }
    deny: [ "DELETE **", "* /x/y" ]
    env: A_KEY
    max_age: 5m
    stale_while_error: 0s
    timeouts: { connect: 1s, idle: 2m }
    cleartext: true
  c.example: { secret: x/y, inject: [ { kind: basic, username: u } ] }
  two: { match: https://d.example, inject: { kind: bearer, secret: env:B_KEY } }
`);
    expect(routes[0]).toMatchObject({
      patterns: [{ text: "GET https://a.example/x/**" }, { text: "https://b.example" }],
      deny: [{ text: "DELETE **" }, { text: "* /x/y" }],
      injections: [{ kind: "header", fields: { name: "X-Key", format: "key {secret}" }, ref: { text: "env:A_KEY" } }],
      variables: ["A_KEY"],
      maxAgeMs: 300_000,
      staleWhileErrorMs: 0,
      timeouts: { connectMs: 1_000, headersMs: 600_000, idleMs: 120_000 },
      cleartext: true,
    });
    expect(routes[1]).toMatchObject({ injections: [{ kind: "basic", ref: { text: "first:x/y" } }] });
    expect(routes[2]).toMatchObject({ injections: [{ kind: "bearer", ref: { text: "env:B_KEY" } }] });
  });

  it("makes every path absolute against the file's directory, or the one it is told", () => {
    const text = `
version: 1
state: ../state
listen: { proxy: "unix:run/p.sock" }
upstream: { ca: ./ca.pem }
audit: { path: log/audit.jsonl, key: /etc/audit.key }
`;
    expect(load(text)).toMatchObject({
      state: "/srv/state",
      listen: { proxy: { kind: "unix", path: "/srv/agent/run/p.sock" } },
      upstream: { ca: "/srv/agent/ca.pem" },
      audit: { path: "/srv/agent/log/audit.jsonl", key: "/etc/audit.key" },
    });
    expect(loadConfig({ file: FILE, text, baseDir: "/other" })).toMatchObject({
      config: { state: "/state", baseDir: "/other" },
    });
  });

  it("keys upstream.connect by the canonical authority", () => {
    const { upstream } = load(
      'version: 1\nupstream: { connect: { "API.example:443": "127.0.0.1:9443", "b.example:1": "[::1]:2" } }\n',
    );
    expect([...upstream.connect]).toEqual([
      ["api.example:443", { address: "127.0.0.1", port: 9443 }],
      ["b.example:1", { address: "::1", port: 2 }],
    ]);
  });

  it("takes the words and numbers of the rest", () => {
    const config = load(`
version: 1
agent: a.b-c
listen: { proxy: "off", gateway: "0.0.0.0:7071", health: off, names: [Sidekey.Internal, "[FD00::0005]"], clients: [10.0.0.0/8] }
unmatched: tunnel
egress: { allow: [ 10.0.0.0/8, "fd00::/8" ] }
audit: { sync: always, max_size: 1GiB, keep: 3 }
limits: { connections: 5 }
log: { level: debug }
`);
    expect(config).toMatchObject({
      agent: "a.b-c",
      listen: {
        proxy: undefined,
        gateway: { kind: "tcp", host: "0.0.0.0", port: 7071 },
        names: ["sidekey.internal", "[fd00::5]"],
        clients: [{ prefix: 8 }],
      },
      unmatched: "tunnel",
      egress: { allow: [{ prefix: 8 }, { prefix: 8 }] },
      audit: { sync: "always", maxSize: 1024 ** 3, keep: 3 },
      limits: { connections: 5, tunnels: 1024, streams: 4096 },
      logLevel: "debug",
    });
  });

  it("gives a route a base URL at the origin it names, or else at its first match that has one", () => {
    const { routes } = load(`
version: 1
routes:
  first: { match: ["https://*.example.com/**", "http://127.0.0.1:8080/v1/**", "https://b.example/**"], secret: a/b }
  named: { match: "https://*.example.org/**", secret: a/b, gateway: "https://api.example.org" }
  host.example:8443: a/b
  none: { match: "https://**.example.net/**", secret: a/b }
`);
    expect(routes.map(({ name, gateway }) => [name, gateway && `${gateway.scheme} ${gateway.authority.key}`])).toEqual([
      ["first", "http 127.0.0.1:8080"],
      ["named", "https api.example.org:443"],
      ["host.example:8443", "https host.example:8443"],
      ["none", undefined],
    ]);
  });

  it("allows http to loopback, to what is connected to loopback, and where cleartext is written", () => {
    const config = load(`
version: 1
upstream: { connect: { "legacy.example:80": "127.0.0.1:8080" } }
routes:
  a: { match: "http://127.0.0.1:9000/**", secret: a/b }
  b: { match: "http://localhost:9000/**", secret: a/b }
  c: { match: "http://[::1]:9000/**", secret: a/b }
  d: { match: "http://legacy.example/**", secret: a/b }
  e: { match: "http://printer.example/**", secret: a/b, cleartext: true }
`);
    expect(config.routes).toHaveLength(5);
  });

  it("warns where a name without 'match' can only be a host of one label", () => {
    expect(warningsOf("version: 1\nroutes:\n  openai: a/b\n  localhost: a/b\n  api.example.com: a/b\n")).toEqual([
      "3 routes.openai",
    ]);
  });
});

describe("the examples in config/", () => {
  const directory = new URL("../../../../../config", import.meta.url).pathname;

  // The one file there that is no sidekey.yaml.
  it.each(
    readdirSync(directory).filter((name) => name.endsWith(".yaml") && name !== "vault.yaml" && name !== "compose.yaml"),
  )("%s loads without problems or warnings", (name) => {
    expect(readConfig(join(directory, name))).toMatchObject({ config: expect.anything(), warnings: [] });
  });

  it("name every key of the schema in sidekey.yaml", () => {
    const text = readFileSync(join(directory, "sidekey.yaml"), "utf8");
    for (const key of [
      "version",
      "agent",
      "state",
      "listen",
      "proxy",
      "sources",
      "routes",
      "match",
      "secret",
      "preset",
      "inject",
      "deny",
      "env",
      "max_age",
      "stale_while_error",
      "timeouts",
      "cleartext",
      "unmatched",
      "egress",
      "allow",
      "upstream",
      "tls",
      "export",
      "ca_days",
      "constrain",
      "ca",
      "connect",
      "audit",
      "path",
      "key",
      "sync",
      "max_size",
      "keep",
      "limits",
      "connections",
      "tunnels",
      "streams",
      "log",
      "level",
    ]) {
      expect(text).toMatch(new RegExp(`\\b${key}:`));
    }
  });
});

describe("readConfig", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sidekey-config-"));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });
  const written = (content: string | Buffer): string => {
    const path = join(directory, "sidekey.yaml");
    writeFileSync(path, content);
    return path;
  };

  it("reads a file, with or without a byte order mark", () => {
    expect(readConfig(written("version: 1\n"))).toHaveProperty("config.baseDir", directory);
    expect(readConfig(written("\ufeffversion: 1\n"))).toHaveProperty("config");
  });

  it("says CONFIG_UNREADABLE for a file that is absent or a directory", () => {
    for (const path of [join(directory, "absent.yaml"), directory]) {
      expect(() => readConfig(path)).toThrow(
        expect.objectContaining({ code: "CONFIG_UNREADABLE", detail: expect.stringContaining(path) }),
      );
    }
  });

  it("refuses what is not UTF-8", () => {
    for (const bytes of [Buffer.from([0x61, 0x3a, 0xff]), Buffer.from("\ufeffversion: 1\n", "utf16le")]) {
      expect(readConfig(written(bytes))).toMatchObject({ problems: [{ line: 1, message: "the file is not UTF-8" }] });
    }
  });

  it("refuses a file over 1 MiB, and a device without end", () => {
    expect(readConfig(written(`a: ${"x".repeat(2 ** 20)}`))).toMatchObject({
      problems: [{ message: "the file is larger than 1 MiB" }],
    });
    expect(readConfig("/dev/zero")).toHaveProperty("problems");
  });
});
