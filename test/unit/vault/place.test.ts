import { copyFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../src/core/secret-value.ts";
import { openBackup, restoreVault } from "../../../src/vault/index.ts";
import { codeOf, openTestVault } from "./support.ts";

describe("a vault whose file is not in its place any more", () => {
  it.each([
    ["removed", (state: string) => rm(join(state, "vault"), { recursive: true })],
    ["moved away with its directory", (state: string) => rename(join(state, "vault"), join(state, "aside"))],
  ])("says so to whoever has it open, half a second after it was %s", async (_, change) => {
    const { vault, clock, state } = await openTestVault();
    await vault.secrets.set("a/b", SecretValue.fromText("x"));
    await change(state);
    clock.advance(499);
    expect(vault.generation()).toBeGreaterThan(0);
    clock.advance(1);
    expect(await codeOf(() => vault.generation())).toBe("VAULT_STORE_BUSY");
    expect(await codeOf(() => vault.generation())).toBe("VAULT_STORE_BUSY");
  });

  it("says so when another was restored into it", async () => {
    const { vault, clock, state } = await openTestVault();
    await vault.secrets.set("a/b", SecretValue.fromText("x"));
    const text = await vault.backup();
    await rm(join(state, "vault"), { recursive: true });
    const keys = { file: join(state, "vault.key") };
    const backup = await openBackup(text, { keys, clock });
    await restoreVault({ directory: join(state, "vault"), keys, clock }, { backup, replace: false });
    clock.advance(500);
    expect(await codeOf(() => vault.generation())).toBe("VAULT_STORE_BUSY");
  });

  it("takes no write that would be lost, from the first one on, and gives nothing of what was", async () => {
    const { vault, clock, state } = await openTestVault();
    await vault.secrets.set("a/b", SecretValue.fromText("x"));
    const file = join(state, "vault", "data.mdb");
    await copyFile(file, `${file}.copy`);
    await rename(`${file}.copy`, file);
    expect(await codeOf(() => vault.secrets.set("a/b", SecretValue.fromText("y")))).toBe("VAULT_STORE_BUSY");
    clock.advance(500);
    expect(await codeOf(() => vault.secrets.get("a/b"))).toBe("VAULT_STORE_BUSY");
    expect(await codeOf(() => vault.tokens.state("none"))).toBe("VAULT_STORE_BUSY");
  });

  it("is a vault again when it is back", async () => {
    const { vault, clock, state } = await openTestVault();
    const before = vault.generation();
    await rename(join(state, "vault"), join(state, "aside"));
    clock.advance(500);
    expect(await codeOf(() => vault.generation())).toBe("VAULT_STORE_BUSY");
    await rename(join(state, "aside"), join(state, "vault"));
    clock.advance(500);
    expect(vault.generation()).toBe(before);
  });
});
