/** Proofs of possession (RFC 9449) as a sidecar makes them, written apart from src so that a mistake there cannot hide here. */
import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";

export interface ProofKey {
  readonly privateKey: KeyObject;
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly jkt: string;
}

export const createProofKey = (): ProofKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = publicKey.export({ format: "jwk" });
  const { crv, kty, x, y } = jwk;
  return { privateKey, jwk: { kty, crv, x, y }, jkt: hash(JSON.stringify({ crv, kty, x, y })) };
};

const hash = (text: string): string => createHash("sha256").update(text).digest("base64url");

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export interface ProofRequest {
  readonly method: string;
  readonly url: string;
  readonly token: string;
  /** `s` */
  readonly iat?: number;
  readonly nonce?: string;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

export const makeProof = (key: ProofKey, request: ProofRequest): string => {
  const { method, url, token, iat = Math.floor(Date.now() / 1000), nonce, header, claims } = request;
  const head = part({ typ: "dpop+jwt", alg: "ES256", jwk: key.jwk, ...header });
  const body = part({
    jti: randomUUID(),
    htm: method,
    htu: url,
    iat,
    ath: hash(token),
    ...(nonce && { nonce }),
    ...claims,
  });
  const signature = sign("sha256", Buffer.from(`${head}.${body}`), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  return `${head}.${body}.${signature.toString("base64url")}`;
};
