/**
 * DPoP proofs (RFC 9449 section 4.2): a token that is bound to a key works only with a fresh signature of that key over
 * this one request. Made with Node's own crypto, so that a program that only calls a vault loads no JOSE library.
 */
import { createHash, type KeyObject, randomUUID, sign } from "node:crypto";
import type { EpochMs } from "../core/clock.ts";

/** What a proof is signed with; `SidecarKey` of identity/sidecar-key.ts is one. */
export interface ProofKey {
  /** P-256. */
  readonly privateKey: KeyObject;
  /** Members beyond these are never sent. */
  readonly publicJwk: { readonly kty?: string; readonly crv?: string; readonly x?: string; readonly y?: string };
}

export interface ProofRequest {
  readonly key: ProofKey;
  readonly method: string;
  /** Without query and fragment. */
  readonly url: string;
  /** The access token that goes with it (`ath`). */
  readonly token?: string;
  /** The last `DPoP-Nonce` of the server. */
  readonly nonce?: string;
  readonly now: EpochMs;
}

/** A compact JWS: ES256, `typ: dpop+jwt`. */
export const createProof = ({ key, method, url, token, nonce, now }: ProofRequest): string => {
  const { kty, crv, x, y } = key.publicJwk;
  const header = { typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } };
  const claims = {
    jti: randomUUID(),
    htm: method,
    htu: url,
    iat: Math.floor(now / 1000),
    ...(token !== undefined && { ath: createHash("sha256").update(token, "ascii").digest("base64url") }),
    ...(nonce !== undefined && { nonce }),
  };
  const signed = `${encode(header)}.${encode(claims)}`;
  // RFC 7518 section 3.4: R and S side by side, not DER.
  const signature = sign("sha256", Buffer.from(signed), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
};

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
