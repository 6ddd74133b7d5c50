/**
 * The clients that Agent Secret Store has published for npm, `@agentsecretstore/sdk` and `/cli` 1.0.0, against our
 * server: every call of theirs that does not open the vendor's site. PyPI has no `agentsecretstore` here; the package of that
 * name in clients/python is ours.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Finished, finished } from "../support/program.ts";
import { type BuiltVault, startBuiltVault } from "../support/vault/built-vault.ts";
import { createWorkspace } from "../support/workspace.ts";

const require = createRequire(import.meta.url);

interface Sdk {
  readonly AgentVault: new (options: object) => SdkVault;
  readonly ApprovalRequiredError: new () => Error;
  readonly AuthError: new () => Error;
  readonly ScopeError: new () => Error;
  readonly SecretNotFoundError: new () => Error;
}

interface SdkVault {
  requestToken(options: object): Promise<Record<string, unknown>>;
  getSecret(path: string): Promise<string>;
  getSecretWithMetadata(path: string): Promise<Record<string, unknown>>;
  setSecret(path: string, value: string, options?: object): Promise<Record<string, unknown>>;
  deleteSecret(path: string): Promise<void>;
  listSecrets(namespace: string): Promise<{ readonly namespace: string; readonly items: readonly unknown[] }>;
  importEnv(content: string, namespace: string, options?: object): Promise<Record<string, unknown>>;
}

// Its `import` names a file that the package does not have.
const sdk = require("@agentsecretstore/sdk") as Sdk;

const work = createWorkspace();
let server: BuiltVault;
let agentKey = "";
beforeAll(async () => {
  server = await startBuiltVault();
  const made = await server.must("POST", "/v1/agents", {
    name: "sdk",
    allowed_scopes: ["secrets:*:staging/*", "secrets:read:production/*"],
  });
  agentKey = String(made["api_key"]);
  await server.must("PUT", "/v1/secrets/production/openai/api-key", {
    value: "sk-canary-live",
    access_tier: "standard",
  });
  await server.must("PUT", "/v1/secrets/production/bank/key", { value: "sk-canary-bank", access_tier: "critical" });
});
afterAll(async () => {
  await server?.close();
  work.remove();
});

const vault = (options: object = {}): SdkVault =>
  new sdk.AgentVault({ agentKey, baseUrl: server.address, retries: 0, ...options });

describe("@agentsecretstore/sdk", () => {
  it("reads a secret, by a token that it asks for itself", async () => {
    expect(await vault().getSecret("production/openai/api-key")).toBe("sk-canary-live");
    expect(await vault().getSecretWithMetadata("production/openai/api-key")).toMatchObject({
      value: "sk-canary-live",
      version: 1,
      access_tier: "standard",
      secret_type: "custom",
      metadata: {},
    });
  });

  it("stores, lists, overwrites and deletes", async () => {
    const client = vault();
    const options = { secretType: "api_key", accessTier: "standard", metadata: { owner: "team" } };
    expect(await client.setSecret("staging/tavily/api-key", "tvly-one", options)).toMatchObject({
      namespace: "staging/tavily",
      key: "api-key",
      version: 1,
      secret_type: "api_key",
      metadata: { owner: "team" },
    });
    expect(await client.setSecret("staging/tavily/api-key", "tvly-two")).toMatchObject({ version: 2 });
    expect(await vault().getSecret("staging/tavily/api-key")).toBe("tvly-two");
    const listed = await vault().listSecrets("staging/tavily");
    expect(listed).toMatchObject({ namespace: "staging/tavily", items: [{ key: "api-key", version: 2 }] });
    expect(JSON.stringify(listed)).not.toContain("tvly-");
    await vault().deleteSecret("staging/tavily/api-key");
    await expect(vault().getSecret("staging/tavily/api-key")).rejects.toBeInstanceOf(sdk.SecretNotFoundError);
  });

  it("imports a .env text", async () => {
    expect(await vault().importEnv("A_KEY=one\n# a comment\nB_KEY='two words'\n", "staging/env")).toMatchObject({
      namespace: "staging/env",
      imported: ["A_KEY", "B_KEY"],
      imported_count: 2,
    });
    expect(await vault().getSecret("staging/env/B_KEY")).toBe("two words");
  });

  it("asks for a token with its limits", async () => {
    const token = await vault().requestToken({ scopes: ["secrets:read:production/openai/*"], ttl: "10m", maxUses: 1 });
    expect(token).toMatchObject({ token: expect.any(String), expires_at: expect.any(String) });
    const minutes = (Date.parse(String(token["expires_at"])) - Date.now()) / 60_000;
    expect(minutes).toBeGreaterThan(8);
    expect(minutes).toBeLessThan(10.1);
    const read = () => server.call("GET", "/v1/secrets/production/openai/api-key", undefined, String(token["token"]));
    expect((await read()).status).toBe(200);
    expect((await read()).status).toBe(401);
  });

  it("tells refusals apart", async () => {
    await expect(vault().getSecret("production/none/key")).rejects.toBeInstanceOf(sdk.SecretNotFoundError);
    await expect(vault().setSecret("production/openai/api-key", "x")).rejects.toBeInstanceOf(sdk.ScopeError);
    await expect(vault({ agentKey: "ast_agent_wrong" }).getSecret("production/openai/api-key")).rejects.toBeInstanceOf(
      sdk.AuthError,
    );
    await expect(vault().getSecret("production/bank/key")).rejects.toBeInstanceOf(sdk.ApprovalRequiredError);
  });

  it("gets what a person approved, by asking again", async () => {
    const error = await vault()
      .getSecret("production/bank/key")
      .catch((thrown: unknown) => thrown as { approvalId?: string });
    const id = (error as { approvalId?: string }).approvalId ?? "";
    expect(id).not.toBe("");
    await server.must("POST", `/v1/approvals/${id}/approve`, { reason: "payday" });
    expect(await vault().getSecret("production/bank/key")).toBe("sk-canary-bank");
  });
});

const ass = async (...args: string[]): Promise<Finished> => {
  const main = join(import.meta.dirname, "../../node_modules/@agentsecretstore/cli/dist/index.js");
  const child = spawn(process.execPath, [main, ...args], {
    cwd: work.path,
    env: {
      PATH: process.env["PATH"],
      HOME: work.path,
      XDG_CONFIG_HOME: work.at("config"),
      ASS_API_URL: server.address,
      ASS_API_KEY: server.operatorKey,
      NO_COLOR: "1",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return finished(child);
};

const json = async (...args: string[]): Promise<unknown> => {
  const { code, stdout, stderr } = await ass(...args, "--json");
  expect({ code, stderr, stdout }).toMatchObject({ code: 0 });
  return JSON.parse(stdout);
};

describe("ass", () => {
  it("logs in and says who it is, where, and how the server is", async () => {
    expect(await ass("login", "--key", server.operatorKey)).toMatchObject({ code: 0 });
    expect((await ass("whoami")).stdout).toContain("secrets");
    expect((await ass("status")).stdout).toContain("Operational");
    expect((await ass("logout", "--force")).code).toBe(0);
  });

  it("sets, gets, lists, rotates and deletes secrets", async () => {
    expect(
      await ass("secrets", "set", "cli/one/KEY", "value-one", "--type", "custom", "--tier", "standard"),
    ).toMatchObject({ code: 0 });
    expect((await ass("secrets", "get", "cli/one/KEY")).stdout).toContain("value-one");
    const list = await ass("secrets", "list", "cli/one");
    expect(list.stdout).toContain("KEY");
    expect(list.stdout).not.toContain("value-one");
    expect(await ass("secrets", "rotate", "cli/one/KEY", "--force")).toMatchObject({ code: 0 });
    const rotated = (await ass("secrets", "get", "cli/one/KEY")).stdout;
    expect(rotated).toMatch(/[A-Za-z0-9_-]{43}/);
    expect(await ass("secrets", "delete", "cli/one/KEY", "--force")).toMatchObject({ code: 0 });
    expect((await ass("secrets", "get", "cli/one/KEY")).code).not.toBe(0);
  });

  it("imports and exports .env files", async () => {
    writeFileSync(work.at("sample.env"), "FIRST=1-one\nSECOND=2-two\n");
    expect(await ass("env", "import", "sample.env", "--namespace", "cli/env", "--dry-run")).toMatchObject({ code: 0 });
    expect((await server.call("GET", "/v1/secrets/cli/env")).status).toBe(404);
    const imported = await ass("env", "import", "sample.env", "--namespace", "cli/env");
    expect(imported.code).toBe(0);
    expect(imported.stdout).toContain("cli/env/FIRST");
    expect((await ass("env", "export", "cli/env")).stdout).toMatch(/FIRST=1-one\nSECOND=2-two\n/);
  });

  it("lists and revokes agents, and issues tokens", async () => {
    const made = await server.must("POST", "/v1/agents", {
      name: "short-lived",
      allowed_namespaces: ["cli"],
      allowed_scopes: ["read:secrets"],
    });
    expect((await ass("agents", "list")).stdout).toContain("short-lived");
    expect(await ass("agents", "revoke", String(made["id"]), "--force")).toMatchObject({ code: 0 });
    expect(
      (await server.call("POST", "/v1/tokens", { scopes: ["read:secrets"] }, String(made["api_key"]))).status,
    ).toBe(401);
    expect((await ass("tokens", "issue", "--scopes", "read:secrets", "--ttl", "900")).stdout).toContain(
      "secrets:read:*",
    );
  });

  it("lists, approves and denies requests", async () => {
    const ask = async (scope: string): Promise<string> => {
      const body = await server.must("POST", "/v1/tokens", { scopes: [scope], reason: "month's end" }, agentKey);
      return String(body["approval_id"]);
    };
    const first = await ask("secrets:read:production/bank/*");
    expect((await ass("approvals", "list")).stdout).toContain(first.slice(0, 8));
    expect(await ass("approvals", "approve", first, "--force")).toMatchObject({ code: 0 });
    const second = await ask("secrets:read:production/*");
    expect(await ass("approvals", "deny", second, "--reason", "not today", "--force")).toMatchObject({ code: 0 });
    const { items } = (await json("approvals", "list")) as { items: { id: string; status: string }[] };
    const statusOf = (id: string) => items.find((one) => one.id === id)?.status;
    expect([statusOf(first), statusOf(second)]).toEqual(["approved", "denied"]);
  });

  it("shows the audit", async () => {
    const { events, total } = (await json("audit", "--limit", "100")) as {
      events: { event_type: string }[];
      total: number;
    };
    expect(events.map(({ event_type: type }) => type)).toEqual(
      expect.arrayContaining(["secret.created", "secret.read", "secret.deleted", "token.issued", "approval.granted"]),
    );
    expect(total).toBeGreaterThanOrEqual(events.length);
  });
});
