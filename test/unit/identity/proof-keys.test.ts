/** Keys of proofs are read once: none may be taken for another for that. */
import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createProof, type ProofKey } from "../../../src/client/proof.ts";
import { verifyProof } from "../../../src/identity/dpop.ts";

const NOW = 1_700_000_000_000;
const REQUEST = { method: "POST", url: "https://vault.example.test/v1/redeem" };

const newKey = (): ProofKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, publicJwk: publicKey.export({ format: "jwk" }) };
};

const verify = (key: ProofKey) => verifyProof(createProof({ ...REQUEST, key, now: NOW }), { ...REQUEST, now: NOW });

describe("the keys of proofs", () => {
  it("stay apart: a known key's name does not let another key's signature through", async () => {
    const known = newKey();
    const other = newKey();
    const { jkt } = await verify(known);
    expect((await verify(known)).jkt).toBe(jkt);
    expect((await verify(other)).jkt).not.toBe(jkt);
    await expect(verify({ privateKey: other.privateKey, publicJwk: known.publicJwk })).rejects.toMatchObject({
      code: "IDENTITY_PROOF_INVALID",
    });
    const mixed = { ...known.publicJwk, y: other.publicJwk.y ?? "" };
    await expect(verify({ privateKey: known.privateKey, publicJwk: mixed })).rejects.toMatchObject({
      code: "IDENTITY_PROOF_INVALID",
    });
  });

  it("are taken however many there are", async () => {
    const first = newKey();
    const { jkt } = await verify(first);
    const seen = new Set<string>();
    for (let i = 0; i < 1100; i++) seen.add((await verify(newKey())).jkt);
    expect(seen.size).toBe(1100);
    expect((await verify(first)).jkt).toBe(jkt);
  });
});
