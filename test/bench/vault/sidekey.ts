/** The built `sidekey vault serve` with its defaults: audit on, in a file of its own. */
import { spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SUBJECT_CORE } from "../processes.ts";
import { noDatabase } from "./database.ts";
import { callJson, eachSecret, type RunningVault, secretValue, type VaultBench, type VaultSubject } from "./subject.ts";

const MAIN = fileURLToPath(new URL("../../../dist/main.js", import.meta.url));
const READY = "sidekey vault ready ";
const AUTHORITY = "api.bench.test";

const pathOf = (index: number): string => `production/service-${index}/key`;

const start = async (storage: VaultSubject["storage"], bench: VaultBench): Promise<RunningVault> => {
  const directory = await mkdtemp(join(bench.directory, "sidekey-vault-"));
  const file = join(directory, "vault.yaml");
  const url = storage === "postgres" ? await bench.database?.create() : undefined;
  const lines = ["version: 1", "listen: 127.0.0.1:0", "state: ./.sidekey"];
  if (url !== undefined) {
    await writeFile(join(directory, "url"), url, { mode: 0o600 });
    lines.push("storage: { kind: postgres, url: { file: ./url } }");
  }
  await writeFile(file, `${lines.join("\n")}\n`);
  const operator = initVault(directory, file);
  const command = [process.execPath, ...bench.nodeArguments, MAIN, "vault", "serve", "-c", file, "--log-level", "warn"];
  const server = bench.launcher.start(SUBJECT_CORE, command, { cwd: directory });
  const line = await server.firstLine;
  if (!line.startsWith(READY)) throw new Error(`sidekey vault serve printed: ${line}`);
  const ready = JSON.parse(line.slice(READY.length)) as { readonly pid: number; readonly address: string };
  const port = Number(ready.address.slice(ready.address.lastIndexOf(":") + 1));

  const asOperator = { authorization: `Bearer ${operator}` };
  for (const index of eachSecret((at) => at))
    await callJson(port, "PUT", `/v1/secrets/${pathOf(index)}`, asOperator, { value: secretValue(index) });
  const agent = await callJson(port, "POST", "/v1/agents", asOperator, {
    name: "bench",
    allowed_scopes: ["secrets:*:production/*", "secrets:use:production/*"],
  });
  const asAgent = { authorization: `Bearer ${agent.api_key}` };
  const issue = async (action: string, more: object): Promise<string> => {
    const body = { scopes: [`secrets:${action}:production/*`], ttl: "1h", ...more };
    return (await callJson(port, "POST", "/v1/tokens", asAgent, body)).token;
  };
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { kty, crv, x, y } = publicKey.export({ format: "jwk" });
  const { jkt } = await callJson(port, "POST", "/v1/sidecars", asAgent, { name: "bench", jwk: { kty, crv, x, y } });
  const reader = await issue("read", {});
  const writer = await issue("write", {});
  const bound = await issue("use", { dpop_jkt: jkt });

  const exchange: RunningVault["exchange"] = (operation) => {
    switch (operation) {
      case "read":
        return {
          method: "GET",
          requests: eachSecret((index) => ({ path: `/v1/secrets/${pathOf(index)}` })),
          headers: { Authorization: `Bearer ${reader}` },
          status: 200,
          contains: '"value":"sk-bench-',
        };
      case "issue":
        return {
          method: "POST",
          requests: eachSecret((index) => ({
            path: "/v1/tokens",
            body: { scopes: [`secrets:read:${pathOf(index)}`], ttl: "1h" },
          })),
          headers: { Authorization: asAgent.authorization },
          status: 201,
          contains: '"token":"',
        };
      case "redeem":
        return {
          method: "POST",
          requests: eachSecret((index) => ({
            path: "/v1/redeem",
            body: { path: pathOf(index), authority: AUTHORITY },
          })),
          headers: { Authorization: `DPoP ${bound}` },
          status: 200,
          contains: '"value":"sk-bench-',
          proof: { keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), token: bound },
        };
      case "write":
        return {
          method: "PUT",
          requests: eachSecret((index) => ({
            path: `/v1/secrets/${pathOf(index)}`,
            body: { value: secretValue(index) },
          })),
          headers: { Authorization: `Bearer ${writer}` },
          status: 200,
          contains: '"version":',
        };
    }
  };
  return {
    process: server,
    pid: ready.pid,
    port,
    exchange,
    async close() {
      await server.close();
      const log = readFileSync(join(directory, ".sidekey/vault-audit.jsonl"), "latin1");
      if (!/"event":"(?:secret|token)\./.test(log)) throw new Error("sidekey wrote no audit records");
    },
  };
};

/** The operator's key. */
const initVault = (directory: string, file: string): string => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "vault", "init", "-c", file, "--json"], {
    cwd: directory,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`sidekey vault init: ${stderr}`);
  return (JSON.parse(stdout) as { readonly operator_key: string }).operator_key;
};

const sidekey = (storage: VaultSubject["storage"]): VaultSubject => ({
  name: storage === "postgres" ? "sidekey postgres" : "sidekey lmdb",
  storage,
  isReference: false,
  unavailable: () =>
    (existsSync(MAIN) ? undefined : "dist/main.js is missing (npm run build)") ??
    (storage === "postgres" ? noDatabase() : undefined),
  start: (bench) => start(storage, bench),
});

export const SIDEKEY: readonly VaultSubject[] = [sidekey("embedded"), sidekey("postgres")];
