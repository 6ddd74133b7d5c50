/** A vault server with an agent and its sidecar, and all that was handed out on the way. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { createProof, type ProofKey } from "../../../src/client/proof.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { startTestVault, type TestAnswer, type TestVault } from "./test-vault.ts";

/** Said of every call. */
export const TOLD = { "x-agent-name": "planner", "x-reason": "a web search" };

/** Of the shape of a key, and nowhere else in the world. */
export const canary = (): string => `sk-canary-${randomBytes(18).toString("hex")}`;

export const newKey = (): ProofKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, publicJwk: publicKey.export({ format: "jwk" }) };
};

export interface Stage {
  readonly vault: TestVault;
  readonly agentId: string;
  readonly agentKey: string;
  readonly sidecarKey: ProofKey;
  readonly sidecarId: string;
  readonly jkt: string;
  /** All keys, tokens, proofs and placeholders that were ever handed out or sent. */
  readonly credentials: string[];
  /** Records of one event, oldest first. */
  records(event: string): Record<string, unknown>[];
  /** Puts the server's clock forward. */
  later(ms: number): void;
  issue(body: object): Promise<TestAnswer>;
  token(body: object): Promise<string>;
  proven(method: string, path: string, token: string, body?: unknown): Promise<TestAnswer>;
}

export const auditOf = (vault: TestVault): string => readFileSync(join(vault.state, "vault-audit.jsonl"), "utf8");

export const setAuditedVault = async (yaml = ""): Promise<Stage> => {
  let ahead = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + ahead };
  const vault = await startTestVault({ yaml, clock });
  const created = await vault.call("POST", "/v1/agents", {
    body: { name: "researcher", allowed_scopes: ["secrets:*:*", "secrets:use:*"] },
    headers: TOLD,
  });
  expect(created.status).toBe(201);
  const { id: agentId, api_key: agentKey } = created.json;
  const sidecarKey = newKey();
  const { kty, crv, x, y } = sidecarKey.publicJwk;
  const body = { name: "side", jwk: { kty, crv, x, y } };
  const enrolled = await vault.call("POST", "/v1/sidecars", { as: agentKey, body, headers: TOLD });
  expect(enrolled.status).toBe(201);
  const credentials = [vault.operatorKey, agentKey];
  const issue = async (wish: object): Promise<TestAnswer> => {
    const answer = await vault.call("POST", "/v1/tokens", { as: agentKey, body: wish, headers: TOLD });
    if (typeof answer.json?.token === "string") credentials.push(answer.json.token);
    return answer;
  };
  return {
    vault,
    agentId,
    agentKey,
    sidecarKey,
    sidecarId: enrolled.json.id,
    jkt: enrolled.json.jkt,
    credentials,
    later(ms) {
      ahead += ms;
    },
    records: (event) =>
      auditOf(vault)
        .trim()
        .split("\n")
        .map((line): Record<string, unknown> => JSON.parse(line))
        .filter((record) => record["event"] === event),
    issue,
    async token(wish) {
      const answer = await issue(wish);
      expect(answer.status).toBe(201);
      return answer.json.token;
    },
    async proven(method, path, token, sent) {
      const proof = createProof({ key: sidecarKey, method, url: `${vault.url}${path}`, token, now: Date.now() });
      credentials.push(proof);
      return vault.call(method, path, {
        as: null,
        ...(sent !== undefined && { body: sent }),
        headers: { ...TOLD, authorization: `DPoP ${token}`, dpop: proof },
      });
    },
  };
};
