/** A vault server in this process, on a port of its own, over a store of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openVault, vaultKeySource } from "../../src/vault/index.ts";
import { loadVaultConfig } from "../../src/vault/server/config.ts";
import { startVaultServer } from "../../src/vault/server/lifecycle.ts";

export interface TestVault {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly state: string;
  readonly operatorKey: string;
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

export interface TestVaultOptions {
  /** More lines of vault.yaml. */
  readonly yaml?: string;
  /** Before the server starts. */
  prepare?(state: string): Promise<void>;
}

export const startTestVault = async ({ yaml = "", prepare }: TestVaultOptions = {}): Promise<TestVault> => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-vault-"));
  const text = `version: 1\nlisten: 127.0.0.1:0\nstate: .sidekey\n${yaml}`;
  const loaded = loadVaultConfig({ file: join(directory, "vault.yaml"), text });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const { config } = loaded;
  const { baseDir, state, key: credential } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir: state, environment: {} });
  const vault = await openVault({ directory: join(state, "vault"), keys, clock: systemClock });
  const { key: operatorKey } = await vault.agents.create({ name: "operator", kind: "operator" });
  await vault.close();
  await prepare?.(state);
  const server = await startVaultServer({ config, environment: {}, log: silentLog });
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    await server.drain(100);
  };
  onTestFinished(async () => {
    await stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const url = server.ready.address;
  return {
    url,
    state,
    operatorKey,
    async call(method, path, { body, as = operatorKey, headers = {} } = {}) {
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
    },
    stop,
  };
};

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};
