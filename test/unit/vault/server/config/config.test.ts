/** vault.yaml: what it may say, where it is wrong, and what holds when it says nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parseConfigDocument } from "../../../../../src/config/document.ts";
import {
  defaultVaultConfig,
  isVaultFile,
  loadVaultConfig,
  readVaultConfig,
} from "../../../../../src/vault/server/config/config.ts";
import { renderVaultSchema } from "../../../../support/references/config-schema.ts";

const ROOT = join(import.meta.dirname, "../../../../..");

const problemsOf = (text: string): readonly string[] => {
  const result = loadVaultConfig({ file: "/v/vault.yaml", text });
  return "problems" in result
    ? result.problems.map(({ line, column, path, message }) => `${line}:${column} ${path} ${message}`)
    : [];
};

describe("vault.yaml", () => {
  it("may be missing: then everything lies below .sidekey and only this machine is served", () => {
    expect(defaultVaultConfig("/v")).toMatchObject({
      file: undefined,
      listen: { kind: "tcp", host: "127.0.0.1", port: 7200 },
      state: "/v/.sidekey",
      storage: { kind: "lmdb", directory: "/v/.sidekey/vault" },
      audit: { path: "/v/.sidekey/vault-audit.jsonl", key: "/v/.sidekey/audit.key" },
      tokens: { defaultTtlMs: 3_600_000, maxTtlMs: 86_400_000 },
    });
  });

  it("as published says what holds without it", () => {
    const { file, key, ...published } = readVaultConfig(join(ROOT, "config/vault.yaml"));
    const { file: _, key: __, ...defaults } = defaultVaultConfig(join(ROOT, "config"));
    expect(published).toEqual(defaults);
    expect({ file, key }).toEqual({ file: join(ROOT, "config/vault.yaml"), key: { file: "./.sidekey/vault.key" } });
  });

  it("reports every problem at once, each with its line and column, and never a value", () => {
    const found = problemsOf(
      "version: 1\nlisten: 0.0.0.0:7200\ntokens:\n  default_ttl: 2h\n  max_ttl: 1h\nlimits: { body: 1KiB }\n",
    );
    expect(found).toEqual([
      "2:1 listen would send secrets beyond this machine in cleartext",
      "2:1 listen is every address of this machine, which names none that a proof of a sidecar could be for",
      "4:3 tokens.default_ttl is longer than tokens.max_ttl",
    ]);
  });

  it.each([
    ["version: 1\nlisten: off\n", "2:1 listen leaves no way in"],
    ["version: 1\nstorage: { kind: sqlite }\n", "2:12 storage.kind must be one of: lmdb, postgres"],
    [
      "version: 1\nstorage: { kind: postgres, url: postgres://u:sk-canary@h/d }\n",
      "2:28 storage.url must be { file: PATH } or { env: NAME }; a value is never written here",
    ],
    ["version: 1\ntls: { cert: c.pem }\n", "2:1 tls.key is missing"],
    ["version: 1\ntokens: { max_ttl: 48h }\n", "2:11 tokens.max_ttl must be 1d or less"],
    ["version: 1\npublic_url: https://user@v.example\n", "2:1 public_url must be an http or https URL without a path"],
    [
      "version: 1\ntrusted_proxies: [10.0.0.1/8]\n",
      "2:19 trusted_proxies[0] must be a range of addresses, like 10.0.0.0/8",
    ],
    ["version: 1\nsources: { a: 1 }\n", "2:1 sources is not in this version of sidekey"],
    [
      "version: 1\napprovals: { webhook: { url: 'ftp://x', secret: { env: S } } }\n",
      "2:25 approvals.webhook.url is neither https nor http",
    ],
  ])("is refused: %j", (text, problem) => {
    const found = problemsOf(text);
    expect(found).toEqual([problem]);
    expect(found.join()).not.toContain("sk-canary");
  });

  it("has a schema for editors, which takes the published file", async () => {
    const schema = renderVaultSchema();
    await expect(schema).toMatchFileSnapshot("../../../../../config/vault-schema.json");
    const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(JSON.parse(schema));
    const published = parseConfigDocument(readFileSync(join(ROOT, "config/vault.yaml"), "utf8")).value;
    expect([validate(published), validate.errors]).toEqual([true, null]);
    expect(validate({ version: 1, listn: "127.0.0.1:7200" })).toBe(false);
    expect(validate({ version: 1, storage: { kind: "sqlite" } })).toBe(false);
  });

  it("is told from a sidecar's by its name or by a key that only it has", () => {
    expect(isVaultFile("vault.yaml", "")).toBe(true);
    expect(isVaultFile("/etc/sidekey/team-vault.yml", "")).toBe(true);
    expect(isVaultFile("/etc/sidekey.yaml", "version: 1\nstorage: { kind: lmdb }\n")).toBe(true);
    expect(isVaultFile("vault.yaml.d/sidekey.yaml", "version: 1\nroutes: {}\n")).toBe(false);
    expect(readFileSync(join(ROOT, "config/sidekey.yaml"), "utf8")).not.toMatch(/^storage/m);
  });
});
