import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routeEnvironments } from "../../../../src/cli/run/from-config.ts";
import { loadConfig, type SidecarConfig } from "../../../../src/sidecar/app/config/config.ts";
import { credentialNames } from "../../../../src/sidecar/app/config/credential-names.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "sidekey-from-config-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const load = (text: string): SidecarConfig => {
  const result = loadConfig({ file: join(root, "sidekey.yaml"), text });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems));
  return result.config;
};

describe("credentialNames", () => {
  it("lists each { env: NAME } of the file, and the variables that routes name in an env source", () => {
    const config = load(`
version: 1
sources:
  vault: { kind: local, key: { env: MY_FERNET }, token: { env: MY_TOKEN } }
  shell: { kind: env }
  files: { kind: file, root: . }
routes:
  api.one.test: shell:ONE_KEY
  api.two.test: vault:production/two/key
  api.three.test: files:three.txt
`);
    expect([...credentialNames(config)].sort()).toEqual(["MY_FERNET", "MY_TOKEN", "ONE_KEY"]);
  });

  it("lists what the program of an exec source gets, but for what every program gets", () => {
    const config = load(`
version: 1
sources:
  pass: { kind: exec, command: [/bin/cat, "{path}"], env: [HOME, PATH, LC_ALL, XDG_RUNTIME_DIR, OP_TOKEN, HOMER] }
routes: { api.one.test: "pass:x" }
`);
    expect([...credentialNames(config)].sort()).toEqual(["HOMER", "OP_TOKEN"]);
  });

  it("is empty where the file names no variable", () => {
    expect(credentialNames(load("version: 1\nroutes:\n  api.one.test: production/one/key\n"))).toEqual([]);
  });
});

describe("routeEnvironments", () => {
  it("names each route's exact hosts, not its wildcards, and a placeholder of its own", () => {
    const config = load(`
version: 1
routes:
  one:
    match: ["https://localhost:8443/**", "https://api.one.test/**", "https://*.two.test/**"]
    secret: production/one/key
`);
    const [route] = routeEnvironments(config);
    expect(route?.hosts).toEqual(["localhost", "api.one.test"]);
    expect(route?.placeholder).toMatch(/^sidekey-placeholder-one-[0-9a-f]{12}$/);
  });
});
