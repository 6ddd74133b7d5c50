/** What the client's tests share: a client that waits for nothing, and a look at everything that an error holds. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { inspect } from "node:util";
import { expect } from "vitest";
import { AgentVault, type AgentVaultOptions, VaultClientError } from "../../../src/client/index.ts";
import type { ProofKey } from "../../../src/client/proof.ts";

export const OPERATOR_KEY = `ask_op_${"k".repeat(20)}CANARY-operator-key-0011aa`;
export const TOKEN = "eyJhbGciOi.CANARY-token-5544.c2lnbmF0dXJl";
export const VALUE = "sk-CANARY-value-7788-zz";

/** Read, not just made: Node 20 can lock itself up over a JWK of a key just made. */
export const createProofKey = (): ProofKey => {
  const { privateKey } = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const key = createPrivateKey(privateKey);
  return { privateKey: key, publicJwk: createPublicKey(key).export({ format: "jwk" }) };
};

/** Pauses are noted in `pauses` and not made. */
export const quickVault = (options: AgentVaultOptions, pauses: number[] = []): AgentVault =>
  new AgentVault(options, {
    random: () => 0.5,
    pause: async (ms) => {
      pauses.push(ms);
    },
  });

/** The error of a call that must fail, after a look for what it must not hold. */
export const failureOf = async (work: Promise<unknown>): Promise<VaultClientError> => {
  const error = await work.then(
    () => expect.fail("it did not fail"),
    (failure: unknown) => failure,
  );
  expect(error).toBeInstanceOf(VaultClientError);
  if (!(error instanceof VaultClientError)) throw error;
  const everything = `${inspect(error, { depth: 10, showHidden: true })}${JSON.stringify(error)}${error.hint}${error.stack}`;
  // Node's errors may hold what was received.
  expect(error.cause).toBeUndefined();
  for (const secret of [OPERATOR_KEY, TOKEN, VALUE]) expect(everything).not.toContain(secret);
  return error;
};
