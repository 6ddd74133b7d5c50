/** A token's claims as the command line shows them: the claims' own names, times as text. */
import type { TokenClaims } from "../../identity/token.ts";

export const describeClaims = (claims: TokenClaims): Readonly<Record<string, string | number>> => ({
  id: claims.id,
  agent: claims.agent,
  scope: claims.scopes.map(({ text }) => text).join(" "),
  issued_at: new Date(claims.issuedAt).toISOString(),
  expires_at: new Date(claims.expiresAt).toISOString(),
  ...(claims.maxUses !== undefined && { max_uses: claims.maxUses }),
  ...(claims.ip !== undefined && { ip: claims.ip }),
  ...(claims.reads !== undefined && { reads: claims.reads }),
  ...(claims.jkt !== undefined && { jkt: claims.jkt }),
});
