/** How closely a secret is kept: from which tier on a person has to approve a token that reaches it. */
import { SidekeyError } from "../core/errors.ts";

export const ACCESS_TIERS = ["standard", "sensitive", "critical"] as const;
export type AccessTier = (typeof ACCESS_TIERS)[number];

/** Whether `tier` is kept more closely than `limit`. */
export const isTierAbove = (tier: AccessTier, limit: AccessTier): boolean =>
  ACCESS_TIERS.indexOf(tier) > ACCESS_TIERS.indexOf(limit);

/**
 * For each secret that a token is about to reach: its tier may have been raised since the token was issued.
 * Errors: IDENTITY_APPROVAL_REQUIRED.
 */
export const requireTier = (approved: AccessTier, tier: AccessTier): void => {
  if (isTierAbove(tier, approved)) throw new SidekeyError("IDENTITY_APPROVAL_REQUIRED");
};
