/** What may be asked of a token, checked before one is made. */
import type { EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { parseCidr } from "../../core/ip.ts";
import { formatScopes, parseScopes, type Scope } from "../../identity/scope.ts";
import type { AccessTier } from "../../identity/tier.ts";
import type { TokenClaims, TokenReads } from "../../identity/token.ts";
import { type AgentInfo, checkAgentScopes } from "../agents/rows.ts";

export const DEFAULT_TOKEN_TTL_MS = 60 * 60 * 1000;
export const MAX_TOKEN_TTL_MS = 24 * 60 * 60 * 1000;

export interface TokenLimits {
  /** When nothing is said. `ms` */
  readonly defaultTtlMs: number;
  /** `ms` */
  readonly maxTtlMs: number;
}

export interface IssueRequest {
  readonly scopes: readonly Scope[];
  /** An agent of the vault, or in the embedded store a name alone. */
  readonly agent: AgentInfo | string;
  /** `ms`, cut to whole seconds; 1 s to the longest, default 1 h. */
  readonly ttlMs?: number;
  readonly maxUses?: number;
  /** CIDRs of the callers. */
  readonly ips?: readonly string[];
  /** An agent whose own is `placeholder` gets no other. */
  readonly reads?: TokenReads;
  /** Thumbprint of the only key that may present it. */
  readonly jkt?: string;
  /** One line, for whoever lists tokens. */
  readonly description?: string;
  /** The highest tier that it reaches. Default: standard. */
  readonly approvedTier?: AccessTier;
}

export const DEFAULT_TOKEN_LIMITS: TokenLimits = { defaultTtlMs: DEFAULT_TOKEN_TTL_MS, maxTtlMs: MAX_TOKEN_TTL_MS };

const AGENT = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_CIDRS = 32;
/** One line without control characters, also in other scripts. */
const LINE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,256}$/u;

/** Errors: IDENTITY_BAD_SCOPE, IDENTITY_SCOPE_DENIED (outside what the agent may), CONFIG_USAGE. */
export const claimsOf = (
  request: IssueRequest,
  { id, now, limits }: { readonly id: string; readonly now: EpochMs; readonly limits: TokenLimits },
): TokenClaims => {
  const { agent, ttlMs = limits.defaultTtlMs, maxUses, jkt } = request;
  if (request.scopes.length === 0) {
    throw new SidekeyError("IDENTITY_BAD_SCOPE", { detail: "A token needs at least one scope." });
  }
  // Parsed again: a scope built by hand must not get a sign past the grammar.
  const scopes = parseScopes(formatScopes(request.scopes));
  const name = typeof agent === "string" ? agent : agent.name;
  if (!AGENT.test(name)) throw usage("An agent's name is 1 to 64 of A-Z a-z 0-9 . _ -");
  if (typeof agent !== "string") checkAgentScopes(agent, scopes);
  const lifetime = Math.floor(ttlMs / 1000) * 1000;
  if (!(lifetime >= 1000 && lifetime <= limits.maxTtlMs)) {
    throw usage(`A token lives 1 second to ${limits.maxTtlMs / 3_600_000} hours.`);
  }
  if (maxUses !== undefined && !(Number.isSafeInteger(maxUses) && maxUses >= 1)) {
    throw usage("A token's uses are a whole number from 1.");
  }
  if (request.description !== undefined && !LINE.test(request.description)) {
    throw usage("A description is one line of 1 to 256 characters.");
  }
  const ip = formatCidrs(request.ips);
  const reads = typeof agent !== "string" && agent.reads === "placeholder" ? "placeholder" : request.reads;
  const issuedAt = Math.floor(now / 1000) * 1000;
  return {
    subject: typeof agent === "string" ? agent : agent.id,
    agent: name,
    id,
    issuedAt,
    notBefore: issuedAt,
    expiresAt: issuedAt + lifetime,
    scopes,
    ...(maxUses !== undefined && { maxUses }),
    ...(ip !== undefined && { ip }),
    ...(reads !== undefined && { reads }),
    ...(jkt !== undefined && { jkt }),
  };
};

const formatCidrs = (ips: readonly string[] | undefined): string | undefined => {
  if (ips === undefined) return undefined;
  if (ips.length === 0 || ips.length > MAX_CIDRS) throw usage(`A token's addresses are 1 to ${MAX_CIDRS} CIDRs.`);
  const bad = ips.find((text) => parseCidr(text) === undefined);
  if (bad !== undefined) throw usage(`${JSON.stringify(bad.slice(0, 64))} is no CIDR, such as 10.0.0.0/8.`);
  return [...new Set(ips)].join(" ");
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
