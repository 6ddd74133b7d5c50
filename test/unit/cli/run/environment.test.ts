import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ChildEnvironmentInput, callerBundles, childEnvironment } from "../../../../src/cli/run/environment.ts";

const CANARY = "sk-live-canary-7f3b";
const base: ChildEnvironmentInput = {
  caller: {},
  proxyUrl: "http://127.0.0.1:4321",
  ca: "/state/run/abc/ca.pem",
  bundle: "/state/run/abc/ca-bundle.pem",
  preload: "/opt/sidekey/preload.cjs",
  runId: "abc",
  routes: [],
  removedNames: [],
  exposed: [],
  containsSecret: async (text) => text.includes(CANARY),
};
const build = (change: Partial<ChildEnvironmentInput>) => childEnvironment({ ...base, ...change });

describe("what the child does not get", () => {
  it.each([
    "ALL_PROXY",
    "all_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_https-proxy",
    "npm_config_noproxy",
    "NPM_CONFIG_PROXY",
    "Http_Proxy",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SIDEKEY_CONFIG",
    "SIDEKEY_LOG_LEVEL",
    "SIDEKEY_ANYTHING",
    "FERNET_SECRET_KEY",
    "SECRET_BACKEND",
    "ASS_AGENT_KEY",
    "ASS_API_KEY",
    "VAULT_TOKEN",
    "BAO_TOKEN",
  ])("%s", async (name) => {
    const { variables, removed } = await build({ caller: { [name]: "value", KEPT: "kept" } });
    expect(variables).not.toHaveProperty([name]);
    expect(removed).toEqual([name]);
    expect(variables["KEPT"]).toBe("kept");
  });

  it.each(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy"])(
    "the caller's own %s",
    async (name) => {
      const { variables, removed } = await build({ caller: { [name]: "corp.example" } });
      expect(variables[name]).not.toContain("corp.example");
      expect(removed).toEqual([name]);
    },
  );

  it("every variable that the file reads a credential from, by its exact name", async () => {
    const caller = { OPENAI_API_KEY: "a", MY_VAULT_TOKEN: "b", my_vault_token: "c" };
    const { variables, removed } = await build({ caller, removedNames: ["OPENAI_API_KEY", "MY_VAULT_TOKEN"] });
    expect(removed).toEqual(["MY_VAULT_TOKEN", "OPENAI_API_KEY"]);
    expect(variables["my_vault_token"]).toBe("c");
  });

  it("every variable whose value contains a resolved secret, whatever its name", async () => {
    const caller = { ANY: `prefix ${CANARY} suffix`, NODE_OPTIONS: `--title=${CANARY}`, PATH: "/bin" };
    const { variables, removed } = await build({ caller });
    expect(removed).toEqual(["ANY", "NODE_OPTIONS"]);
    expect(JSON.stringify(variables)).not.toContain(CANARY);
    expect(variables["PATH"]).toBe("/bin");
  });

  it("unless the person exposes it, and then it is told when it holds a resolved secret", async () => {
    const caller = { ASS_AGENT_KEY: "ast_agent_x", MINE: CANARY, OTHER: CANARY, API_TOKEN: "t", HTTP_PROXY: "corp" };
    const exposed = ["ASS_AGENT_KEY", "MINE", "API_TOKEN", "HTTP_PROXY"];
    const { variables, removed, exposing } = await build({ caller, exposed, isCautious: true });
    expect(removed).toEqual(["OTHER"]);
    expect(exposing).toEqual(["MINE"]);
    expect(variables).toMatchObject({ ASS_AGENT_KEY: "ast_agent_x", MINE: CANARY, API_TOKEN: "t" });
    // The way to the sidecar is no choice.
    expect(variables["HTTP_PROXY"]).toBe(base.proxyUrl);
  });

  it("what looks like a credential, where a secret could not be read, and only there", async () => {
    const looks = {
      ACME_TOKEN: "a",
      openai_api_key: "b",
      DB_PASSWORD: "c",
      SECRET_THING: "d",
      SSH_KEY: "e",
      DATABASE_URL: "postgres://user:pass@db.test/x",
    };
    const plain = {
      PATH: "/bin",
      PWD: "/home",
      SSH_AUTH_SOCK: "/run/ssh",
      AWS_SHARED_CREDENTIALS_FILE: "/home/.aws",
      TOKENIZERS_PARALLELISM: "false",
      MONKEY: "x",
      HOMEPAGE: "https://user@x.test/a:b@c",
      EMPTY_TOKEN: "",
    };
    const caller = { ...looks, ...plain };
    const cautious = await build({ caller, isCautious: true });
    expect(cautious.suspected).toEqual(Object.keys(looks).sort());
    expect(cautious.removed).toEqual(cautious.suspected);
    expect(cautious.variables).toMatchObject(plain);
    const { suspected, variables } = await build({ caller });
    expect(suspected).toEqual([]);
    expect(variables).toMatchObject(caller);
  });

  it("nothing, after a single question, when no value holds a secret", async () => {
    let asked = 0;
    const containsSecret = async (): Promise<boolean> => {
      asked += 1;
      return false;
    };
    const { removed } = await build({ caller: { A: "1", B: "2", C: "3" }, containsSecret });
    expect({ removed, asked }).toEqual({ removed: [], asked: 1 });
  });

  it("nothing for a secret that two variables would make together", async () => {
    const { removed } = await build({ caller: { A: CANARY.slice(0, 9), B: CANARY.slice(9) } });
    expect(removed).toEqual([]);
  });

  it("a variable that is not set", async () => {
    const { variables, removed } = await build({ caller: { GONE: undefined } });
    expect(Object.keys(variables)).not.toContain("GONE");
    expect(removed).toEqual([]);
  });
});

describe("what the child gets", () => {
  it("is exactly the table, beside what the caller had", async () => {
    const { variables } = await build({ caller: { HOME: "/home/me", PATH: "/bin" } });
    expect(variables).toEqual({
      HOME: "/home/me",
      PATH: "/bin",
      HTTP_PROXY: "http://127.0.0.1:4321",
      HTTPS_PROXY: "http://127.0.0.1:4321",
      http_proxy: "http://127.0.0.1:4321",
      https_proxy: "http://127.0.0.1:4321",
      NO_PROXY: "localhost,127.0.0.1,::1",
      no_proxy: "localhost,127.0.0.1,::1",
      NODE_EXTRA_CA_CERTS: "/state/run/abc/ca.pem",
      DENO_CERT: "/state/run/abc/ca.pem",
      SSL_CERT_FILE: "/state/run/abc/ca-bundle.pem",
      REQUESTS_CA_BUNDLE: "/state/run/abc/ca-bundle.pem",
      CURL_CA_BUNDLE: "/state/run/abc/ca-bundle.pem",
      GIT_SSL_CAINFO: "/state/run/abc/ca-bundle.pem",
      PIP_CERT: "/state/run/abc/ca-bundle.pem",
      CARGO_HTTP_CAINFO: "/state/run/abc/ca-bundle.pem",
      AWS_CA_BUNDLE: "/state/run/abc/ca-bundle.pem",
      NODE_USE_ENV_PROXY: "1",
      NODE_OPTIONS: '--require "/opt/sidekey/preload.cjs"',
      SIDEKEY_RUN: "abc",
    });
  });

  it("does not change the caller's own object", async () => {
    const caller = Object.freeze({ HTTP_PROXY: "x", KEPT: "y" });
    await build({ caller });
    expect(caller).toEqual({ HTTP_PROXY: "x", KEPT: "y" });
  });

  it("each route's variable with its placeholder, in place of the caller's value", async () => {
    const routes = [
      {
        variables: ["OPENAI_API_KEY", "OPENAI_KEY"],
        placeholder: "sidekey-placeholder-openai",
        hosts: ["api.openai.com"],
      },
      { variables: [], placeholder: "sidekey-placeholder-none", hosts: ["example.com"] },
    ];
    const { variables } = await build({ caller: { OPENAI_API_KEY: "old" }, routes });
    expect(variables["OPENAI_API_KEY"]).toBe("sidekey-placeholder-openai");
    expect(JSON.stringify(variables)).not.toContain("placeholder-none");
  });

  it("the proxy, even when a route claims its variable", async () => {
    const routes = [{ variables: ["HTTPS_PROXY"], placeholder: "sidekey-placeholder-x", hosts: [] }];
    expect((await build({ routes })).variables["HTTPS_PROXY"]).toBe("http://127.0.0.1:4321");
  });

  it.each([
    [["localhost"], "127.0.0.1,::1"],
    [["127.0.0.1"], "localhost,::1"],
    [["::1", "localhost", "127.0.0.1"], ""],
    [["api.openai.com"], "localhost,127.0.0.1,::1"],
  ])("NO_PROXY without the hosts that a route names: %j", async (hosts, expected) => {
    const { variables } = await build({ routes: [{ variables: [], placeholder: "p", hosts }] });
    expect(variables["NO_PROXY"]).toBe(expected);
    expect(variables["no_proxy"]).toBe(expected);
  });
});

describe("NODE_OPTIONS", () => {
  it("is appended to, not replaced", async () => {
    const { variables } = await build({ caller: { NODE_OPTIONS: "--max-old-space-size=64" } });
    expect(variables["NODE_OPTIONS"]).toBe('--max-old-space-size=64 --require "/opt/sidekey/preload.cjs"');
  });

  it.each(["", "  "])("that is blank (%j) counts as none", async (NODE_OPTIONS) => {
    const { variables } = await build({ caller: { NODE_OPTIONS } });
    expect(variables["NODE_OPTIONS"]).toBe('--require "/opt/sidekey/preload.cjs"');
  });

  describe("with a preload at an awkward path", () => {
    let root = "";
    beforeAll(() => {
      root = mkdtempSync(join(tmpdir(), "sidekey-preload-"));
    });
    afterAll(() => rmSync(root, { recursive: true, force: true }));

    it.each(["with space", 'with "quotes"', "back\\slash", "äöü"])("%s: Node itself loads it", async (name) => {
      const directory = join(root, name);
      mkdirSync(directory);
      const preload = join(directory, "preload.cjs");
      writeFileSync(preload, "globalThis.loaded = true;");
      const { variables } = await build({ caller: { NODE_OPTIONS: "--no-warnings" }, preload });
      const env = { NODE_OPTIONS: variables["NODE_OPTIONS"] ?? "" };
      const output = execFileSync(process.execPath, ["-p", "globalThis.loaded"], { env, encoding: "utf8" });
      expect(output.trim()).toBe("true");
    });
  });
});

describe("callerBundles", () => {
  it("lists the files of the replacing variables, each once, and no others", () => {
    const caller = {
      SSL_CERT_FILE: "/corp.pem",
      REQUESTS_CA_BUNDLE: "/corp.pem",
      AWS_CA_BUNDLE: "/aws.pem",
      GIT_SSL_CAINFO: "",
      NODE_EXTRA_CA_CERTS: "/node.pem",
    };
    expect(callerBundles(caller)).toEqual(["/corp.pem", "/aws.pem"]);
  });
});
