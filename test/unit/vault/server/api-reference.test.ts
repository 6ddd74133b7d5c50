/** The API's calls as a list: documented, named once, and each with what it answers. */
import { describe, expect, it } from "vitest";
import { calls, renderVaultApi } from "../../../support/references/vault-api-reference.ts";

describe("the calls of the vault's API", () => {
  it("are what docs/vault-api.md says", async () => {
    await expect(renderVaultApi()).toMatchFileSnapshot("../../../../docs/vault-api.md");
  });

  it("have each a name and a place of their own", () => {
    expect(new Set(calls.map(({ operationId }) => operationId)).size).toBe(calls.length);
    expect(new Set(calls.map(({ method, path }) => `${method} ${path}`)).size).toBe(calls.length);
  });

  it("say who may make them, and what comes of it", () => {
    for (const { who, answers, operationId } of calls) {
      expect([operationId, who.length > 0, Object.keys(answers).length > 0]).toEqual([operationId, true, true]);
      expect([operationId, Object.keys(answers).every((status) => /^2\d\d$/.test(status))]).toEqual([
        operationId,
        true,
      ]);
    }
  });

  it("let nobody in without a key but to what is public", () => {
    const open = calls.filter(({ who }) => who.includes("anyone")).map(({ path }) => path);
    expect(open.sort()).toEqual(["/.well-known/jwks.json", "/v1/health", "/v1/jwks.json", "/v1/openapi.json"]);
  });
});
