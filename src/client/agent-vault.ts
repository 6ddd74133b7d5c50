/**
 * The client of a vault's API: what programs use, and what the sidecar's `sidekey` source and the command line are built
 * on. Connects to one address and nowhere else; keeps keys, tokens and values out of errors, `inspect` and JSON.
 */
import { setTimeout as pauseFor } from "node:timers/promises";
import * as z from "zod";
import { type Clock, systemClock } from "../core/clock.ts";
import type { SecretValue } from "../core/secret-value.ts";
import { type AgentsApi, createAgentsApi } from "./agents.ts";
import { type ApprovalsApi, createApprovalsApi } from "./approvals.ts";
import { type AuditPage, type AuditRequest, readAudit } from "./audit.ts";
import { type AuditExportRequest, exportLines } from "./audit-export.ts";
import { type Calls, createCalls } from "./calls.ts";
import { type Credentials, createCredentials, type Held } from "./credentials.ts";
import { type EventsRequest, type VaultEvent, vaultEvents } from "./events.ts";
import { type Imported, type ImportRequest, importEnv } from "./import-env.ts";
import { allPages } from "./pages.ts";
import type { ProofKey } from "./proof.ts";
import { type Redeemed, type RedeemRequest, redeem, type Unchanged } from "./redeem.ts";
import {
  createSecretsApi,
  type ListRequest,
  type ReadOptions,
  type RotateOptions,
  type SecretInfo,
  type SecretRecord,
  type SecretsApi,
  type SecretVersion,
  type WriteOptions,
} from "./secrets.ts";
import { createSidecarsApi, type SidecarsApi } from "./sidecars.ts";
import { createTokensApi, type IssuedToken, type TokenRequest, type TokensApi } from "./tokens.ts";
import { parseVaultAddress } from "./transport/address.ts";
import type { RetryPolicy } from "./transport/retry.ts";
import { createWire, type Wire } from "./transport/wire.ts";

export interface AgentVaultOptions {
  /** `https://HOST[:PORT]`; `http://` only for this machine. */
  readonly address: string;
  /** At most one of these three. */
  readonly operatorKey?: string;
  readonly agentKey?: string;
  /** A function is asked on every call. */
  readonly token?: string | (() => string);
  /** The sidecar's own, for `redeem`, `events` and tokens that are bound to it. */
  readonly sidecarKey?: ProofKey;
  /** PEM; trusted in place of the system's roots. */
  readonly ca?: string;
  /** For a vault that asks its clients for one. PEM. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** To connect, to the head of the answer, and for its body, each. Default 10 s. `ms` */
  readonly timeoutMs?: number;
  /** Repetitions of a call that may be repeated. Default 2. */
  readonly retries?: number;
}

/** What a test passes in. */
export interface AgentVaultParts {
  readonly clock?: Pick<Clock, "now">;
  readonly random?: () => number;
  readonly pause?: RetryPolicy["pause"];
}

export interface Health {
  readonly status: string;
  readonly version?: string;
  readonly service?: string;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_RETRIES = 2;
const MAX_RETRIES = 100;
/** Node takes a longer time for 1 ms. `ms` */
const LONGEST_TIMER = 2 ** 31 - 1;
/** A value has 64 KiB at most; a listing has a page of them. `bytes` */
const MAX_ANSWER = 8 * 1024 * 1024;

const healthSchema = z.object({
  status: z.string().max(64),
  version: z.string().max(64).optional(),
  service: z.string().max(64).optional(),
});

export class AgentVault {
  readonly agents: AgentsApi;
  readonly sidecars: SidecarsApi;
  readonly approvals: ApprovalsApi;
  readonly tokens: TokensApi;
  readonly #secrets: SecretsApi;
  readonly #calls: Calls;
  readonly #credentials: Credentials;
  readonly #retry: RetryPolicy;
  readonly #wire: Wire;

  /** Errors: CLIENT_BAD_ADDRESS, CLIENT_REFUSED (ca, certificate); TypeError for more than one key or token, and for numbers that are none. */
  constructor(options: AgentVaultOptions, parts: AgentVaultParts = {}) {
    const { sidecarKey, ca, certificate, timeoutMs = DEFAULT_TIMEOUT_MS, retries = DEFAULT_RETRIES } = options;
    const { clock = systemClock, random = Math.random, pause = pauseWith } = parts;
    requireNumber("timeoutMs", timeoutMs, 1, LONGEST_TIMER);
    requireNumber("retries", retries, 0, MAX_RETRIES);
    const address = parseVaultAddress(options.address);
    this.#retry = { retries, random, pause };
    this.#wire = createWire({ address, ca, certificate, timeoutMs, clock, maxAnswer: MAX_ANSWER });
    this.#calls = createCalls({ wire: this.#wire, address, retry: this.#retry, clock });
    this.#credentials = createCredentials({
      held: heldOf(options),
      proofKey: sidecarKey,
      clock,
      issue: (scope, ttl) => this.tokens.request({ scopes: [scope], ttl }),
    });
    this.tokens = createTokensApi(this.#calls, this.#credentials);
    this.agents = createAgentsApi(this.#calls, this.#credentials);
    this.sidecars = createSidecarsApi(this.#calls, this.#credentials);
    this.approvals = createApprovalsApi(this.#calls, this.#credentials);
    this.#secrets = createSecretsApi(this.#calls, this.#credentials);
  }

  /**
   * Whom it believes and what it shows from the next connection on, in place of `ca` and `certificate`: certificates are
   * renewed. Connections that are open stay. Errors: CLIENT_REFUSED; then nothing has changed.
   */
  useTls(material: Pick<AgentVaultOptions, "ca" | "certificate">): void {
    this.#wire.useTls(material);
  }

  /** A token within what the key may; the same as `tokens.request`. Errors: CLIENT_APPROVAL_REQUIRED and the others. */
  requestToken(request: TokenRequest): Promise<IssuedToken> {
    return this.tokens.request(request);
  }

  /** The value as text. Errors: CLIENT_SECRET_MISSING, CLIENT_SCOPE_DENIED, CLIENT_APPROVAL_REQUIRED and the others. */
  async getSecret(path: string, options?: ReadOptions): Promise<string> {
    const { value } = await this.#secrets.read(path, options);
    return value.lend((bytes) => bytes.toString("utf8"));
  }

  /** The value, which prints as `[redacted]`, with what the vault says about it. Errors: as `getSecret`. */
  getSecretRecord(path: string, options?: ReadOptions): Promise<SecretRecord> {
    return this.#secrets.read(path, options);
  }

  /** Stores a new version, or the first one. */
  setSecret(path: string, value: SecretValue | string, options?: WriteOptions): Promise<SecretInfo> {
    return this.#secrets.write(path, value, options);
  }

  /** A new value and an end to the old ones; without a value the vault makes one (type `custom` only). */
  rotateSecret(path: string, value?: SecretValue | string, options?: RotateOptions): Promise<SecretInfo> {
    return this.#secrets.rotate(path, value, options);
  }

  /** A new version with the value of an older one. */
  rollback(path: string, version: number, options?: { readonly token?: string }): Promise<SecretInfo> {
    return this.#secrets.rollback(path, version, options);
  }

  deleteSecret(path: string, options?: { readonly token?: string }): Promise<void> {
    return this.#secrets.remove(path, options);
  }

  /** Never a value. */
  history(path: string, options?: ReadOptions): Promise<readonly SecretVersion[]> {
    return this.#secrets.history(path, options);
  }

  /** What the key or token covers, of one namespace or all: every page, or the one that is asked for. Never a value. */
  async listSecrets(request: ListRequest | string = {}): Promise<readonly SecretInfo[]> {
    const asked = typeof request === "string" ? { namespace: request } : request;
    if (asked.page === undefined && asked.limit === undefined) {
      return allPages((page) => this.#secrets.list({ ...asked, ...page }));
    }
    return (await this.#secrets.list(asked)).items;
  }

  importEnv(request: ImportRequest): Promise<Imported> {
    return importEnv(this.#calls, this.#credentials, request);
  }

  /** Ends a token by its id. */
  revoke(tokenId: string): Promise<void> {
    return this.tokens.revoke(tokenId);
  }

  /** For operators. */
  audit(request: AuditRequest = {}): Promise<AuditPage> {
    return readAudit(this.#calls, this.#credentials, request);
  }

  /** For operators: the audit's lines as they are stored, oldest first. */
  auditLines(request: AuditExportRequest = {}): AsyncGenerator<string, void, undefined> {
    return exportLines(this.#calls, this.#credentials, request);
  }

  /** A value for one authority, proved with the sidecar's key. */
  redeem(request: RedeemRequest): Promise<Redeemed | Unchanged> {
    return redeem(this.#calls, this.#credentials, request);
  }

  /** What happens to what the token covers, for as long as it is iterated over. */
  events(request: EventsRequest = {}): AsyncGenerator<VaultEvent, void, undefined> {
    return vaultEvents(this.#calls, this.#credentials, this.#retry, request);
  }

  /** Errors: CLIENT_UNAVAILABLE when the vault cannot do its work. */
  health(request: { readonly signal?: AbortSignal } = {}): Promise<Health> {
    const call = { method: "GET", path: "/v1/health", credential: { kind: "none" }, repeatable: true } as const;
    return this.#calls.json({ ...call, ...request }, healthSchema) as Promise<Health>;
  }

  /** Ends its connections, those of calls under way as well; later calls make new ones. */
  close(): void {
    this.#wire.close();
  }
}

const requireNumber = (name: string, value: number, least: number, most: number): void => {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`${name} is a whole number from ${least} to ${most}.`);
  }
};

const heldOf = ({ operatorKey, agentKey, token }: AgentVaultOptions): Held => {
  if ([operatorKey, agentKey, token].filter((one) => one !== undefined).length > 1) {
    throw new TypeError("Give one of operatorKey, agentKey and token.");
  }
  if (operatorKey !== undefined) return { kind: "key", secret: operatorKey, isAgent: false };
  if (agentKey !== undefined) return { kind: "key", secret: agentKey, isAgent: true };
  if (token === undefined) return { kind: "nothing" };
  return { kind: "token", token: typeof token === "function" ? token : () => token };
};

const pauseWith = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  pauseFor(ms, undefined, signal === undefined ? {} : { signal });
