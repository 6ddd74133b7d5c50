import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { importEnv } from "../../../../src/vault/secrets/env-import.ts";
import { codeOf, failureOf, openTestVault } from "../support.ts";

const CONTENT = "# keys\nOPENAI_API_KEY='sk-1'\nexport TAVILY_API_KEY=tvly-2\nEMPTY=\n";

describe("a .env text into the vault", () => {
  it("becomes secrets of a namespace, as one said they are, and says which", async () => {
    const { vault } = await openTestVault();
    const describe = { type: "api_key", tier: "sensitive", category: "provider", metadata: { from: "x" } } as const;
    const before = await vault.changes.current();
    const done = await importEnv(vault.secrets, { namespace: "production/app", content: CONTENT, describe, by: "ann" });
    expect(done).toEqual({
      imported: [
        { path: "production/app/OPENAI_API_KEY", version: 1, change: "new" },
        { path: "production/app/TAVILY_API_KEY", version: 1, change: "new" },
      ],
      empty: ["EMPTY"],
    });
    expect((await vault.secrets.get("production/app/TAVILY_API_KEY")).value.lend(String)).toBe("tvly-2");
    expect(await vault.secrets.find("production/app/TAVILY_API_KEY")).toMatchObject(describe);
    // In one transaction.
    expect(await vault.changes.current()).toBe(before + 1);
  });

  it("goes under a namespace of one segment, and under none that is no path", async () => {
    const { vault } = await openTestVault();
    await importEnv(vault.secrets, { namespace: "app", content: "A=1" });
    expect(await vault.secrets.find("app/A")).toBeDefined();
    for (const namespace of ["", "/", "a/", "../a", "a b", "x".repeat(129)]) {
      expect(await codeOf(() => importEnv(vault.secrets, { namespace, content: "A=1" }))).toBe("VAULT_BAD_PATH");
    }
  });

  it("tells what would be, and stores nothing, in a dry run", async () => {
    const { vault } = await openTestVault();
    const generation = vault.generation();
    const { imported } = await importEnv(vault.secrets, { namespace: "app", content: CONTENT, dryRun: true });
    expect(imported.map(({ change }) => change)).toEqual(["new", "new"]);
    expect(vault.generation()).toBe(generation);
  });

  it("overwrites or leaves alone what is there with another value, and its description always", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("app/A", SecretValue.fromText("old"), { tier: "critical" });
    await vault.secrets.set("app/B", SecretValue.fromText("2"));
    const request = { namespace: "app", content: "A=1\nB=2\nC=3", describe: { tier: "sensitive" } };
    const kept = await importEnv(vault.secrets, { ...request, overwrite: false });
    expect(kept.imported.map(({ version, change }) => [version, change])).toEqual([
      [1, "kept"],
      [1, "same"],
      [1, "new"],
    ]);
    expect((await vault.secrets.get("app/A")).value.lend(String)).toBe("old");
    const written = await importEnv(vault.secrets, request);
    expect(written.imported.map(({ version, change }) => [version, change])).toEqual([
      [2, "changed"],
      [1, "same"],
      [1, "same"],
    ]);
    expect(await vault.secrets.find("app/A")).toMatchObject({ tier: "critical" });
  });

  it("is refused as a whole for one bad line, with its number and without its text", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("app/TAKEN/x", SecretValue.fromText("v"));
    for (const [line, code] of [
      ['B="canary', "VAULT_BAD_IMPORT"],
      ["B=$CANARY", "VAULT_BAD_IMPORT"],
      ['B="canary\ntwo"', "VAULT_BAD_IMPORT"],
      ["..=canary", "VAULT_BAD_IMPORT"],
      ["TAKEN=canary", "VAULT_PATH_TAKEN"],
    ]) {
      const error = await failureOf(() => importEnv(vault.secrets, { namespace: "app", content: `A=1\n${line}` }));
      expect(error.code).toBe(code);
      expect(error.message).not.toMatch(/canary/i);
      if (code === "VAULT_BAD_IMPORT") expect(error.message).toContain("line 2");
    }
    expect((await vault.secrets.list()).map(({ path }) => path)).toEqual(["app/TAKEN/x"]);
  });

  it("takes values of several lines where the type does", async () => {
    const { vault } = await openTestVault();
    const content = 'KEY="-----BEGIN-----\nx\n-----END-----"';
    await importEnv(vault.secrets, { namespace: "app", content, describe: { type: "ssh_key" } });
    expect((await vault.secrets.get("app/KEY")).value.lend(String)).toBe("-----BEGIN-----\nx\n-----END-----");
  });
});
