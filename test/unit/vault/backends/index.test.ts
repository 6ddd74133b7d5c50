import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { checkBackendVariable, readReference } from "../../../../src/vault/backends/index.ts";
import { vaultKeySource } from "../../../../src/vault/barrier/key.ts";
import { codeOf, failureOf } from "../support.ts";

describe("SECRET_BACKEND", () => {
  it.each([{}, { SECRET_BACKEND: "" }, { SECRET_BACKEND: "local" }])("is well as %j", (environment) => {
    expect(() => checkBackendVariable(environment)).not.toThrow();
  });

  it.each(["aws_sm", "aws-sm", "vault"])("is refused by name when it asks for %s", async (name) => {
    const error = await failureOf(() => checkBackendVariable({ SECRET_BACKEND: name }));
    expect(error.code).toBe("VAULT_BACKEND_UNAVAILABLE");
    expect(error.message).toMatch(/SECRET_BACKEND asks for (AWS Secrets Manager|HashiCorp Vault)\./);
  });

  it("is refused, and not repeated, when it is no backend's name", async () => {
    for (const name of ["LOCAL", " local", "sk-live-canary"]) {
      const error = await failureOf(() => checkBackendVariable({ SECRET_BACKEND: name }));
      expect(error.code).toBe("CONFIG_USAGE");
      expect(error.message).not.toContain("canary");
    }
  });

  it("is looked at before any key is looked for", async () => {
    const place = { baseDir: "/", stateDir: "/", environment: { SECRET_BACKEND: "vault" } };
    expect(await codeOf(() => vaultKeySource(place))).toBe("VAULT_BACKEND_UNAVAILABLE");
  });
});

describe("a reference", () => {
  it("is read by the backend that it names, and by no other", async () => {
    const backends = { vault: { read: async (ref: string) => SecretValue.fromText(`of ${ref}`) } };
    const found = await readReference(backends, { backend: "vault", ref: "kv/x" });
    expect(found.lend(String)).toBe("of kv/x");
    expect(await codeOf(() => readReference(backends, { backend: "aws_sm", ref: "kv/x" }))).toBe(
      "VAULT_BACKEND_UNAVAILABLE",
    );
  });
});
