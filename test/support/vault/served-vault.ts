/** A vault server in this process, on a port of its own, over a store of its own, until it is closed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import { type Log, silentLog } from "../../../src/core/log.ts";
import { openVault, vaultKeySource } from "../../../src/vault/index.ts";
import { loadVaultConfig } from "../../../src/vault/server/config/config.ts";
import { type ServeOptions, startVaultServer } from "../../../src/vault/server/lifecycle.ts";
import { createTestAuthority } from "../certificates.ts";

export interface ServedVault {
  readonly address: string;
  readonly operatorKey: string;
  readonly state: string;
  /** PEM, with TLS. */
  readonly ca?: string;
  /** Ends the server and leaves its files; a second call does nothing. */
  stop(): Promise<void>;
  /** Ends the server and removes its files. */
  close(): Promise<void>;
}

export interface ServedVaultOptions {
  readonly tls?: boolean;
  /** More lines of vault.yaml. */
  readonly yaml?: string;
  readonly clock?: Clock;
  readonly environment?: Readonly<Record<string, string>>;
  readonly sockets?: ServeOptions["sockets"];
  readonly log?: Log;
  /** Before the server starts. */
  prepare?(state: string): Promise<void>;
}

export const startServedVault = async (options: ServedVaultOptions = {}): Promise<ServedVault> => {
  const { tls = false, yaml = "", environment = {}, prepare, clock = systemClock, sockets, log = silentLog } = options;
  const directory = mkdtempSync(join(tmpdir(), "sidekey-vault-"));
  const authority = tls ? await createTestAuthority() : undefined;
  const certificate = await authority?.issue({ names: ["localhost"] });
  if (certificate !== undefined) {
    writeFileSync(join(directory, "tls.pem"), certificate.cert, { mode: 0o600 });
    writeFileSync(join(directory, "tls.key"), certificate.key, { mode: 0o600 });
  }
  const secured = tls ? "tls: { cert: tls.pem, key: tls.key }\n" : "";
  const text = `version: 1\nlisten: 127.0.0.1:0\nstate: .sidekey\n${secured}${yaml}`;
  const loaded = loadVaultConfig({ file: join(directory, "vault.yaml"), text });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const { config } = loaded;
  const { baseDir, state, key: credential } = config;
  const keys = vaultKeySource({ credential, baseDir, stateDir: state, environment });
  const vault = await openVault({ directory: join(state, "vault"), keys, clock: systemClock });
  const { key: operatorKey } = await vault.agents.create({ name: "operator", kind: "operator" });
  await vault.close();
  await prepare?.(state);
  const server = await startVaultServer({
    config,
    environment,
    log,
    clock,
    ...(sockets !== undefined && { sockets }),
  });
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    await server.drain(100);
  };
  return {
    // The name that the certificate has.
    address: tls ? server.ready.address.replace("127.0.0.1", "localhost") : server.ready.address,
    operatorKey,
    state,
    ...(authority !== undefined && { ca: authority.certificatePem }),
    stop,
    async close() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
};
