/** Puts on record who was refused what. */
import type { VaultAudit } from "../../audit.ts";
import { type Call, type CallRequest, frameOf } from "../call.ts";
import type { Refusal } from "../wire/refusal.ts";

/** 401, 403 and 429 say something about a caller; what is merely missing or wrong does not. Errors: AUDIT_UNAVAILABLE. */
export const recordDenial = async (
  audit: VaultAudit,
  { denial = "auth.failed", operationId }: Call,
  request: CallRequest,
  { error, status }: Refusal,
): Promise<void> => {
  if (status !== 401 && status !== 403 && status !== 429) return;
  const frame = { ...frameOf(request), code: error.code, status, metadata: { call: operationId } };
  if (error.code === "IDENTITY_TOKEN_EXPIRED") {
    const tokenId = tokenIdOf(request.header("authorization"));
    if (tokenId !== undefined) return audit.record({ event: "token.expired", ...frame, tokenId });
  }
  const { path } = request.params;
  // Who is not known is denied no secret: he failed to say who he is.
  if (request.principal.kind === "anonymous" || denial === "auth.failed") {
    return audit.record({ event: "auth.failed", ...frame });
  }
  if (denial === "token.denied") return audit.record({ event: denial, ...frame });
  if (denial === "secret.use.denied") {
    const secret = wanted(request.body);
    return audit.record({ event: denial, ...frame, ...(secret !== undefined && { secret }) });
  }
  return audit.record({ event: denial, ...frame, secret: path ?? "" });
};

/** Of a token whose signature was good: what is over is found after that. */
const tokenIdOf = (authorization = ""): string | undefined => {
  const [, claims = ""] = authorization.split(".");
  try {
    const { jti }: { readonly jti?: unknown } = JSON.parse(Buffer.from(claims, "base64url").toString("utf8"));
    return typeof jti === "string" ? jti : undefined;
  } catch {
    return undefined;
  }
};

const wanted = (body: unknown): string | undefined => {
  if (typeof body !== "object" || body === null || !("path" in body)) return undefined;
  return typeof body.path === "string" ? body.path.slice(0, 1024) : undefined;
};
