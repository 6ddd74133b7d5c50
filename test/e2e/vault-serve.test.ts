/** Transcripts of `sidekey vault serve` and of what prepares it, with the built program. */
import { readFileSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Finished, finished, launch } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => {
  work.remove();
});

const FILE = "version: 1\nlisten: 127.0.0.1:0\nstate: ./data\n";

interface Serving {
  readonly url: string;
  readonly end: Promise<Finished>;
  signal(name: NodeJS.Signals): void;
}

const serve = async (args: readonly string[] = []): Promise<Serving> => {
  const child = launch(["vault", "serve", ...args], { cwd: work.path });
  const end = finished(child);
  const url = await new Promise<string>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("no standard output"));
    createInterface({ input: child.stdout }).once("line", (line) => {
      const [, json = "{}"] = /^sidekey vault ready (.*)$/.exec(line) ?? [];
      resolve(JSON.parse(json).address);
    });
    end.then(({ code, stderr }) => reject(new Error(`it ended with ${code}:\n${stderr}`)), reject);
  });
  return { url, end, signal: (name) => void child.kill(name) };
};

describe("vault serve", () => {
  it("serves what vault init made, until it is told to stop", async () => {
    work.write("vault.yaml", FILE);
    const made = await work.sidekey(["vault", "init", "-c", "vault.yaml", "--json"]);
    expect(made.code).toBe(0);
    const { operator_key: key, directory } = JSON.parse(made.stdout);
    expect(directory).toBe(work.at("data/vault"));
    expect(statSync(work.at("data")).mode & 0o777).toBe(0o700);
    const { url, end, signal } = await serve();
    const call = (path: string, init: RequestInit = {}) =>
      fetch(url + path, { ...init, headers: { authorization: `Bearer ${key}`, "content-type": "application/json" } });
    const put = await call("/v1/secrets/a/b", {
      method: "PUT",
      body: JSON.stringify({ value: "sk-canary-0f9e8d7c6b5a" }),
    });
    expect(put.status).toBe(201);
    // The same store, by its file: beside the server, and without it.
    const listed = await work.sidekey(["secret", "list", "-c", "vault.yaml"]);
    expect(listed.stdout).toContain("a/b");
    signal("SIGHUP");
    expect((await call("/v1/health")).status).toBe(200);
    signal("SIGTERM");
    const { code, stderr } = await end;
    expect(code).toBe(0);
    expect(stderr).not.toContain("sk-canary");
    const log = readFileSync(work.at("data/vault-audit.jsonl"), "utf8");
    expect(log).toContain('"event":"secret.created"');
    expect(log).not.toContain("sk-canary");
    expect((await work.sidekey(["vault", "init", "-c", "vault.yaml"])).stderr).toContain("VAULT_STORE_EXISTS");
    const backup = await work.sidekey(["vault", "backup", "vault.backup", "-c", "vault.yaml"]);
    expect([backup.code, backup.stdout]).toEqual([0, expect.stringContaining("1 secret")]);
    expect((await work.sidekey(["vault", "rekey", "-c", "vault.yaml"])).code).toBe(0);
  });

  it("refuses where nobody could use it, and a second one on the same audit", async () => {
    work.write("vault.yaml", FILE);
    const none = await work.sidekey(["vault", "serve"]);
    expect([none.code, none.stderr]).toEqual([1, expect.stringContaining("sidekey: VAULT_SERVER_NO_OPERATOR: ")]);
    await work.sidekey(["secret", "set", "a/b", "-c", "vault.yaml"], { input: "v" });
    const keyless = await work.sidekey(["vault", "serve"]);
    expect([keyless.code, keyless.stderr]).toEqual([1, expect.stringContaining("sidekey: VAULT_SERVER_NO_OPERATOR: ")]);
    expect((await work.sidekey(["agent", "create", "first", "--operator", "-c", "vault.yaml"])).code).toBe(0);
    const { end, signal } = await serve();
    const second = await work.sidekey(["vault", "serve"]);
    expect([second.code, second.stderr]).toEqual([1, expect.stringContaining("sidekey: AUDIT_LOCKED: ")]);
    signal("SIGTERM");
    expect((await end).code).toBe(0);
  });

  it("says all that is wrong with its file, and opens nothing beyond this machine without a certificate", async () => {
    work.write("vault.yaml", "version: 1\nlisten: 0.0.0.0:7200\ntokens: { max: 1h }\n");
    const { code, stderr } = await work.sidekey(["vault", "serve"]);
    expect(code).toBe(2);
    expect(stderr).toContain("vault.yaml:3:11 tokens.max: is not a known key");
    work.write("vault.yaml", "version: 1\nlisten: 0.0.0.0:7200\n");
    expect((await work.sidekey(["vault", "serve"])).stderr).toContain("in cleartext");
    const run = await work.sidekey(["vault", "serve"], { environment: { SIDEKEY_RUN: "x" } });
    expect(run.stderr).toContain("does not work inside 'sidekey run'");
  });
});
