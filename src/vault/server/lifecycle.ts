/**
 * The life of `vault serve`: everything is opened and checked before the port opens; whatever fails on the way closes what
 * was opened. Closing drains first.
 */
import type { Server as SecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { openAudit } from "../../audit/index.ts";
import type { Environment } from "../../config/credential.ts";
import { formatBound, listen } from "../../config/listen.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { createCloser } from "../../core/closer.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { readVersion } from "../../core/version.ts";
import { createVaultAudit } from "../audit.ts";
import { createAnswering } from "./answering.ts";
import { createApp } from "./app.ts";
import { createApprovalTeller } from "./approval-news.ts";
import { createAuthenticate } from "./callers/auth.ts";
import { createBudget } from "./callers/budget.ts";
import { createRanges } from "./callers/network.ts";
import type { Principal } from "./callers/principal.ts";
import { requireStanding } from "./callers/standing.ts";
import { startChores } from "./chores.ts";
import type { VaultServerConfig } from "./config/model.ts";
import { openEventHub } from "./event-hub.ts";
import { createDrain } from "./http/drain.ts";
import type { SocketLimits } from "./http/server.ts";
import { readTls, watchCertificate } from "./http/tls.ts";
import { openStore } from "./open-store.ts";
import { createCalls } from "./routes/index.ts";

/** Time that requests in flight get when the server stops. `ms` */
const GRACE_MS = 30_000;

export interface ServeOptions {
  readonly config: VaultServerConfig;
  readonly environment: Environment;
  readonly log: Log;
  /** Default the system's. */
  readonly clock?: Clock;
  /** Other times than usual, for tests. */
  readonly sockets?: Omit<SocketLimits, "connections" | "perAddress" | "isProxy">;
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
  /** Reads the certificate again; whether it could be used. True without one. */
  reload(): boolean;
  /** Stops accepting, lets requests in flight end within `graceMs` (30 s), closes everything. */
  drain(graceMs?: number): Promise<void>;
}

/** Errors: those of the store, VAULT_SERVER_NO_OPERATOR, VAULT_SERVER_TLS, CONFIG_INVALID, AUDIT_LOCKED, AUDIT_*. */
export const startVaultServer = async (options: ServeOptions): Promise<VaultServer> => {
  const { config, environment, log, clock = systemClock, sockets } = options;
  const version = readVersion();
  const closer = createCloser();
  try {
    prepareStateDirectory(config.state);
    const tls = config.tls === undefined ? undefined : readTls(config.tls);
    const vault = closer.add(await openStore({ config, environment, clock, log }));
    if (!(await vault.agents.hasOperator())) throw new SidekeyError("VAULT_SERVER_NO_OPERATOR");
    // The first token would wait until all descriptions are opened; nobody waits yet.
    await vault.secrets.tierOf([]).catch((error: unknown) => {
      log.warn("not all secrets can be described", { fault: toSidekeyError(error).code });
    });
    const { path, key: keyPath, ...auditing } = config.audit;
    const broker = await openAudit({ ...auditing, path, keyPath, clock, log, agent: "vault", lock: true });
    const audit = closer.add(createVaultAudit({ broker, clock, log }));
    const hub = closer.add(await openEventHub(vault.changes, log));
    const { baseDir, approvals } = config;
    const { webhook } = approvals;
    const teller = closer.add(
      createApprovalTeller({ webhook, news: vault.approvalNews, baseDir, environment, clock, log }),
    );
    closer.add(startChores(vault, audit, teller, log));
    const drain = createDrain();
    let document = "";
    let bound: AddressInfo | string = "";
    const calls = createCalls({
      vault,
      audit,
      hub,
      teller,
      config,
      clock,
      log,
      version,
      document: () => document,
      draining: drain.isDraining,
    });
    const {
      requestsPerMinute,
      failuresPerMinute,
      body,
      connections,
      connectionsPerAddress: perAddress,
    } = config.limits;
    const stands = (principal: Principal): Promise<void> => requireStanding({ vault, clock }, principal);
    const requests = requestsPerMinute === undefined ? undefined : createBudget(requestsPerMinute, clock);
    const app = closer.add(
      await createApp({
        calls,
        clock,
        requireStanding: stands,
        answer: createAnswering({ vault, audit, clock, requireStanding: stands }),
        authenticate: createAuthenticate({
          vault,
          clock,
          replays: vault.replays,
          requests,
          failuresPerMinute,
          origins: () => originsOf(config, bound),
        }),
        audit,
        log,
        version,
        tls,
        limits: { body, connections, perAddress, isProxy: createRanges(config.trustedProxies), ...sockets },
        requests,
        trustedProxies: config.trustedProxies,
        publicUrls: config.publicUrls,
        nonce: () => vault.proofNonces.current(),
        draining: drain.isDraining,
      }),
    );
    document = JSON.stringify(app.document);
    const certificate =
      config.tls === undefined
        ? undefined
        : closer.add(watchCertificate(app.server as unknown as SecureServer, config.tls, log));
    bound = await listen(app.server, config.listen, "listen");
    return {
      ready: { pid: process.pid, address: addressOf(config, bound), storage: config.storage.kind },
      reload: () => certificate?.reload() ?? true,
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

const schemeOf = ({ tls }: VaultServerConfig): string => (tls === undefined ? "http" : "https");

const addressOf = (config: VaultServerConfig, bound: AddressInfo | string): string =>
  typeof bound === "string" ? formatBound(bound) : `${schemeOf(config)}://${formatBound(bound)}`;

/** What clients may call it by: what the file says, the address itself, and on this machine its usual names. */
const originsOf = (config: VaultServerConfig, bound: AddressInfo | string): readonly string[] => {
  if (typeof bound === "string") return [...config.publicUrls, "http://localhost"];
  const isLocal = bound.address === "::1" || bound.address.startsWith("127.");
  const names = [
    formatBound(bound),
    ...(isLocal ? ["localhost", "127.0.0.1", "[::1]"] : []).map((name) => `${name}:${bound.port}`),
  ];
  return [...config.publicUrls, ...names.map((name) => new URL(`${schemeOf(config)}://${name}`).origin)];
};
