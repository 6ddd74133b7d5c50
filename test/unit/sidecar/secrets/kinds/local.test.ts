import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../../src/core/secret-value.ts";
import { parseScopes } from "../../../../../src/identity/scope.ts";
import { sourceKinds } from "../../../../../src/sidecar/secrets/kinds/index.ts";
import type { LocalSource } from "../../../../../src/sidecar/secrets/kinds/local.ts";
import { createBarrier } from "../../../../../src/vault/barrier/barrier.ts";
import { generateFernetKey } from "../../../../../src/vault/barrier/fernet.ts";
import { guardEmbedded } from "../../../../../src/vault/barrier/guarded-storage.ts";
import { openKeyRing } from "../../../../../src/vault/barrier/key.ts";
import { openLmdb } from "../../../../../src/vault/storage/lmdb.ts";
import {
  afterTest,
  codeOf,
  failureOf,
  openTestVault,
  type TestVault,
  temporaryDirectory,
} from "../../../vault/support.ts";
import { CONTEXT, depsIn, refTo } from "./support.ts";

const [local] = sourceKinds;
const PATH = "production/x/key";
const ref = refTo(PATH);
type Fields = Parameters<typeof local.create>[0];

const openSource = async (at: TestVault, fields: Partial<Fields> = {}, environment = {}): Promise<LocalSource> => {
  const deps = depsIn(at.state, { clock: at.clock, environment, paths: [PATH, "production/y/key", "not-a-path"] });
  const source = await local.create({ kind: "local", ...fields }, deps);
  afterTest(async () => source.close());
  return source;
};

const filledVault = async (): Promise<TestVault> => {
  const at = await openTestVault();
  await at.vault.secrets.set(PATH, SecretValue.fromText("canary-1"));
  return at;
};

const withToken = async (at: TestVault, scope: string, more = {}) => {
  const issued = await at.vault.tokens.issue({ agent: "research", scopes: parseScopes(scope), ...more });
  await writeFile(join(at.state, "token"), `${issued.token}\n`);
  return issued;
};

describe("source local", () => {
  it("takes its three fields and no other", () => {
    const full = { kind: "local", path: "v", key: { env: "K" }, token: { file: "t" } };
    expect(local.fields.parse(full)).toEqual(full);
    expect(local.fields.parse({ kind: "local" })).toEqual({ kind: "local" });
    for (const value of [
      { kind: "local", key: "k" },
      { kind: "local", token: { file: "t", env: "T" } },
      { kind: "local", x: 1 },
    ]) {
      expect(local.fields.safeParse(value).success).toBe(false);
    }
  });

  it("gives value, version and bound hosts", async () => {
    const at = await filledVault();
    const source = await openSource(at);
    expect(await source.fetch(ref, CONTEXT)).toEqual({
      value: SecretValue.fromText("canary-1"),
      version: "1",
      replaced: [],
    });
    await at.vault.secrets.set(PATH, SecretValue.fromText("canary-2"), { hosts: ["API.test"] });
    const second = await source.fetch(ref, CONTEXT);
    expect([second.value.lend(String), second.version, second.hosts]).toEqual(["canary-2", "2", ["api.test"]]);
    const first = await source.fetch(refTo(PATH, { version: "1" }), CONTEXT);
    expect([first.value.lend(String), first.version]).toEqual(["canary-1", "1"]);
  });

  it("tells what the newest version replaced within ten minutes, also after a restart, and a pinned one nothing", async () => {
    const at = await filledVault();
    for (const text of ["canary-2", "canary-3", "canary-4"]) {
      at.clock.advance(400_000);
      await at.vault.secrets.set(PATH, SecretValue.fromText(text));
    }
    const source = await openSource(at);
    const told = async (version?: string) => {
      const { replaced = [] } = await source.fetch(refTo(PATH, { version }), CONTEXT);
      return replaced.map(({ value }) => value.lend(String));
    };
    expect(await told()).toEqual(["canary-3", "canary-2"]);
    expect(await told("3")).toEqual([]);
    at.clock.advance(200_001);
    expect(await told()).toEqual(["canary-3"]);
    at.clock.advance(400_000);
    expect(await told()).toEqual([]);
  });

  it("gives the newest value when a rotation has closed the one before, which it tells as replaced and gives no more", async () => {
    const at = await filledVault();
    await at.vault.secrets.rotate(PATH, SecretValue.fromText("canary-2"));
    // Opened after it: what was sent before may come back all the same (ruling 3).
    const source = await openSource(at);
    const { value, replaced = [] } = await source.fetch(ref, CONTEXT);
    expect([value.lend(String), replaced.map((one) => one.value.lend(String))]).toEqual(["canary-2", ["canary-1"]]);
    expect(await codeOf(() => source.fetch(refTo(PATH, { version: "1" }), CONTEXT))).toBe("SOURCE_SECRET_MISSING");
    await at.vault.secrets.rotate(PATH, SecretValue.fromText("canary-3"), { graceMs: 1000 });
    const third = await source.fetch(ref, CONTEXT);
    expect(third.replaced?.map((one) => one.value.lend(String))).toEqual(["canary-2", "canary-1"]);
  });

  it("gives a value until its end, with that end, and no longer", async () => {
    const at = await filledVault();
    const source = await openSource(at);
    const expiresAt = at.clock.now() + 1000;
    await at.vault.secrets.describe(PATH, { expiresAt });
    expect(await source.fetch(ref, CONTEXT)).toMatchObject({ notAfter: expiresAt });
    at.clock.advance(1000);
    expect(await codeOf(() => source.fetch(ref, CONTEXT))).toBe("SOURCE_SECRET_MISSING");
    await at.vault.secrets.set(PATH, SecretValue.fromText("canary-2"));
    expect((await source.fetch(ref, CONTEXT)).value.lend(String)).toBe("canary-2");
  });

  it("gives no value of several lines, which could not stand in a request, and none that is kept elsewhere", async () => {
    const at = await openTestVault();
    await at.vault.secrets.set(PATH, SecretValue.fromText("-----BEGIN-----\ncanary\n"), { type: "ssh_key" });
    const source = await openSource(at);
    const error = await failureOf(() => source.fetch(ref, CONTEXT));
    expect(error.code).toBe("SOURCE_BAD_VALUE");
    expect(inspect(error, { depth: 9 })).not.toContain("canary");
    await at.vault.secrets.set(PATH, { backend: "vault", ref: "kv/x" });
    expect(await codeOf(() => source.fetch(ref, CONTEXT))).toBe("SOURCE_UNAVAILABLE");
  });

  it("names the command that would store what is missing", async () => {
    const source = await openSource(await openTestVault());
    const error = await failureOf(() => source.fetch(ref, CONTEXT));
    expect(error.code).toBe("SOURCE_SECRET_MISSING");
    expect(error.hint).toContain(`sidekey secret set ${PATH}`);
  });

  it("makes its store and key in the state directory, or where the file says", async () => {
    const state = await temporaryDirectory();
    const source = await local.create({ kind: "local" }, depsIn(state));
    await source.close();
    const elsewhere = await local.create({ kind: "local", path: "v", key: { file: "k/key" } }, depsIn(state));
    await elsewhere.close();
    for (const file of ["vault/data.mdb", "vault.key", "v/data.mdb", "k/key"]) {
      expect((await stat(join(state, file))).mode & 0o777).toBe(0o600);
    }
  });

  it("takes the key from FERNET_SECRET_KEY when that is set, and makes no file then", async () => {
    const state = await temporaryDirectory();
    const environment = { FERNET_SECRET_KEY: generateFernetKey() };
    const source = await local.create({ kind: "local" }, depsIn(state, { environment }));
    await source.close();
    await expect(stat(join(state, "vault.key"))).rejects.toMatchObject({ code: "ENOENT" });
    expect(await codeOf(() => local.create({ kind: "local" }, depsIn(state)))).toBe("VAULT_KEY_UNREADABLE");
    const wrong = { FERNET_SECRET_KEY: generateFernetKey() };
    expect(await codeOf(() => local.create({ kind: "local" }, depsIn(state, { environment: wrong })))).toBe(
      "VAULT_KEY_WRONG",
    );
  });

  it("issues itself a token for exactly the paths of the routes, and revokes it at the end", async () => {
    const at = await filledVault();
    const source = await openSource(at);
    expect(source.authorize(ref)).toBeUndefined();
    expect(await codeOf(() => source.authorize(refTo("production/z/key")))).toBe("IDENTITY_SCOPE_DENIED");
    expect(await at.vault.tokens.list()).toMatchObject([
      { agent: "research", scope: `secrets:use:${PATH} secrets:use:production/y/key`, revokedAt: undefined },
    ]);
    await source.close();
    expect((await at.vault.tokens.list())[0]?.revokedAt).toBeDefined();
  });

  it("keeps to the token that the file names", async () => {
    const at = await filledVault();
    await withToken(at, "secrets:use:production/x/* secrets:read:production/y/*");
    const source = await openSource(at, { token: { file: "token" } });
    expect(source.authorize(ref)).toBeUndefined();
    const error = await failureOf(() => source.authorize(refTo("production/y/key")));
    expect(error.code).toBe("IDENTITY_SCOPE_DENIED");
    expect(error.hint).toContain("secrets:use:production/y/key");
    expect(await at.vault.tokens.list()).toHaveLength(1);
  });

  it("takes the token from a variable too", async () => {
    const at = await filledVault();
    const { token } = await withToken(at, "secrets:use:*");
    const source = await openSource(at, { token: { env: "TOKEN" } }, { TOKEN: token });
    expect(source.authorize(ref)).toBeUndefined();
  });

  it("starts with an expired token and refuses each use of it", async () => {
    const at = await filledVault();
    await withToken(at, "secrets:use:*", { ttlMs: 60_000 });
    const before = await openSource(at, { token: { file: "token" } });
    expect(before.authorize(ref)).toBeUndefined();
    at.clock.advance(60_000);
    expect(await codeOf(() => before.authorize(ref))).toBe("IDENTITY_TOKEN_EXPIRED");
    at.clock.advance(3_600_000);
    const after = await openSource(at, { token: { file: "token" } });
    expect(await codeOf(() => after.authorize(ref))).toBe("IDENTITY_TOKEN_EXPIRED");
  });

  it("refuses the next use after its token was revoked elsewhere", async () => {
    const at = await filledVault();
    const { claims } = await withToken(at, "secrets:use:*");
    const source = await openSource(at, { token: { file: "token" } });
    expect(source.authorize(ref)).toBeUndefined();
    await at.vault.tokens.revoke(claims.id);
    expect(await codeOf(() => source.authorize(ref))).toBe("IDENTITY_TOKEN_REVOKED");
    const again = await openSource(at, { token: { file: "token" } });
    expect(await codeOf(() => again.authorize(ref))).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("does not start with a token that is missing, of another store, or limited in a way it cannot keep", async () => {
    const at = await filledVault();
    const other = await openTestVault();
    const start = () => openSource(at, { token: { file: "token" } });
    expect(await codeOf(start)).toBe("CONFIG_INVALID");
    const { token } = await withToken(other, "secrets:use:*");
    await writeFile(join(at.state, "token"), token);
    const error = await failureOf(start);
    expect(error.code).toBe("IDENTITY_TOKEN_INVALID");
    expect(inspect(error, { depth: 10 })).not.toContain(token.slice(0, 30));
    await withToken(at, "secrets:use:*", { maxUses: 3 });
    expect(await codeOf(start)).toBe("IDENTITY_TOKEN_INVALID");
  });

  it("notices each change that another process makes", async () => {
    const at = await filledVault();
    const source = await openSource(at);
    const before = source.generation();
    await at.vault.secrets.set(PATH, SecretValue.fromText("canary-2"));
    expect(source.generation()).toBeGreaterThan(before);
  });

  it("refuses a value that should never have got into the store, without showing it", async () => {
    const state = await temporaryDirectory();
    const text = generateFernetKey();
    const deps = depsIn(state, { environment: { FERNET_SECRET_KEY: text }, paths: [PATH] });
    const source = await local.create({ kind: "local" }, deps);
    afterTest(async () => source.close());
    const at = { vault: join(state, "vault"), clock: deps.clock };
    const ring = await openKeyRing({ text, where: "here" }, false);
    const barrier = createBarrier(ring, at.clock);
    const storage = await guardEmbedded(await openLmdb(at.vault), { ring, barrier }, at.clock);
    afterTest(() => storage.close());
    const meta = JSON.stringify({ versions: [{ version: 1, createdAt: 1 }], hosts: [] });
    await storage.write((tx) => {
      tx.put(`meta:${PATH}`, barrier.seal({ path: `meta:${PATH}`, version: 0 }, Buffer.from(meta)));
      tx.put(`value:${PATH}@1`, barrier.seal({ path: PATH, version: 1 }, Buffer.from("canary\r\nX-Evil: 1")));
    });
    const error = await failureOf(() => source.fetch(ref, CONTEXT));
    expect(error.code).toBe("SOURCE_BAD_VALUE");
    expect(inspect(error, { depth: 10 })).not.toContain("canary");

    await storage.write((tx) => tx.put(`value:${PATH}@1`, Buffer.from("garbage")));
    expect(await codeOf(() => source.fetch(ref, CONTEXT))).toBe("SOURCE_UNAVAILABLE");
  });

  it("is unavailable, not wrong, once its store is closed", async () => {
    const source = await openSource(await filledVault());
    await source.close();
    expect(await codeOf(() => source.fetch(ref, CONTEXT))).toBe("SOURCE_UNAVAILABLE");
    expect(await codeOf(() => source.generation())).toBe("SOURCE_UNAVAILABLE");
  });
});
