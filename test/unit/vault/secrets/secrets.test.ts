import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { MAX_SECRET_BYTES } from "../../../../src/core/secret-bytes.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { isSecretPath, MAX_PATH_LENGTH } from "../../../../src/vault/secrets/path.ts";
import { openLmdb } from "../../../../src/vault/storage/lmdb.ts";
import { codeOf, failureOf, openTestVault, START } from "../support.ts";

const text = (value: SecretValue): string => value.lend((bytes) => bytes.toString("utf8"));
const secret = (value: string): SecretValue => SecretValue.fromText(value);

describe("vault.secrets", () => {
  it("gives back what was set, and says when", async () => {
    const { vault, clock } = await openTestVault();
    const info = await vault.secrets.set("production/x/key", secret("one"), { type: "api_key", tier: "critical" });
    expect(info).toEqual({
      path: "production/x/key",
      id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
      version: 1,
      type: "api_key",
      tier: "critical",
      category: undefined,
      metadata: {},
      hosts: [],
      expiresAt: undefined,
      reference: undefined,
      createdAt: START,
      updatedAt: START,
    });
    clock.advance(5000);
    await vault.secrets.set("production/x/key", secret("two"));
    const found = await vault.secrets.get("production/x/key");
    expect(text(found.value)).toBe("two");
    expect(found).toMatchObject({
      version: 2,
      type: "api_key",
      tier: "critical",
      id: info.id,
      createdAt: START,
      updatedAt: START + 5000,
    });
  });

  it("keeps earlier versions", async () => {
    const { vault, clock } = await openTestVault();
    for (const value of ["one", "two", "three"]) {
      await vault.secrets.set("a/b", secret(value));
      clock.advance(1000);
    }
    expect(text((await vault.secrets.get("a/b", 1)).value)).toBe("one");
    expect((await vault.secrets.get("a/b", 2)).version).toBe(2);
    expect(text((await vault.secrets.get("a/b")).value)).toBe("three");
    expect(await vault.secrets.history("a/b")).toEqual([
      { version: 3, createdAt: START + 2000 },
      { version: 2, createdAt: START + 1000 },
      { version: 1, createdAt: START },
    ]);
    for (const version of [0, 4, -1, 1.5, Number.NaN]) {
      expect(await codeOf(() => vault.secrets.get("a/b", version))).toBe("VAULT_SECRET_MISSING");
    }
  });

  it("removes all versions, and starts again from 1", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { hosts: ["x.test"] });
    await vault.secrets.set("a/b", secret("two"));
    await vault.secrets.set("a/b.c", secret("other"));
    await vault.secrets.remove("a/b");
    expect(await codeOf(() => vault.secrets.get("a/b"))).toBe("VAULT_SECRET_MISSING");
    expect(await codeOf(() => vault.secrets.history("a/b"))).toBe("VAULT_SECRET_MISSING");
    expect(await codeOf(() => vault.secrets.remove("a/b"))).toBe("VAULT_SECRET_MISSING");
    expect(text((await vault.secrets.get("a/b.c")).value)).toBe("other");
    expect(await vault.secrets.set("a/b", secret("new"))).toMatchObject({ version: 1, hosts: [] });
  });

  it("is written where it is still there, and by whoever may, as the change itself finds it", async () => {
    const { vault } = await openTestVault();
    const { secrets } = vault;
    expect(await codeOf(() => secrets.set("a/b", secret("v"), { update: true }))).toBe("VAULT_SECRET_MISSING");
    expect(await secrets.find("a/b")).toBeUndefined();
    await secrets.set("a/b", secret("one"), { tier: "critical" });
    const asked: string[] = [];
    const allow = (tier: string): never => {
      asked.push(tier);
      throw new SidekeyError("IDENTITY_APPROVAL_REQUIRED");
    };
    const changes = [
      () => secrets.set("a/b", secret("two"), { allow }),
      () => secrets.set("a/b", secret("two"), { update: true, allow }),
      () => secrets.describe("a/b", { tier: "standard", allow }),
      () => secrets.rotate("a/b", secret("two"), { allow }),
      () => secrets.rollback("a/b", 1, { allow }),
      () => secrets.remove("a/b", { allow }),
      () => secrets.importAll([{ path: "a/b", value: secret("two") }], { allow }),
    ];
    for (const change of changes) expect(await codeOf(change)).toBe("IDENTITY_APPROVAL_REQUIRED");
    expect(asked).toEqual(changes.map(() => "critical"));
    expect(await secrets.find("a/b")).toMatchObject({ version: 1, tier: "critical" });
    // Of what is not there nobody is asked.
    await secrets.set("a/c", secret("new"), { allow });
    expect(await secrets.set("a/b", secret("two"), { update: true })).toMatchObject({ version: 2 });
  });

  it("closes older versions when it rotates: at once, or after the grace; their values leave the store ten minutes later", async () => {
    const { vault, clock, state } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { by: "ann", hosts: ["x.test"] });
    await vault.secrets.rotate("a/b", secret("two"), { graceMs: 1000, by: "bob" });
    expect(text((await vault.secrets.get("a/b")).value)).toBe("two");
    expect(text((await vault.secrets.get("a/b", 1)).value)).toBe("one");
    clock.advance(999);
    expect(text((await vault.secrets.get("a/b", 1)).value)).toBe("one");
    clock.advance(1);
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_SECRET_MISSING");
    expect(await vault.secrets.history("a/b")).toEqual([
      { version: 2, createdAt: START, by: "bob" },
      { version: 1, createdAt: START, by: "ann", readableUntil: START + 1000 },
    ]);
    expect(await vault.secrets.rotate("a/b", secret("three"))).toMatchObject({ version: 3, hosts: ["x.test"] });
    expect(await codeOf(() => vault.secrets.get("a/b", 2))).toBe("VAULT_SECRET_MISSING");
    clock.advance(599_999);
    await vault.secrets.set("a/b", secret("four"));
    clock.advance(1);
    await vault.close();
    const valuesIn = async (): Promise<readonly string[]> => {
      const storage = await openLmdb(join(state, "vault"));
      const rows = await storage.read((tx) => tx.range("value:"));
      await storage.close();
      return rows.map(({ key }) => key);
    };
    expect(await valuesIn()).toEqual(["value:a/b@1", "value:a/b@2", "value:a/b@3", "value:a/b@4"]);
    const { vault: again } = await openTestVault({ state, clock });
    await again.secrets.set("a/b", secret("five"));
    await again.close();
    expect(await valuesIn()).toEqual(["value:a/b@3", "value:a/b@4", "value:a/b@5"]);
  });

  it("keeps no closed value, whatever the clock did", async () => {
    const at = await openTestVault();
    const { vault, clock } = at;
    for (let n = 0; n < 3; n += 1) await vault.secrets.set("a/b", secret(`value-${n}`));
    clock.advance(60_000);
    await vault.secrets.rotate("a/b", secret("four"), { graceMs: 120_000 });
    clock.setWall(START);
    await vault.secrets.rotate("a/b", secret("five"), { graceMs: 1000 });
    await vault.secrets.rotate("a/b", secret("six"));
    clock.advance(1000);
    clock.advance(600_000);
    await vault.secrets.set("a/b", secret("seven"));
    await vault.close();
    const storage = await openLmdb(join(at.state, "vault"));
    const keys = (await storage.read((tx) => tx.range("value:"))).map(({ key }) => key);
    expect(keys).toEqual(["value:a/b@6", "value:a/b@7"]);
    await storage.close();
  });

  it("never opens again with a second rotation what the first one closed", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    await vault.secrets.rotate("a/b", secret("two"), { graceMs: 1000 });
    await vault.secrets.rotate("a/b", secret("three"), { graceMs: 60_000 });
    clock.advance(1000);
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_SECRET_MISSING");
    expect(text((await vault.secrets.get("a/b", 2)).value)).toBe("two");
  });

  it("rotates nothing that is not there, and takes no wrong grace or name", async () => {
    const { vault } = await openTestVault();
    expect(await codeOf(() => vault.secrets.rotate("a/b", secret("v")))).toBe("VAULT_SECRET_MISSING");
    await vault.secrets.set("a/b", secret("v"));
    for (const graceMs of [-1, 0.5, Number.NaN]) {
      expect(await codeOf(() => vault.secrets.rotate("a/b", secret("w"), { graceMs }))).toBe("VAULT_BAD_METADATA");
    }
    expect(await codeOf(() => vault.secrets.set("a/b", secret("w"), { by: "a\nb" }))).toBe("VAULT_BAD_METADATA");
    expect(await vault.secrets.history("a/b")).toHaveLength(1);
  });

  it("binds what an import brings new, and leaves what is there bound as it was", async () => {
    const { vault } = await openTestVault();
    const value = secret("value-1");
    await vault.secrets.set("a/bound", secret("value-0"), { hosts: ["own.test"] });
    const hosts = ["API.x.test", "api.x.test"];
    await vault.secrets.importAll([
      { path: "a/new", value, hosts },
      { path: "a/bound", value, hosts },
      { path: "a/free", value },
    ]);
    const bound = (await vault.secrets.list("a/")).map((one) => [one.path, one.hosts]);
    expect(bound).toEqual([
      ["a/bound", ["own.test"]],
      ["a/free", []],
      ["a/new", ["api.x.test"]],
    ]);
    const bad = [
      { path: "a/one", value },
      { path: "a/two", value, hosts: ["x:443"] },
    ];
    expect(await codeOf(() => vault.secrets.importAll(bad))).toBe("VAULT_BAD_METADATA");
    expect((await vault.secrets.list("a/")).map(({ path }) => path)).not.toContain("a/one");
  });

  it("imports all or none, tells new, changed and same, and changes nothing in a dry run", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("p/same", secret("1"));
    await vault.secrets.set("p/changed", secret("1"));
    const entries = ["same", "changed", "new"].map((name) => ({
      path: `p/${name}`,
      value: secret(name === "same" ? "1" : "2"),
    }));
    const expected = [
      { path: "p/same", version: 1, change: "same" },
      { path: "p/changed", version: 2, change: "changed" },
      { path: "p/new", version: 1, change: "new" },
    ];
    const generation = vault.generation();
    expect(await vault.secrets.importAll(entries, { dryRun: true })).toEqual(expected);
    expect(vault.generation()).toBe(generation);
    expect(await vault.secrets.list()).toHaveLength(2);
    const broken = [...entries, { path: "p/bad", value: secret("a\nb") }];
    expect(await codeOf(() => vault.secrets.importAll(broken))).toBe("VAULT_BAD_VALUE");
    expect(await vault.secrets.list()).toHaveLength(2);
    expect(await vault.secrets.importAll(entries)).toEqual(expected);
    expect(text((await vault.secrets.get("p/new")).value)).toBe("2");
  });

  it("lists by prefix, in order, without values", async () => {
    const { vault } = await openTestVault();
    for (const path of ["production/y", "production/x/key", "staging/x", "production-2/x", "a/b"]) {
      await vault.secrets.set(path, secret("canary-4711"));
    }
    const paths = async (prefix?: string): Promise<string[]> =>
      (await vault.secrets.list(prefix)).map(({ path }) => path);
    expect(await paths()).toEqual(["a/b", "production-2/x", "production/x/key", "production/y", "staging/x"]);
    expect(await paths("production/")).toEqual(["production/x/key", "production/y"]);
    expect(await paths("production")).toHaveLength(3);
    expect(await paths("none")).toEqual([]);
    const listed = JSON.stringify(await vault.secrets.list());
    expect(listed).not.toContain("canary");
    expect(listed).not.toContain("redacted");
  });

  it("binds a secret to hosts, canonically, until they are given anew", async () => {
    const { vault } = await openTestVault();
    const hosts = ["API.example.COM", "api.example.com", "[0:0::1]", "10.0.0.1"];
    expect((await vault.secrets.set("a/b", secret("v"), { hosts })).hosts).toEqual([
      "api.example.com",
      "::1",
      "10.0.0.1",
    ]);
    expect((await vault.secrets.set("a/b", secret("w"))).hosts).toHaveLength(3);
    expect((await vault.secrets.set("a/b", secret("w"), { hosts: [] })).hosts).toEqual([]);
  });

  it.each(["*.example.com", "example.com:443", "https://example.com", "", "example.com.", "a b", "127.1"])(
    "refuses host %j",
    async (host) => {
      const { vault } = await openTestVault();
      expect(await codeOf(() => vault.secrets.set("a/b", secret("v"), { hosts: [host] }))).toBe("VAULT_BAD_METADATA");
      expect(await vault.secrets.list()).toEqual([]);
    },
  );

  it.each(["", "two words", "a\nb", "x".repeat(65)])("refuses type %j", async (type) => {
    const { vault } = await openTestVault();
    expect(await codeOf(() => vault.secrets.set("a/b", secret("v"), { type }))).toBe("VAULT_BAD_METADATA");
  });

  it("takes 1 byte to 64 KiB, and gives every byte back", async () => {
    const { vault } = await openTestVault();
    const printable = Buffer.from(
      Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte >= 32 && byte !== 127),
    );
    for (const bytes of [Buffer.from("x"), Buffer.alloc(MAX_SECRET_BYTES, "y"), printable]) {
      await vault.secrets.set("a/b", new SecretValue(bytes));
      const back = (await vault.secrets.get("a/b")).value.lend((found) => Buffer.from(found));
      expect(back.equals(bytes)).toBe(true);
    }
  });

  it("refuses an empty value, a larger one and every control character, without showing it", async () => {
    const { vault } = await openTestVault();
    const controls = [...Array.from({ length: 32 }, (_, code) => code), 127];
    const values = controls.map((code) =>
      Buffer.concat([Buffer.from("canary"), Buffer.from([code]), Buffer.from("4711")]),
    );
    values.push(Buffer.alloc(0), Buffer.alloc(MAX_SECRET_BYTES + 1, "c"), Buffer.from("canary\n"));
    for (const bytes of values) {
      const error = await failureOf(() => vault.secrets.set("a/b", new SecretValue(bytes)));
      expect(error.code).toBe("VAULT_BAD_VALUE");
      expect(inspect(error, { depth: 10 })).not.toMatch(/canary|4711/);
    }
    expect(await vault.secrets.list()).toEqual([]);
  });

  it("loses nothing when many set at once", async () => {
    const { vault } = await openTestVault();
    await Promise.all(Array.from({ length: 30 }, (_, n) => vault.secrets.set("a/b", secret(`value-${n}`))));
    const history = await vault.secrets.history("a/b");
    expect(history.map(({ version }) => version)).toEqual(Array.from({ length: 30 }, (_, n) => 30 - n));
  });

  it("leaves no value and no metadata readable in the files", async () => {
    const { vault, state } = await openTestVault();
    await vault.secrets.set("a/b", secret("canary-4711-value"), { type: "canarytype", hosts: ["canary.test"] });
    const file = await readFile(join(state, "vault", "data.mdb"));
    for (const form of [
      "canary-4711-value",
      Buffer.from("canary-4711-value").toString("base64"),
      "canarytype",
      "canary.test",
    ]) {
      expect(file.includes(form)).toBe(false);
    }
  });
});

describe("isSecretPath", () => {
  it.each(["a/b", "production/openai/api-key", "A.b_c-9/x", `a/${"x".repeat(128)}`, ".../a", "..a/b", "a/b/c/d/e/f"])(
    "accepts %s",
    (path) => expect(isSecretPath(path)).toBe(true),
  );

  it.each([
    "",
    "a",
    "/a/b",
    "a/b/",
    "a//b",
    "a/.",
    "a/..",
    "./a",
    "../a",
    "a/b c",
    "a/b\n",
    "a/b\0",
    "a/b@1",
    "a/b:c",
    "a/ż",
    "a\\b/c",
    "a/%2e",
    `a/${"x".repeat(129)}`,
    `${"a/".repeat(MAX_PATH_LENGTH / 2)}b`,
  ])("refuses %j", async (path) => {
    expect(isSecretPath(path)).toBe(false);
    const { vault } = await openTestVault();
    expect(await codeOf(() => vault.secrets.set(path, secret("v")))).toBe("VAULT_BAD_PATH");
    expect(await codeOf(() => vault.secrets.get(path))).toBe("VAULT_BAD_PATH");
  });

  it("lets a path of the greatest length into the store", async () => {
    const path = `${"a/".repeat(MAX_PATH_LENGTH / 2 - 1)}bb`;
    expect(path).toHaveLength(MAX_PATH_LENGTH);
    const { vault } = await openTestVault();
    await vault.secrets.set(path, secret("v"));
    expect((await vault.secrets.list()).map((info) => info.path)).toEqual([path]);
  });
});
