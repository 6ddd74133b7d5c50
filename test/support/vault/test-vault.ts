/** A vault server in this process for one test, and its API as an operator, an agent or a sidecar calls it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { makeProof, type ProofKey } from "../proofs.ts";
import { type ServedVaultOptions, startServedVault } from "./served-vault.ts";

export interface TestVault {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly state: string;
  readonly operatorKey: string;
  /** Lines of the audit, oldest first. */
  audit(): readonly Readonly<Record<string, unknown>>[];
  /** A new agent's key. */
  agent(name: string, fields: Readonly<Record<string, unknown>>): Promise<string>;
  /** A token of the agent with this key. */
  token(key: string, fields: Readonly<Record<string, unknown>>): Promise<string>;
  /** With a proof by `key` for this token. */
  prove(key: ProofKey, token: string, method: string, path: string, options?: CallOptions): Promise<TestAnswer>;
  /** With the operator's key where `headers` name no other. */
  call(method: string, path: string, options?: CallOptions): Promise<TestAnswer>;
  stop(): Promise<void>;
}

export interface CallOptions {
  readonly body?: unknown;
  /** Key or token; `null` sends none. */
  readonly as?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Undefined where the body is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export const startTestVault = async (options: Omit<ServedVaultOptions, "tls"> = {}): Promise<TestVault> => {
  const { address: url, state, operatorKey, stop, close } = await startServedVault(options);
  onTestFinished(close);
  const call: TestVault["call"] = async (method, path, { body, as = operatorKey, headers = {} } = {}) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(as !== null && { authorization: `Bearer ${as}` }),
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answered = await answer.text();
    return { status: answer.status, headers: answer.headers, text: answered, json: parse(answered) };
  };
  const made = async (path: string, as: string, body: unknown, field: string): Promise<string> => {
    const { status, json, text: answered } = await call("POST", path, { as, body });
    if (status !== 201) throw new Error(`${path}: ${status} ${answered}`);
    return json[field];
  };
  return {
    url,
    state,
    operatorKey,
    call,
    stop,
    audit: () =>
      readFileSync(join(state, "vault-audit.jsonl"), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line)),
    agent: (name, fields) => made("/v1/agents", operatorKey, { name, ...fields }, "api_key"),
    token: (key, fields) => made("/v1/tokens", key, fields, "token"),
    prove(key, token, method, path, { headers = {}, ...rest } = {}) {
      const proof = makeProof(key, { method, url: url + (path.split("?")[0] ?? ""), token });
      return call(method, path, { ...rest, headers: { authorization: `DPoP ${token}`, dpop: proof, ...headers } });
    },
  };
};

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};
