/** What has to hold before a secret is changed. */
import type { AnyVault } from "../index.ts";
import { type Principal, requireApproved, requireScope } from "./callers/principal.ts";

/** The tier is that of what is there: lowering it needs the same word as reading. Errors: IDENTITY_SCOPE_DENIED, IDENTITY_APPROVAL_REQUIRED. */
export const requireChange = async (
  { vault }: { readonly vault: Pick<AnyVault, "secrets"> },
  principal: Principal,
  action: "write" | "delete",
  path: string,
): Promise<void> => {
  requireScope(principal, action, path);
  const known = path.includes("/") ? await vault.secrets.find(path) : undefined;
  if (known !== undefined) requireApproved(principal, known.tier);
};
