/**
 * Tells who makes a request, from its Authorization and DPoP headers and nothing else. Whatever is wrong with a key or a
 * token, the answer is the same 401; what was wrong is for the audit. Must never put a key or token, or part of one,
 * anywhere.
 */
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { verifyProof } from "../../../identity/dpop.ts";
import type { AnyVault, VerifiedToken } from "../../index.ts";
import type { ReplayGuard } from "../../tokens/replay-guard.ts";
import { type Budget, createBudget } from "./budget.ts";
import { networkOf } from "./network.ts";
import { budgetKeyOf, type Principal, type TokenPrincipal } from "./principal.ts";

export interface Credentials {
  readonly authorization: string | undefined;
  /** The DPoP header. */
  readonly proof: string | undefined;
  /** As they were sent; the target with its query. */
  readonly method: string;
  readonly target: string;
  readonly ip: string;
}

export type Authenticate = (credentials: Credentials) => Promise<Principal>;

export interface AuthOptions {
  readonly vault: Pick<AnyVault, "agents" | "tokens" | "sidecars" | "proofNonces">;
  readonly clock: Clock;
  readonly replays: ReplayGuard;
  /** What the server counts requests by, so that a proof past them costs nothing; undefined = no limit. */
  readonly requests: Pick<Budget, "excess"> | undefined;
  /** Wrong keys and tokens of one address within a minute; of IPv6, of one /64. */
  readonly failuresPerMinute: number;
  /** What clients may write in front of the path: `https://vault.example.com`. */
  readonly origins: () => readonly string[];
}

/** Longer than any token with its scopes; the header limit is 16 KiB. */
const MAX_CREDENTIAL = 12 * 1024;
const CREDENTIAL = /^(Bearer|DPoP) +([A-Za-z0-9._~+/=-]+)$/i;
const KEY = /^(?:ask_op_|ast_agent_)/;
/** Keys and tokens that were right a while ago are not held up by somebody who guesses from the same address. */
const KNOWN_FOR_MS = 10 * 60_000;
const MAX_KNOWN = 5_000;

/**
 * Errors: IDENTITY_KEY_INVALID, IDENTITY_TOKEN_INVALID, _EXPIRED, _REVOKED, IDENTITY_ADDRESS, IDENTITY_PROOF_INVALID,
 * IDENTITY_PROOF_STALE, IDENTITY_SIDECAR_REVOKED, VAULT_SERVER_RATE_LIMITED.
 */
export const createAuthenticate = (options: AuthOptions): Authenticate => {
  const { vault, clock, failuresPerMinute } = options;
  const failures = createBudget(failuresPerMinute, clock);
  const known = new LRUCache<string, true>({ max: MAX_KNOWN, ttl: KNOWN_FOR_MS, perf: { now: clock.monotonic } });

  const identify = async (credentials: Credentials): Promise<Principal> => {
    const { authorization = "" } = credentials;
    const [, scheme = "", text = ""] =
      authorization.length > MAX_CREDENTIAL ? [] : (CREDENTIAL.exec(authorization) ?? []);
    const isBearer = scheme.toLowerCase() === "bearer";
    // A key is looked up whatever it looks like; what is no credential at all is the key of nobody.
    if (text === "" || (isBearer && KEY.test(text))) {
      const agent = await vault.agents.authenticate(text);
      return { kind: agent.kind, agent };
    }
    const token = await vault.tokens.verify(text, { ip: credentials.ip });
    if (!isBearer) return provenToken(token, text, credentials, options);
    if (token.jkt !== undefined) {
      // One that may only be used reads nothing, whoever shows it, and whatever proof came with it.
      const isForUse = token.scopes.every(({ action }) => action === "use");
      throw new SidekeyError(isForUse ? "IDENTITY_SCOPE_DENIED" : "IDENTITY_PROOF_INVALID", {
        detail: "The token is bound to a key.",
      });
    }
    return { kind: "token", token, proof: undefined, isSidecar: false };
  };

  return async (credentials) => {
    const { authorization, ip } = credentials;
    if (authorization === undefined) return { kind: "anonymous" };
    const network = networkOf(ip);
    const hash = createHash("sha256").update(authorization).digest("base64");
    const wait = known.has(hash) ? undefined : failures.excess(network);
    if (wait !== undefined) throw new SidekeyError("VAULT_SERVER_RATE_LIMITED", { retryAfter: wait });
    try {
      const principal = await identify(credentials);
      known.set(hash, true);
      return principal;
    } catch (error) {
      if (isGuess(error)) {
        known.delete(hash);
        failures.spend(network);
      }
      throw error;
    }
  };
};

/** A store that cannot be asked is nobody's guess, nor is a proof whose nonce is missing. */
const isGuess = (error: unknown): boolean =>
  error instanceof SidekeyError && error.code.startsWith("IDENTITY_") && error.code !== "IDENTITY_PROOF_STALE";

const provenToken = async (
  token: VerifiedToken,
  text: string,
  { proof, method, target }: Credentials,
  { vault, clock, replays, requests, origins }: AuthOptions,
): Promise<TokenPrincipal> => {
  const bearer: TokenPrincipal = { kind: "token", token, proof: undefined, isSidecar: false };
  const wait = requests?.excess(budgetKeyOf(bearer) ?? "");
  if (wait !== undefined) throw new SidekeyError("VAULT_SERVER_RATE_LIMITED", { retryAfter: wait });
  if (proof === undefined) throw new SidekeyError("IDENTITY_PROOF_INVALID", { detail: "There is none." });
  const path = target.split("?")[0] ?? "";
  const { jkt, id, usableUntil } = await verifyProof(proof, {
    method,
    url: originOf(proof, origins()) + path,
    token: text,
    nonceUntil: await vault.proofNonces.judge(),
    now: clock.now(),
  });
  if (token.jkt !== undefined && token.jkt !== jkt) {
    throw new SidekeyError("IDENTITY_PROOF_INVALID", { detail: "It was made with another key than the token's." });
  }
  const { agentId } = token;
  const sidecar = agentId === undefined ? undefined : await vault.sidecars.find(agentId, jkt);
  if (sidecar?.revokedAt !== undefined) throw new SidekeyError("IDENTITY_SIDECAR_REVOKED");
  // A key that is nobody's proves nothing: it is a bearer of the token, and must not fill the memory for the others.
  if (sidecar === undefined && token.jkt === undefined) return { ...bearer, proof: jkt };
  if (!(await replays.firstUse(id, usableUntil, agentId ?? token.agent))) {
    throw new SidekeyError("IDENTITY_PROOF_INVALID", { detail: "It was used before." });
  }
  return { ...bearer, proof: jkt, isSidecar: true };
};

/**
 * Which of our names the proof was made for; the proof is checked against it afterwards. One that names none of them is
 * held against the first, and fails. Never by the Host header: whoever sends it chooses it.
 */
const originOf = (proof: string, origins: readonly string[]): string => {
  const [first = "http://localhost"] = origins;
  try {
    const { htu }: { readonly htu?: unknown } = JSON.parse(
      Buffer.from(proof.split(".")[1] ?? "", "base64url").toString("utf8"),
    );
    const { origin } = new URL(String(htu));
    return origins.find((known) => known === origin) ?? first;
  } catch {
    return first;
  }
};
