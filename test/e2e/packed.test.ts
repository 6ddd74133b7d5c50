/**
 * What `npm publish` would send, as a user has it: unpacked, with the packages it asks for and no other, far from this
 * tree. Its dependencies are copies of the ones here, chosen by the lock file as npm chooses them: no registry is asked.
 */
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cleanEnvironment, type Finished, finished } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const ROOT = join(import.meta.dirname, "../..");
const CANARY = "sk-canary-packed-5d1e0f";

interface Locked {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
}

let work: Workspace;
let installed: string;
beforeAll(() => {
  work = createWorkspace();
  // No registry, and no script: `prepare` would build once more.
  const pack = ["pack", "--ignore-scripts", "--offline", "--silent", "--pack-destination", work.path];
  execFileSync("npm", pack, { cwd: ROOT, stdio: "pipe" });
  const tarball = readdirSync(work.path).find((name) => name.endsWith(".tgz")) ?? "";
  installed = work.at("app/node_modules/sidekey");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", work.at(tarball), "-C", installed, "--strip-components=1"]);
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, Locked>>;
  };
  for (const [path, { dev = false, devOptional = false }] of Object.entries(lock.packages)) {
    // Those of other platforms are not here either.
    if (path === "" || dev || devOptional || !existsSync(join(ROOT, path))) continue;
    cpSync(join(ROOT, path), work.at(join("app", path)), { recursive: true });
  }
});
afterAll(() => work?.remove());

const node = (args: readonly string[], cwd: string, environment: Readonly<Record<string, string>> = {}) =>
  spawn(process.execPath, args, { cwd, env: cleanEnvironment(environment), stdio: ["pipe", "pipe", "pipe"] });

const main = (): string => join(installed, "dist/main.js");
const sidekey = (args: readonly string[], input = "", cwd = work.path): Promise<Finished> => {
  const child = node([main(), ...args], cwd);
  child.stdin.on("error", () => {}).end(input);
  return finished(child);
};

/** Until its ready line, whose object it gives. */
const serve = async (args: readonly string[]) => {
  const child = node([main(), ...args], work.path);
  child.stdin.end();
  const end = finished(child);
  const ready = await new Promise<Record<string, string>>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [, json] = /^sidekey (?:vault )?ready (.*)$/.exec(line) ?? [];
      if (json !== undefined) resolve(JSON.parse(json));
    });
    end.then(({ code, stderr }) => reject(new Error(`it ended with ${code}:\n${stderr}`)), reject);
  });
  const stop = (): Promise<Finished> => {
    child.kill("SIGTERM");
    return end;
  };
  return { ready, stop };
};

describe("the package", () => {
  it("holds what runs, its documents, and nothing else", () => {
    expect(readdirSync(installed).sort()).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "SECURITY.md",
      "config",
      "dist",
      "docs",
      "package.json",
    ]);
    const files = readdirSync(installed, { recursive: true }).map(String);
    expect(files.filter((name) => /\.map$|\.mjs$|(?<!\.d)\.c?ts$|\.tsbuildinfo$/.test(name))).toEqual([]);
    for (const name of ["dist/THIRD-PARTY-LICENSES.txt", "config/schema.json", "config/presets/openai.yaml"]) {
      expect(files).toContain(name);
    }
  });

  it("needs few packages beside it, and is no large one", () => {
    const { dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    // Native code, and what is loaded into another's process. All else is inside.
    expect(Object.keys(dependencies)).toEqual(["lmdb", "undici"]);
    const packages = readdirSync(work.at("app/node_modules")).filter((name) => !name.startsWith("."));
    expect(packages).not.toContain("zod");
    expect(packages.length).toBeLessThan(15);
    const bytes = Number(execFileSync("du", ["-sb", installed], { encoding: "utf8" }).split("\t")[0]);
    expect(bytes).toBeLessThan(14_000_000);
  });

  it("has every file that it names itself", () => {
    const { bin, exports } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    const texts = (value: unknown): readonly unknown[] =>
      typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [value];
    const named = texts([bin, exports]);
    expect(named.length).toBeGreaterThan(4);
    for (const name of named) expect(existsSync(join(installed, String(name))), String(name)).toBe(true);
  });
});

describe("the program of the package", () => {
  it("makes a file from a preset, keeps a secret, serves, and says nothing beside it", async () => {
    expect(await sidekey(["--version"])).toMatchObject({ code: 0, stderr: "" });
    work.write(
      "sidekey.yaml",
      'version: 1\nlisten: { proxy: "127.0.0.1:0" }\nroutes:\n  openai: { preset: openai, secret: production/openai/key }\n',
    );
    expect(await sidekey(["secret", "set", "production/openai/key"], CANARY)).toMatchObject({ code: 0, stderr: "" });
    expect((await sidekey(["secret", "get", "production/openai/key", "--reveal"])).stdout).toBe(`${CANARY}\n`);
    expect(await sidekey(["check"])).toMatchObject({ code: 0, stderr: "" });
    expect((await sidekey(["explain", "GET", "https://api.openai.com/v1/models"])).stdout).toContain("openai");
    const { ready, stop } = await serve(["start", "--log-level", "error"]);
    expect(ready["proxy"]).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(await sidekey(["status", "--ready"])).toMatchObject({ code: 0, stderr: "" });
    expect(await stop()).toMatchObject({ code: 0, stderr: "" });
  });

  it("runs an agent, whose fetch goes through it and carries the secret", async () => {
    const seen: (string | undefined)[] = [];
    const upstream = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end("fine");
    });
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = upstream.address() as AddressInfo;
      const file = `version: 1
routes:
  own: { match: "http://api.example.test/**", secret: production/own/key, cleartext: true }
upstream:
  connect: { "api.example.test:80": "127.0.0.1:${port}" }
`;
      work.write("run.yaml", file);
      await sidekey(["secret", "set", "production/own/key", "-c", "run.yaml"], CANARY);
      const script = 'console.log(await (await fetch("http://api.example.test/")).text())';
      const agent = [process.execPath, "--input-type=module", "-e", script];
      const ran = await sidekey(["run", "-c", "run.yaml", "--", ...agent]);
      expect({ code: ran.code, stdout: ran.stdout, seen }, ran.stderr).toEqual({
        code: 0,
        stdout: "fine\n",
        seen: [`Bearer ${CANARY}`],
      });
    } finally {
      upstream.close();
    }
  });

  it("serves a vault that the package's own client uses", async () => {
    work.write("vault.yaml", "version: 1\nlisten: 127.0.0.1:0\nstate: ./vault-data\n");
    const made = await sidekey(["vault", "init", "-c", "vault.yaml", "--json"]);
    expect(made.code, made.stderr).toBe(0);
    const { ready, stop } = await serve(["vault", "serve", "-c", "vault.yaml"]);
    work.write(
      "app/client.js",
      `import { AgentVault } from "sidekey";
import { AgentVault as Alone } from "sidekey/client";
const vault = new AgentVault({ address: process.env.ADDRESS, operatorKey: process.env.KEY });
await vault.setSecret("a/b", "${CANARY}");
console.log((await vault.getSecret("a/b")) === "${CANARY}", Alone === AgentVault);
vault.close();
`,
    );
    work.write("app/package.json", '{ "type": "module" }');
    const client = node([work.at("app/client.js")], work.at("app"), {
      ADDRESS: ready["address"] ?? "",
      KEY: JSON.parse(made.stdout).operator_key,
    });
    client.stdin.end();
    expect(await finished(client)).toEqual({ code: 0, stdout: "true true\n", stderr: "" });
    expect((await stop()).code).toBe(0);
  });

  it("has a driver for PostgreSQL inside", async () => {
    work.write("database-url", "postgres://nobody:none@127.0.0.1:1/none");
    work.write(
      "postgres.yaml",
      "version: 1\nlisten: 127.0.0.1:0\nstorage: { kind: postgres, url: { file: ./database-url } }\n",
    );
    const { code, stderr } = await sidekey(["vault", "init", "-c", "postgres.yaml"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("ECONNREFUSED")]);
  });
});

describe("the types of the package", () => {
  const PROGRAM = `import { AgentVault, startSidecar, loadConfig, type SidecarConfig } from "sidekey";
import { AgentVault as Alone, SecretNotFoundError } from "sidekey/client";
const vault: Alone = new AgentVault({ address: "http://127.0.0.1:1", agentKey: "k" });
const config: SidecarConfig | undefined = undefined as unknown as SidecarConfig;
// Where a package of ours that is not there would leave \`any\`, nothing of this would be an error.
const kind: "local" | "file" = "file" satisfies NonNullable<typeof config>["sources"][number]["kind"];
// @ts-expect-error no such kind
const wrong: NonNullable<typeof config>["sources"][number]["kind"] = "no-such-kind";
// @ts-expect-error a number is no address
new AgentVault({ address: 1 });
export { vault, startSidecar, loadConfig, SecretNotFoundError, kind, wrong };
`;

  it("are whole, with nothing but Node's own beside them", async () => {
    work.write("app/package.json", '{ "type": "module" }');
    work.write("app/program.ts", PROGRAM);
    // Those of Node are the user's own.
    const types = work.at("app/node_modules/@types/node");
    if (!existsSync(types)) {
      mkdirSync(dirname(types), { recursive: true });
      symlinkSync(join(ROOT, "node_modules/@types/node"), types);
    }
    const options = ["--strict", "--noEmit", "--target", "ES2023", "--module", "NodeNext", "--types", "node"];
    // Ours are looked at too; those of the language need not be.
    const how = ["--skipLibCheck", "false", "--skipDefaultLibCheck"];
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    const compiler = spawn(tsc, [...options, ...how, "program.ts"], { cwd: work.at("app"), env: cleanEnvironment() });
    expect(await finished(compiler)).toEqual({ code: 0, stdout: "", stderr: "" });
  }, 300_000);
});
