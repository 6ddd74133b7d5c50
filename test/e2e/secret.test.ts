/** Transcripts of `sidekey secret`: what is typed, what comes out, and where the value never is. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const CANARY = "sk-canary-b51f0e7c9a";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const store = (path = "production/x/key", ...more: string[]) =>
  work.sidekey(["secret", "set", path, ...more], { input: CANARY });

describe("a vault that cannot be looked into", () => {
  it("is not taken for one that is not there", async () => {
    await store();
    rmSync(work.at(".sidekey/vault"), { recursive: true });
    // For any user, also root: as EACCES is for others.
    symlinkSync("vault", work.at(".sidekey/vault"));
    const { code, stdout, stderr } = await work.sidekey(["secret", "list"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("sidekey: VAULT_STORE_BUSY: ");
  });
});

const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

describe("secret set", () => {
  it("stores what comes on standard input, says where, and not what", async () => {
    expect(await store()).toEqual({ code: 0, stdout: "stored production/x/key version 1\n", stderr: "" });
    expect(await store()).toEqual({ code: 0, stdout: "stored production/x/key version 2\n", stderr: "" });
  });

  it("makes the state directory private, hidden from git, and the value readable in no file", async () => {
    await store();
    const state = work.at(".sidekey");
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(state, ".gitignore"), "utf8")).toBe("*\n");
    for (const file of filesBelow(state)) {
      expect(statSync(file).mode & 0o077, file).toBe(0);
      expect(readFileSync(file).includes(CANARY), file).toBe(false);
    }
  });

  it("binds to hosts, and says so", async () => {
    const { stdout } = await store("production/x/key", "--host", "api.openai.com", "--host", "eu.api.openai.com");
    expect(stdout).toBe("stored production/x/key version 1, only for api.openai.com, eu.api.openai.com\n");
  });

  it("prints JSON with --json", async () => {
    const { stdout } = await store(
      "production/x/key",
      "--json",
      "--host",
      "a.test",
      "--type",
      "api-key",
      "--tier",
      "high",
    );
    expect(JSON.parse(stdout)).toEqual({ path: "production/x/key", version: 1, hosts: ["a.test"] });
  });

  it("takes no value from an argument, repeats none, and says what to do about it", async () => {
    const { code, stdout, stderr } = await work.sidekey(["secret", "set", "production/x/key", CANARY]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("sidekey: CONFIG_USAGE:");
    expect(stderr).toContain('printf %s "$KEY" | sidekey secret set production/x/key');
    expect(stderr).toContain("shell's history");
    expect(stderr).not.toContain(CANARY);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });

  it.each([
    ["an empty value", "production/x/key", "", "VAULT_BAD_VALUE"],
    ["a lone newline", "production/x/key", "\n", "VAULT_BAD_VALUE"],
    ["a value of two lines", "production/x/key", "a\nb", "VAULT_BAD_VALUE"],
    ["a path of one segment", "key", CANARY, "VAULT_BAD_PATH"],
    ["a path that climbs", "../x", CANARY, "VAULT_BAD_PATH"],
    ["a value over 64 KiB", "production/x/key", "x".repeat(65 * 1024), "VAULT_BAD_VALUE"],
  ])("refuses %s with exit code 2", async (_, path, input, code) => {
    const result = await work.sidekey(["secret", "set", path], { input });
    expect(result.code).toBe(2);
    expect(result.stdout).toBe("");
    expect(result.stderr).toMatch(new RegExp(`^sidekey: ${code}: [^\\n]*\\nhint: [^\\n]*\\n$`));
    expect(result.stderr).not.toContain(CANARY);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });

  it("does not work inside a run", async () => {
    const environment = { SIDEKEY_RUN: "abc" };
    for (const args of [
      ["secret", "set", "a/b"],
      ["secret", "get", "a/b", "--reveal"],
      ["secret", "rm", "a/b"],
      ["token", "issue", "--scope", "secrets:use:*"],
      ["token", "inspect"],
    ]) {
      const { code, stderr } = await work.sidekey(args, { environment, input: CANARY });
      expect(code).toBe(2);
      expect(stderr).toContain("does not work inside 'sidekey run'");
    }
  });
});

describe("secret get", () => {
  it("prints the value and a newline, with --reveal only", async () => {
    await store();
    const refused = await work.sidekey(["secret", "get", "production/x/key"]);
    expect(refused.code).toBe(2);
    expect(refused.stdout + refused.stderr).not.toContain(CANARY);
    expect(refused.stderr).toContain("--reveal");
    expect(await work.sidekey(["secret", "get", "production/x/key", "--reveal"])).toEqual({
      code: 0,
      stdout: `${CANARY}\n`,
      stderr: "",
    });
  });

  it("gives back a private key of several lines to the byte, as it was stored from its file", async () => {
    const pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5\n-----END OPENSSH PRIVATE KEY-----\n";
    const untyped = await work.sidekey(["secret", "set", "production/ssh/key"], { input: pem });
    expect([untyped.code, untyped.stderr]).toEqual([
      2,
      expect.stringMatching(/VAULT_BAD_VALUE[^\n]*\nhint: [^\n]*--type ssh_key/),
    ]);
    const stored = await work.sidekey(["secret", "set", "production/ssh/key", "--type", "ssh_key"], { input: pem });
    expect(stored.code).toBe(0);
    const got = await work.sidekey(["secret", "get", "production/ssh/key", "--reveal"]);
    expect(got).toEqual({ code: 0, stdout: pem, stderr: "" });
  });

  it("prints an older version, and JSON", async () => {
    await store();
    await work.sidekey(["secret", "set", "production/x/key"], { input: "second\n" });
    const old = await work.sidekey(["secret", "get", "production/x/key", "--reveal", "--version", "1", "--json"]);
    expect(JSON.parse(old.stdout)).toEqual({ path: "production/x/key", version: 1, value: CANARY });
    const now = await work.sidekey(["secret", "get", "production/x/key", "--reveal", "--json"]);
    expect(JSON.parse(now.stdout)).toEqual({ path: "production/x/key", version: 2, value: "second" });
  });

  it.each([
    [["get", "production/x/kye", "--reveal"]],
    [["history", "production/x/kye"]],
    [["rm", "prodution/x/key"]],
    [["rotate", "production/x/keys"]],
  ])("of a path that is nearly one: %j says which was meant", async (args) => {
    await store();
    const result = await work.sidekey(["secret", ...args], { input: "new-value-1234" });
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain("VAULT_SECRET_MISSING");
    expect(result.stderr).toContain("hint: Did you mean 'production/x/key'?\n");
    const other = await work.sidekey(["secret", "list", "--source", "locl"]);
    expect(other.stderr).toContain("hint: Did you mean 'local'? Its local sources: local.\n");
  });

  it.each([
    [["production/y/key"], 1, "VAULT_SECRET_MISSING"],
    [["production/x/key", "--version", "9"], 1, "VAULT_SECRET_MISSING"],
    [["production/x/key", "--version", "one"], 2, "CONFIG_USAGE"],
    [["x"], 2, "VAULT_BAD_PATH"],
  ])("of %j ends with %i", async (args, code, name) => {
    await store();
    const result = await work.sidekey(["secret", "get", ...args, "--reveal"]);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toContain(`sidekey: ${name}: `);
  });

  it("makes no vault where there is none", async () => {
    expect((await work.sidekey(["secret", "get", "a/b", "--reveal"])).code).toBe(1);
    expect((await work.sidekey(["secret", "rm", "a/b"])).code).toBe(1);
    expect((await work.sidekey(["secret", "list"])).code).toBe(0);
    expect(readdirSync(work.path)).toEqual([]);
  });
});

describe("secret list", () => {
  it("shows paths, versions and hosts, never a value", async () => {
    await store("production/x/key", "--host", "api.x.test");
    await store("staging/y/key");
    const { code, stdout, stderr } = await work.sidekey(["secret", "list"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^PATH +VERSION +HOSTS +UPDATED\nproduction\/x\/key +1 +api\.x\.test .*\nstaging\/y\/key +1 +any .*\n$/,
    );
    expect(stdout).not.toContain(CANARY);
  });

  it("keeps to a prefix, and prints JSON", async () => {
    await store("production/x/key");
    await store("staging/y/key");
    const { stdout } = await work.sidekey(["secret", "list", "staging/", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject([{ path: "staging/y/key", version: 1, hosts: [] }]);
    expect((await work.sidekey(["secret", "list", "none/", "--json"])).stdout).toBe("[]\n");
  });
});

describe("secret rm", () => {
  it("removes it with its versions", async () => {
    await store();
    expect(await work.sidekey(["secret", "rm", "production/x/key"])).toEqual({
      code: 0,
      stdout: "removed production/x/key\n",
      stderr: "",
    });
    expect((await work.sidekey(["secret", "get", "production/x/key", "--reveal"])).code).toBe(1);
    expect((await work.sidekey(["secret", "rm", "production/x/key"])).code).toBe(1);
  });
});

describe("the store that a file names", () => {
  const FILE = `
version: 1
state: ./own
sources:
  shell: { kind: env }
  first: { kind: local }
  second: { kind: local, path: ./other }
`;

  it("is its first local source, or the one of --source", async () => {
    work.write("sidekey.yaml", FILE);
    await store("a/first");
    await store("a/second", "--source", "second");
    expect((await work.sidekey(["secret", "list", "--json"])).stdout).toContain("a/first");
    const other = await work.sidekey(["secret", "list", "--json", "--source", "second"]);
    expect(JSON.parse(other.stdout)).toMatchObject([{ path: "a/second" }]);
    expect(existsSync(work.at("own/vault/data.mdb"))).toBe(true);
    expect(existsSync(work.at("other/data.mdb"))).toBe(true);
  });

  it.each([
    ["shell", "is of kind 'env'"],
    ["none", "declares no source 'none'"],
  ])("is never --source %s", async (name, words) => {
    work.write("sidekey.yaml", FILE);
    const { code, stderr } = await store("a/b", "--source", name);
    expect(code).toBe(2);
    expect(stderr).toContain(words);
  });

  it("is found through -c and $SIDEKEY_CONFIG, and a missing one is an error, not the default", async () => {
    const file = work.write("named.yaml", FILE);
    await store("a/b", "-c", file);
    const environment = { SIDEKEY_CONFIG: "named.yaml" };
    expect((await work.sidekey(["secret", "list", "--json"], { environment })).stdout).toContain("a/b");
    const missing = await store("a/b", "-c", "absent.yaml");
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("sidekey: CONFIG_UNREADABLE: ");
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });

  it("opens with FERNET_SECRET_KEY when it is set, and with no other key", async () => {
    const environment = { FERNET_SECRET_KEY: Buffer.alloc(32, 7).toString("base64url") };
    await work.sidekey(["secret", "set", "a/b"], { environment, input: CANARY });
    expect(existsSync(work.at(".sidekey/vault.key"))).toBe(false);
    const read = await work.sidekey(["secret", "get", "a/b", "--reveal"], { environment });
    expect(read.stdout).toBe(`${CANARY}\n`);
    const wrong = { FERNET_SECRET_KEY: Buffer.alloc(32, 8).toString("base64url") };
    const refused = await work.sidekey(["secret", "get", "a/b", "--reveal"], { environment: wrong });
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("sidekey: VAULT_KEY_WRONG: ");
    expect(refused.stderr).not.toContain(wrong.FERNET_SECRET_KEY);
  });
});
