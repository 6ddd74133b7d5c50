/** A vault's refusals as a route knows them (guarantees.md, R4 and R5). */
import { SidekeyError } from "../../../core/errors.ts";
import type { SecretRef } from "../source.ts";
import type { LinkFault } from "./link.ts";

/** `what`: the reference, or the source where it is about none. Total. */
export const sourceError = ({ kind, message, hint, retryAfter }: LinkFault, what: string): SidekeyError => {
  const words = { detail: `${what}: ${message}`, ...(hint !== undefined && { hint }) };
  switch (kind) {
    case "missing":
      return new SidekeyError("SOURCE_SECRET_MISSING", words);
    case "unauthorized":
    case "refused":
      return new SidekeyError("SOURCE_FORBIDDEN", words);
    case "denied":
    case "unapproved":
      return new SidekeyError("IDENTITY_SCOPE_DENIED", words);
    case "host":
      return new SidekeyError("POLICY_SECRET_HOST", words);
    case "revoked":
      return new SidekeyError("IDENTITY_TOKEN_REVOKED", words);
    case "expired":
      return new SidekeyError("IDENTITY_TOKEN_EXPIRED", words);
    case "unreachable":
    case "busy":
    case "garbage":
      return new SidekeyError("SOURCE_UNAVAILABLE", { ...words, ...(retryAfter !== undefined && { retryAfter }) });
  }
};

export const missing = (ref: Pick<SecretRef, "text">): SidekeyError =>
  new SidekeyError("SOURCE_SECRET_MISSING", { detail: ref.text });

export const scopeDenied = (ref: SecretRef): SidekeyError =>
  new SidekeyError("IDENTITY_SCOPE_DENIED", {
    detail: ref.text,
    hint: `Issue a token whose scope covers it: sidekey token issue --scope 'secrets:use:${ref.path}'.`,
  });
