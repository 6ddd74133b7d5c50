import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../src/core/secret-value.ts";
import { generateFernetKey } from "../../../src/vault/barrier/fernet.ts";
import { openVault } from "../../../src/vault/index.ts";
import {
  afterTest,
  codeOf,
  createTestClock,
  openTestVault,
  temporaryDirectory,
  withGuardedRows,
  withRows,
} from "./support.ts";

const clock = createTestClock();
const secret = SecretValue.fromText("value");

describe("openVault", () => {
  it("tells a wrong key when it opens", async () => {
    const { vault, state } = await openTestVault();
    await vault.close();
    const directory = join(state, "vault");
    await writeFile(join(state, "vault.key"), generateFernetKey());
    expect(await codeOf(() => openVault({ directory, keys: { file: join(state, "vault.key") }, clock }))).toBe(
      "VAULT_KEY_WRONG",
    );
    const keys = { text: generateFernetKey(), where: "variable K" };
    expect(await codeOf(() => openVault({ directory, keys, clock }))).toBe("VAULT_KEY_WRONG");
  });

  it("does not make a new key for a store whose key is gone", async () => {
    const { vault, state } = await openTestVault();
    await vault.close();
    const file = join(state, "vault.key");
    await rm(file);
    expect(await codeOf(() => openVault({ directory: join(state, "vault"), keys: { file }, clock }))).toBe(
      "VAULT_KEY_UNREADABLE",
    );
    await expect(readFile(file)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("opens with an old key beside a new one, and seals with the new", async () => {
    const directory = join(await temporaryDirectory(), "vault");
    const [old, fresh] = [generateFernetKey(), generateFernetKey()];
    const open = (text: string) => openVault({ directory, keys: { text, where: "variable K" }, clock });
    const before = await open(old);
    await before.secrets.set("a/old", secret);
    await before.close();
    const both = await open(`${fresh},${old}`);
    await both.secrets.set("a/new", secret);
    expect((await both.secrets.get("a/old")).value.lend(String)).toBe("value");
    await both.close();
    const after = await open(old);
    afterTest(() => after.close());
    expect(await codeOf(() => after.secrets.get("a/new"))).toBe("VAULT_KEY_WRONG");
  });

  it("finds a cut store before LMDB does, and stays alive", async () => {
    const { vault, state } = await openTestVault();
    for (let n = 0; n < 50; n += 1) await vault.secrets.set(`a/${n}`, SecretValue.fromText("x".repeat(3000)));
    await vault.close();
    const options = { directory: join(state, "vault"), keys: { file: join(state, "vault.key") }, clock };
    for (const size of [20_000, 8192, 5000, 0]) {
      await truncate(join(state, "vault", "data.mdb"), size);
      expect(await codeOf(() => openVault(options))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("takes a used store without its check row as damaged", async () => {
    const { vault, state } = await openTestVault();
    await vault.close();
    await withRows({ state, clock }, (storage) => storage.write((tx) => tx.remove("check:key")));
    const options = { directory: join(state, "vault"), keys: { file: join(state, "vault.key") }, clock };
    expect(await codeOf(() => openVault(options))).toBe("VAULT_STORE_DAMAGED");
  });

  it("refuses rows that are other rows' or no rows, whoever accounted for them", async () => {
    const { vault, state } = await openTestVault();
    await vault.secrets.set("a/low", SecretValue.fromText("low"), { hosts: ["low.test"] });
    await vault.secrets.set("a/high", SecretValue.fromText("high"), { hosts: ["high.test"] });
    await vault.secrets.set("a/high", SecretValue.fromText("high-2"));
    await vault.close();
    await withGuardedRows({ state, clock }, (storage) =>
      storage.write((tx) => {
        tx.put("value:a/low@1", tx.get("value:a/high@1") ?? Buffer.alloc(0));
        tx.put("value:a/high@2", tx.get("value:a/high@1") ?? Buffer.alloc(0));
        tx.put("meta:a/forged", tx.get("meta:a/low") ?? Buffer.alloc(0));
        tx.put("meta:a/text", Buffer.from('{"hosts":[]}'));
      }),
    );
    const again = await openTestVault({ state, clock });
    expect(await codeOf(() => again.vault.secrets.get("a/low"))).toBe("VAULT_STORE_DAMAGED");
    expect(await codeOf(() => again.vault.secrets.get("a/high"))).toBe("VAULT_STORE_DAMAGED");
    expect((await again.vault.secrets.get("a/high", 1)).value.lend(String)).toBe("high");
    expect(await codeOf(() => again.vault.secrets.get("a/forged"))).toBe("VAULT_STORE_DAMAGED");
    expect(await codeOf(() => again.vault.secrets.get("a/text"))).toBe("VAULT_KEY_WRONG");
  });

  it("is one store for all who open it, also at once and for the first time", async () => {
    const state = await temporaryDirectory();
    const vaults = await Promise.all(Array.from({ length: 5 }, () => openTestVault({ state, clock })));
    await Promise.all(vaults.map(({ vault }, n) => vault.secrets.set(`a/${n}`, secret)));
    for (const { vault } of vaults) expect(await vault.secrets.list()).toHaveLength(5);
  });

  it("counts every change of another vault in its generation", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const before = one.vault.generation();
    await other.vault.secrets.set("a/b", secret);
    const after = one.vault.generation();
    expect(after).toBeGreaterThan(before);
    await one.vault.secrets.get("a/b");
    await one.vault.secrets.list();
    expect(one.vault.generation()).toBe(after);
  });

  it("keeps no process alive that forgot to close it", { timeout: 60_000 }, async () => {
    const state = await temporaryDirectory();
    const script = `
      import { openVault } from ${JSON.stringify(new URL("../../../src/vault/index.ts", import.meta.url).pathname)};
      import { systemClock } from ${JSON.stringify(new URL("../../../src/core/clock.ts", import.meta.url).pathname)};
      const vault = await openVault({ directory: "${state}/vault", keys: { file: "${state}/vault.key" }, clock: systemClock });
      vault.generation();
    `;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      stdio: "inherit",
    });
    expect(await once(child, "exit")).toEqual([0, null]);
  });
});
