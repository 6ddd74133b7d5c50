/**
 * For `check`: the routes whose secret could be guessed, as far as this machine can tell without asking anybody. Reads
 * files, variables and a vault that is there; must never make anything, run anything, or fail because it can't read.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Finding } from "../config/problem.ts";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import type { SidecarConfig } from "../sidecar/app/config/config.ts";
import type { SecretSource } from "../sidecar/secrets/source.ts";
import type { Vault } from "../vault/index.ts";
import type { Invocation } from "./command.ts";

type SourceConfig = SidecarConfig["sources"][number];

export const findWeakLocalSecrets = async (
  config: SidecarConfig,
  { environment }: Pick<Invocation, "environment">,
): Promise<readonly Finding[]> => {
  if (config.routes.length === 0) return [];
  const { findWeakSecrets } = await import("../sidecar/app/weak-secrets.ts");
  const vaults: Vault[] = [];
  const sources = new Map<string, SecretSource>();
  try {
    for (const declared of config.sources) {
      const source = await openQuietly(declared, config, environment, vaults).catch(() => undefined);
      if (source !== undefined) sources.set(declared.name, source);
    }
    return await findWeakSecrets(config, sources, systemClock);
  } finally {
    for (const vault of vaults) await vault.close();
  }
};

const openQuietly = async (
  { name, fields }: SourceConfig,
  config: SidecarConfig,
  environment: Invocation["environment"],
  vaults: Vault[],
): Promise<SecretSource | undefined> => {
  const { agent, baseDir, state: stateDir } = config;
  if (fields.kind === "local") {
    const directory = fields.path === undefined ? join(stateDir, "vault") : resolve(baseDir, fields.path);
    if (!existsSync(join(directory, "data.mdb"))) return undefined;
    const { openVault, vaultKeySource } = await import("../vault/index.ts");
    const keys = vaultKeySource({ credential: fields.key, baseDir, stateDir, environment });
    const vault = await openVault({ directory, keys, clock: systemClock });
    vaults.push(vault);
    return {
      name,
      fetch: async ({ path, version }) => ({
        value: (await vault.secrets.get(path, version === undefined ? undefined : Number(version))).value,
      }),
    };
  }
  const { sourceKinds } = await import("../sidecar/secrets/kinds/index.ts");
  const deps = { name, agent, baseDir, stateDir, clock: systemClock, environment, log: silentLog, paths: [] };
  for (const kind of sourceKinds) {
    if (kind.kind !== fields.kind || (kind.kind !== "file" && kind.kind !== "env")) continue;
    return kind.create(fields as never, deps);
  }
  return undefined;
};
