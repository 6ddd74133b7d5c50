import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { ISSUED_PATTERN } from "../../../../src/sidecar/injection/issued.ts";
import { DEFAULT_TOKEN_TTL_MS, type Vault } from "../../../../src/vault/index.ts";
import { codeOf, openTestVault, type TestVault, withRows } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);

const tokenOf = async (vault: Vault): Promise<string> => {
  const { claims } = await vault.tokens.issue({ agent: "a", scopes: parseScopes("secrets:use:*") });
  return claims.id;
};

/** But for the key. */
const placeholderRows = (at: TestVault): Promise<number> =>
  withRows(at, async (storage) => (await storage.read((tx) => tx.range("placeholder:"))).length - 1);

const issue = (vault: Vault, tokenId: string, { path = "a/b", value = "sk-proj-0123456789abcdef" } = {}) =>
  vault.placeholders.issue({ tokenId, agentId: "agent-1", path, value: secret(value) });

describe("vault.placeholders", () => {
  it("gives a token and a path the same text each time, also after the value has another shape, and resolves it", async () => {
    const { vault } = await openTestVault();
    const tokenId = await tokenOf(vault);
    const text = await issue(vault, tokenId);
    expect(await issue(vault, tokenId)).toBe(text);
    expect(await issue(vault, tokenId, { value: "ghp_quite-another" })).toBe(text);
    expect(await vault.placeholders.resolve(text)).toEqual({ tokenId, agentId: "agent-1", path: "a/b" });
  });

  it("differs by token, path and store", async () => {
    const texts = new Set<string>();
    for (let store = 0; store < 2; store += 1) {
      const { vault } = await openTestVault();
      for (const tokenId of [await tokenOf(vault), await tokenOf(vault)]) {
        for (const path of ["a/b", "a/c"]) texts.add(await issue(vault, tokenId, { path }));
      }
    }
    expect(texts.size).toBe(8);
  });

  it.each([
    ["sk-proj-", "sk-proj-AbCdEf0123456789AbCdEf0123456789AbCdEf0123456789AbCdEf01"],
    ["sk-ant-api03-", `sk-ant-api03-${"x".repeat(90)}`],
    ["tvly-", "tvly-0123456789abcdef"],
    ["ghp_", `ghp_${"0".repeat(36)}`],
    ["", "hunter2hunter2"],
    ["", "SG.abc.def"],
    ["", `PRIVATE${"p".repeat(3000)}`],
    ["sk-", `sk-${"p".repeat(3000)}`],
  ])("begins with %j as the key does, and is a word that JSON, URLs and headers leave alone", async (prefix, value) => {
    const { vault } = await openTestVault();
    const text = await issue(vault, await tokenOf(vault), { value });
    expect(text.startsWith(`${prefix}SKP`)).toBe(true);
    expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(encodeURIComponent(text)).toBe(text);
    expect(JSON.stringify(text)).toBe(`"${text}"`);
    expect(text.slice(prefix.length)).toMatch(/^SKP[0-9A-Za-z]{32,}$/);
    expect(text.length).toBeLessThanOrEqual(200);
    if (prefix !== "" && value.length <= 200) {
      expect(text.length).toBe(Math.max(value.length, prefix.length + 35));
    }
    // What a sidecar finds in a text is all of it and no more.
    const around = [`Bearer ${text}`, `{"key":"${text}"}`, `https://x.test/?k=${text}&y=1`, `/bot:${text}/send`];
    for (const one of around) expect([...one.matchAll(new RegExp(ISSUED_PATTERN, "g"))].map(String)).toEqual([text]);
  });

  it("resolves nothing else: no part, no other spelling, no made-up one", async () => {
    const { vault } = await openTestVault();
    const text = await issue(vault, await tokenOf(vault));
    const others = [
      "",
      text.slice(0, -1),
      `${text}0`,
      text.slice("sk-proj-".length),
      `x${text}`,
      text.replace("SKP", "SKp"),
      text.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
      `SKP${"0".repeat(32)}`,
      "placeholder:key",
      "x".repeat(100_000),
      `SKP${"0".repeat(100_000)}`,
    ];
    for (const other of others) expect(await vault.placeholders.resolve(other)).toBeUndefined();
  });

  it("is known to every opening of the store, and after a restart", async () => {
    const { vault, clock, state } = await openTestVault();
    const other = await openTestVault({ state, clock });
    const tokenId = await tokenOf(vault);
    const texts = await Promise.all([issue(vault, tokenId), issue(other.vault, tokenId), issue(vault, tokenId)]);
    expect(new Set(texts).size).toBe(1);
    expect(await other.vault.placeholders.resolve(texts[0] ?? "")).toMatchObject({ tokenId });
    await vault.close();
    await other.vault.close();
    const later = await openTestVault({ state, clock });
    expect(await later.vault.placeholders.resolve(texts[0] ?? "")).toMatchObject({ tokenId });
    expect(await issue(later.vault, tokenId)).toBe(texts[0]);
  });

  it("is issued for no token that is not there", async () => {
    const { vault } = await openTestVault();
    expect(await codeOf(() => issue(vault, "gone"))).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("ends when its token is revoked, and leaves those of others", async () => {
    const at = await openTestVault();
    const { vault } = at;
    const [ended, going] = [await tokenOf(vault), await tokenOf(vault)];
    const texts = [await issue(vault, ended), await issue(vault, ended, { path: "a/c" })];
    const other = await issue(vault, going);
    await vault.tokens.revoke(ended);
    for (const text of texts) expect(await vault.placeholders.resolve(text)).toBeUndefined();
    expect(await vault.placeholders.resolve(other)).toMatchObject({ tokenId: going });
    await vault.close();
    expect(await placeholderRows(at)).toBe(1);
  });

  it("leaves the store with its token, when that is over", async () => {
    const at = await openTestVault();
    const text = await issue(at.vault, await tokenOf(at.vault));
    at.clock.advance(DEFAULT_TOKEN_TTL_MS + 120_000);
    await tokenOf(at.vault);
    expect(await at.vault.placeholders.resolve(text)).toBeUndefined();
    await at.vault.close();
    expect(await placeholderRows(at)).toBe(0);
  });

  it("ends with its agent", async () => {
    const at = await openTestVault();
    const scopes = parseScopes("secrets:use:*");
    const { info } = await at.vault.agents.create({ name: "a", scopes });
    const { claims } = await at.vault.tokens.issue({ agent: info, scopes });
    const text = await issue(at.vault, claims.id);
    await at.vault.agents.revoke("a");
    expect(await at.vault.placeholders.resolve(text)).toBeUndefined();
  });

  it("cannot be read in the files", async () => {
    const { vault, state } = await openTestVault();
    const text = await issue(vault, await tokenOf(vault));
    const file = await readFile(join(state, "vault", "data.mdb"));
    for (const part of [text, text.slice("sk-proj-SKP".length), text.slice(-24)])
      expect(file.includes(part)).toBe(false);
  });
});
