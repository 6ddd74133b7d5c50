/** Who calls the vault in memory: keys, tokens, and proofs of keys (RFC 9449), verified by another library than the client's. */
import { createHash, randomUUID } from "node:crypto";
import { calculateJwkThumbprint, compactVerify, importJWK, type JWK } from "jose";
import { type Ask, type Caller, Refusal, type State } from "./state.ts";

export interface Callers {
  /** Rejects with a `Refusal`. */
  of(ask: Ask): Promise<Caller>;
  demandNonce(): void;
}

export const createCallers = ({ agents, tokens }: State, origin: () => string): Callers => {
  const proofs = new Set<string>();
  let nonce: string | undefined;

  const verifyProof = async ({ request, method, url }: Ask, token: string): Promise<string> => {
    const proof = String(request.headers["dpop"] ?? "");
    try {
      const { jwk } = JSON.parse(Buffer.from(proof.split(".")[0] ?? "", "base64url").toString()) as { jwk: JWK };
      const { payload } = await compactVerify(proof, await importJWK(jwk, "ES256"), { algorithms: ["ES256"] });
      const claims = JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;
      const ath = createHash("sha256").update(token).digest("base64url");
      const isGood =
        claims["htm"] === method &&
        claims["htu"] === `${origin()}${url.pathname}` &&
        claims["ath"] === ath &&
        !proofs.has(String(claims["jti"]));
      if (!isGood) throw new Error("bad");
      proofs.add(String(claims["jti"]));
      // RFC 9449 section 8: what the server gave out says when, whatever the other clock says.
      const isOff = Math.abs(Number(claims["iat"]) - Date.now() / 1000) > 60;
      if (isOff) nonce ??= `nonce-${randomUUID()}`;
      if (nonce !== undefined && claims["nonce"] !== nonce) {
        throw new Refusal(401, "USE_DPOP_NONCE", {
          "dpop-nonce": nonce,
          "www-authenticate": 'DPoP error="use_dpop_nonce"',
        });
      }
      return await calculateJwkThumbprint(jwk);
    } catch (error) {
      throw error instanceof Refusal ? error : new Refusal(401, "UNAUTHORIZED");
    }
  };

  const callerOf = async (ask: Ask): Promise<Caller> => {
    const [scheme, secret = ""] = String(ask.request.headers["authorization"] ?? "").split(" ");
    const agent = scheme === "Bearer" ? agents.find((one) => one.key === secret && one.active) : undefined;
    if (agent !== undefined) return { agent, token: undefined, jkt: undefined };
    const token = tokens.find((one) => one.text === secret);
    const isOver = token === undefined || token.revoked !== undefined || token.expires <= Date.now();
    if (isOver || !token.agent.active) throw new Refusal(401, "UNAUTHORIZED");
    const jkt = scheme === "DPoP" ? await verifyProof(ask, secret) : undefined;
    if (token.jkt !== undefined && token.jkt !== jkt) throw new Refusal(401, "UNAUTHORIZED");
    return { agent: token.agent, token, jkt };
  };

  return {
    of: callerOf,
    demandNonce() {
      nonce = `nonce-${randomUUID()}`;
    },
  };
};
