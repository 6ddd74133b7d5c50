/** What has to hold before a secret is changed. */
import type { SecretTier } from "../index.ts";
import { type CallRequest, spendUse } from "./call.ts";
import { type Principal, requireApproved, requireScope } from "./callers/principal.ts";
import type { ApiContext } from "./context.ts";

/** The tier is that of what is there: lowering it needs the same word as reading. Errors: IDENTITY_SCOPE_DENIED, IDENTITY_APPROVAL_REQUIRED. */
export const requireChange = async (
  { vault }: Pick<ApiContext, "vault">,
  principal: Principal,
  action: "write" | "delete",
  path: string,
): Promise<void> => {
  requireScope(principal, action, path);
  const known = path.includes("/") ? await vault.secrets.find(path) : undefined;
  if (known !== undefined) requireApproved(principal, known.tier);
};

/**
 * The same once more, in the transaction of the change: the tier may have been raised since it was looked at.
 * Throws IDENTITY_APPROVAL_REQUIRED.
 */
export const allowedBy =
  (principal: Principal) =>
  (tier: SecretTier): void =>
    requireApproved(principal, tier);

/** The last word before one: it can go on record, and a use of the token is spent on it. Errors: AUDIT_UNAVAILABLE, those of `spendUse`. */
export const beginChange = async (
  { vault, audit }: Pick<ApiContext, "vault" | "audit">,
  request: CallRequest,
): Promise<void> => {
  audit.assertWritable();
  await spendUse({ vault, audit }, request);
};
