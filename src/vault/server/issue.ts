/** How a token comes to be: what an agent may ask for, and when a person has to say yes first. */

import type { Scope } from "../../identity/scope.ts";
import type { AccessTier } from "../../identity/tier.ts";
import { isTierAbove } from "../../identity/tier.ts";
import type { AgentInfo, AnyVault, ApprovalInfo, IssuedToken } from "../index.ts";

export interface Wish {
  readonly agent: AgentInfo;
  readonly scopes: readonly Scope[];
  readonly ttlMs?: number;
  /** In its place where somebody has to say yes first, as far as a token may live: whoever renews it asks a person each time. */
  readonly approvedTtlMs?: number;
  readonly maxUses?: number;
  readonly ips?: readonly string[];
  readonly reads?: "value" | "placeholder";
  readonly jkt?: string;
  readonly description?: string;
  readonly reason?: string;
}

export type Issued =
  | { readonly token: IssuedToken; readonly approval: ApprovalInfo | undefined }
  /** It waits for somebody; `isNew`: it did not before. */
  | { readonly waiting: ApprovalInfo & { readonly isNew: boolean } };

/**
 * `byOperator`: the one who asks may approve, and where one operator's word is enough his asking is that.
 * Errors: IDENTITY_BAD_SCOPE, IDENTITY_SCOPE_DENIED, IDENTITY_AGENT_UNKNOWN, IDENTITY_APPROVAL_LIMIT, CONFIG_USAGE.
 */
export const issueToken = async (
  { secrets, tokens, approvals }: Pick<AnyVault, "secrets" | "tokens" | "approvals">,
  { reason, approvedTtlMs, ...wish }: Wish,
  byOperator: boolean,
): Promise<Issued> => {
  const { agent, scopes } = wish;
  // Before its tier is looked at: an answer must not tell about secrets that the agent may not reach. And before a person
  // is asked: what is wrong with the rest would be found when the yes has been used up.
  tokens.vet(wish);
  const tier = await secrets.tierOf(scopes);
  const issue = (approvedTier: AccessTier) => tokens.issue({ ...wish, approvedTier });
  const free = approvals.freeTier();
  if (!isTierAbove(tier, free)) return { token: await issue(free), approval: undefined };
  if (byOperator && approvals.needed(tier) <= 1) return { token: await issue(tier), approval: undefined };
  const ttlMs = approvedTtlMs === undefined ? wish.ttlMs : Math.min(approvedTtlMs, tokens.limits.maxTtlMs);
  const approved = { ...wish, ...(ttlMs !== undefined && { ttlMs }) };
  const terms = termsOf(approved);
  const approval = await approvals.claim(agent.id, terms);
  // The tier that somebody agreed to: it may have been raised since, and reads will say so.
  if (approval !== undefined)
    return { token: await tokens.issue({ ...approved, approvedTier: approval.tier }), approval };
  return {
    waiting: await approvals.request({ agent, scopes, tier, terms, ...(reason !== undefined && { reason }) }),
  };
};

/** All that the token would be, in one order. */
const termsOf = ({ scopes, ttlMs, maxUses, ips, reads, jkt }: Omit<Wish, "reason" | "approvedTtlMs">): string =>
  JSON.stringify([scopes.map(({ text }) => text).sort(), ttlMs, maxUses, [...(ips ?? [])].sort(), reads, jkt]);
