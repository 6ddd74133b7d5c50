/** The embedded vault behind a running sidecar: scoped tokens, other processes' changes, and the audit that must hold. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScope } from "../../src/identity/scope.ts";
import type { Vault } from "../../src/vault/index.ts";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { withVault } from "../support/vault/open-vault.ts";

const PATH = "production/api/key";
let authority: TestAuthority;
let upstream: TestUpstream | undefined;
let sidecar: TestSidecar | undefined;

beforeAll(async () => {
  authority = await createTestAuthority();
});

afterEach(async () => {
  await sidecar?.close();
  await upstream?.close();
  sidecar = undefined;
  upstream = undefined;
});

const start = async (
  extra: string,
  prepare?: (vault: Vault, directory: string) => Promise<void>,
  options: Partial<TestSidecarOptions> = {},
) => {
  upstream = await startUpstream({ tls: await authority.issue({ names: ["api.test"] }) });
  sidecar = await startTestSidecar({
    files: { "ca.pem": authority.certificatePem },
    prepare: (directory) =>
      withVault(directory, async (vault) => {
        await vault.secrets.set(PATH, SecretValue.fromText("canary-one-0123456789"), {});
        await prepare?.(vault, directory);
      }),
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
routes: { api.test: ${PATH} }
upstream: { ca: ./ca.pem, connect: { "api.test:443": "${upstream.address}" } }
${extra}
`,
    ...options,
  });
  return { sidecar, upstream };
};

const ask = async (running: TestSidecar) => {
  const connection = await openTlsTunnel(running.port, "api.test:443", running.ca);
  connection.send("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n");
  const response = await connection.receive();
  connection.destroy();
  return [response.status, response.headers.get("x-sidekey-error")?.[0]];
};

const issue = (scope: string, ttlMs: number) => async (vault: Vault, directory: string) => {
  const { token } = await vault.tokens.issue({ scopes: [parseScope(scope)], ttlMs, agent: "tester" });
  await writeFile(join(directory, "token"), `${token}\n`, { mode: 0o600 });
};

const withToken = "sources: { local: { kind: local, token: { file: ./token } } }";

describe("a sidecar without a token", () => {
  it("mints one for exactly its routes and uses the secret", async () => {
    const running = await start("");
    expect(await ask(running.sidecar)).toEqual([200, undefined]);
    expect(running.upstream.requests[0]?.header("authorization")).toEqual(["Bearer canary-one-0123456789"]);
    await withVault(running.sidecar.directory, async (vault) => {
      const tokens = await vault.tokens.list();
      expect(tokens.map(({ scope }) => scope)).toEqual([`secrets:use:${PATH}`]);
    });
  });

  it("acts on another process's set and rm with the next request", async () => {
    const running = await start("");
    await ask(running.sidecar);
    await withVault(running.sidecar.directory, async (vault) => {
      await vault.secrets.set(PATH, SecretValue.fromText("canary-two-0123456789"), {});
      expect(await ask(running.sidecar)).toEqual([200, undefined]);
      await vault.secrets.remove(PATH);
      expect(await ask(running.sidecar)).toEqual([503, "SOURCE_SECRET_MISSING"]);
    });
    expect(running.upstream.requests.flatMap((request) => request.header("authorization"))).toEqual([
      "Bearer canary-one-0123456789",
      "Bearer canary-two-0123456789",
    ]);
  });

  it("never sends a secret to a host that it is not bound to", async () => {
    const running = await start("", async (vault) => {
      await vault.secrets.set(PATH, SecretValue.fromText("canary-one-0123456789"), { hosts: ["other.test"] });
    });
    expect(await ask(running.sidecar)).toEqual([403, "POLICY_SECRET_HOST"]);
    expect(running.upstream.connections).toBe(0);
  });
});

describe("a sidecar with a token", () => {
  it("uses what the token's scope covers", async () => {
    const running = await start(withToken, issue("secrets:use:production/*", 60_000));
    expect(await ask(running.sidecar)).toEqual([200, undefined]);
  });

  it.each([
    ["another path", "secrets:use:staging/*"],
    ["read, which is not use", "secrets:read:production/*"],
    ["every action, which is not use either", "secrets:*:*"],
  ])("is refused with a token for %s", async (_name, scope) => {
    const running = await start(withToken, issue(scope, 60_000));
    expect(await ask(running.sidecar)).toEqual([403, "IDENTITY_SCOPE_DENIED"]);
    expect(running.upstream.connections).toBe(0);
    expect((await running.sidecar.audit()).at(-1)).toMatchObject({
      type: "refusal",
      code: "IDENTITY_SCOPE_DENIED",
      secret: `local:${PATH}`,
      route: "api.test",
    });
  });

  it("is refused once the token has expired, cached secret or not", async () => {
    const running = await start(withToken, issue("secrets:use:*", 8_000));
    expect(await ask(running.sidecar)).toEqual([200, undefined]);
    await expect.poll(() => ask(running.sidecar)).toEqual([403, "IDENTITY_TOKEN_EXPIRED"]);
  });

  it("is refused once the token was revoked by another process", async () => {
    const running = await start(withToken, issue("secrets:use:*", 60_000));
    expect(await ask(running.sidecar)).toEqual([200, undefined]);
    await withVault(running.sidecar.directory, async (vault) => {
      const [token] = await vault.tokens.list();
      await vault.tokens.revoke(token?.id ?? "");
    });
    expect(await ask(running.sidecar)).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
  });
});

describe("an audit that cannot be written", () => {
  it("stops every use of a secret: 503, and nothing reaches the upstream", async () => {
    const running = await start("audit: { path: /dev/full }");
    expect(await ask(running.sidecar)).toEqual([503, "AUDIT_UNAVAILABLE"]);
    expect(running.upstream.connections).toBe(0);
  });
});
