/** The vault server in this process for as long as a suite lasts, over a store of its own. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openVault, vaultKeySource } from "../../src/vault/index.ts";
import { loadVaultConfig } from "../../src/vault/server/config/config.ts";
import { startVaultServer } from "../../src/vault/server/lifecycle.ts";
import { createTestAuthority } from "./certificates.ts";

export interface ServedVault {
  readonly address: string;
  readonly operatorKey: string;
  /** PEM, with TLS. */
  readonly ca?: string;
  close(): Promise<void>;
}

export const startServedVault = async ({ tls = false }: { readonly tls?: boolean } = {}): Promise<ServedVault> => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-served-"));
  const authority = tls ? await createTestAuthority() : undefined;
  const certificate = await authority?.issue({ names: ["localhost"] });
  if (certificate !== undefined) {
    writeFileSync(join(directory, "tls.pem"), certificate.cert, { mode: 0o600 });
    writeFileSync(join(directory, "tls.key"), certificate.key, { mode: 0o600 });
  }
  const text = `version: 1\nlisten: 127.0.0.1:0\nstate: .sidekey\n${tls ? "tls: { cert: tls.pem, key: tls.key }\n" : ""}`;
  const loaded = loadVaultConfig({ file: join(directory, "vault.yaml"), text });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const { config } = loaded;
  const { baseDir, state, key: credential } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir: state, environment: {} });
  const vault = await openVault({ directory: join(state, "vault"), keys, clock: systemClock });
  const { key: operatorKey } = await vault.agents.create({ name: "operator", kind: "operator" });
  await vault.close();
  const server = await startVaultServer({ config, environment: {}, log: silentLog });
  return {
    address: server.ready.address.replace(/127\.0\.0\.1|\[::1\]/, tls ? "localhost" : "127.0.0.1"),
    operatorKey,
    ...(authority !== undefined && { ca: authority.certificatePem }),
    async close() {
      await server.drain(100);
      rmSync(directory, { recursive: true, force: true });
    },
  };
};
