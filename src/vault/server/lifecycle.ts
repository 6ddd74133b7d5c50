/**
 * The life of `vault serve`: everything is opened and checked before the port opens; whatever fails on the way closes what
 * was opened. Closing drains first.
 */
import type { Environment } from "../../config/credential.ts";
import { formatBound, listen } from "../../config/listen.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { createCloser } from "../../core/closer.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { readVersion } from "../../core/version.ts";
import { openVault, storeExists, vaultKeySource } from "../index.ts";
import { createApp } from "./app.ts";
import { createAuthenticate } from "./auth.ts";
import type { VaultServerConfig } from "./config-model.ts";
import { createDrain } from "./drain.ts";
import { openOperatorFile } from "./operator-file.ts";
import { createCalls } from "./routes/index.ts";

/** Time that requests in flight get when the server stops. `ms` */
const GRACE_MS = 30_000;

export interface ServeOptions {
  readonly config: VaultServerConfig;
  readonly environment: Environment;
  readonly log: Log;
  /** Default the system's. */
  readonly clock?: Clock;
}

/** The JSON of the ready line. */
export interface VaultReady {
  readonly pid: number;
  /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. */
  readonly address: string;
  readonly storage: "lmdb" | "postgres";
}

export interface VaultServer {
  readonly ready: VaultReady;
  /** Stops accepting, lets requests in flight end within `graceMs` (30 s), closes everything. */
  drain(graceMs?: number): Promise<void>;
}

/** Errors: those of the store, VAULT_SERVER_NO_OPERATOR, VAULT_SERVER_TLS, CONFIG_INVALID, AUDIT_LOCKED, AUDIT_*. */
export const startVaultServer = async (options: ServeOptions): Promise<VaultServer> => {
  const { config, environment, log, clock = systemClock } = options;
  const closer = createCloser();
  try {
    prepareStateDirectory(config.state);
    if (config.storage.kind !== "lmdb") throw new SidekeyError("CONFIG_INVALID", { detail: "storage.kind: postgres" });
    const { directory } = config.storage;
    if (!(await storeExists(directory))) throw new SidekeyError("VAULT_SERVER_NO_OPERATOR", { detail: directory });
    const operators = openOperatorFile(config.state);
    if (operators === undefined) throw new SidekeyError("VAULT_SERVER_NO_OPERATOR", { detail: directory });
    const { baseDir, state: stateDir, key: credential } = config;
    const keys = vaultKeySource({ credential, baseDir, stateDir, environment });
    const vault = closer.add(await openVault({ directory, keys, clock }));
    const drain = createDrain();
    const app = closer.add(
      await createApp({
        calls: createCalls({ vault, config, clock, log, version: readVersion() }),
        authenticate: createAuthenticate(vault, operators),
        log,
        tls: undefined,
        limits: config.limits,
        trustedProxies: config.trustedProxies,
        draining: drain.isDraining,
      }),
    );
    const bound = formatBound(await listen(app.server, config.listen, "listen"));
    const scheme = config.tls === undefined ? "http" : "https";
    return {
      ready: {
        pid: process.pid,
        address: bound.startsWith("unix:") ? bound : `${scheme}://${bound}`,
        storage: config.storage.kind,
      },
      async drain(graceMs = GRACE_MS) {
        await drain.stop(app.server, graceMs);
        await closer.close();
      },
    };
  } catch (error) {
    await closer.close().catch((failure: unknown) => log.warn("not all could be closed", { failure: String(failure) }));
    throw error;
  }
};
