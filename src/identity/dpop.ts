/**
 * Proofs of possession (RFC 9449): a small JWS for one request, by the key that a token is bound to. Checked here is what
 * section 4.3 asks for; whether a proof was seen before is for the caller to remember, by `id` until `usableUntil`. Must
 * never take a key from anywhere but the proof itself, nor let one through for another method, place or token.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";

export interface ProofTarget {
  /** `htm`: the request's method, as it was sent. */
  readonly method: string;
  /** `htu`: the absolute URL as the client knows it; query and fragment don't count. */
  readonly url: string;
  /** The access token that comes with it; the proof must then hold its hash (`ath`). */
  readonly token?: string;
  /** Until when a nonce of ours may be used; undefined when it is none, or over. Without it a nonce is refused. */
  readonly nonceUntil?: (nonce: string) => EpochMs | undefined;
  /** Wall clock. */
  readonly now: EpochMs;
}

export interface Proof {
  /** RFC 7638 thumbprint of the key that made it. */
  readonly jkt: string;
  /** 43 characters: what to remember it by. No two keys' proofs share one. */
  readonly id: string;
  readonly issuedAt: EpochMs;
  /** The same proof would be taken until then, so that long it must be remembered. */
  readonly usableUntil: EpochMs;
}

/** Either way. `ms` */
export const PROOF_SKEW_MS = 60_000;
const MAX_PROOF_BYTES = 4 * 1024;

const ALGORITHM = "ES256";
const TYPE = "dpop+jwt";
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
/** 32 bytes in base64url. */
const COORDINATE = /^[A-Za-z0-9_-]{43}$/;

/** Strict, so that a private member, or a key by reference, is no proof. */
const jwkSchema = z.strictObject({
  kty: z.literal("EC"),
  crv: z.literal("P-256"),
  x: z.string().regex(COORDINATE),
  y: z.string().regex(COORDINATE),
  alg: z.literal(ALGORITHM).optional(),
  use: z.literal("sig").optional(),
  key_ops: z.array(z.literal("verify")).optional(),
  ext: z.boolean().optional(),
  kid: z.string().max(256).optional(),
});
type PublicJwk = z.output<typeof jwkSchema>;

const headerSchema = z.strictObject({
  typ: z.literal(TYPE),
  alg: z.literal(ALGORITHM),
  jwk: jwkSchema,
  kid: z.string().max(256).optional(),
});

const claimsSchema = z.object({
  jti: z.string().min(1).max(256),
  htm: z.string().min(1).max(32),
  htu: z.string().min(1).max(2048),
  iat: z.number().positive(),
  ath: z.string().optional(),
  nonce: z.string().max(256).optional(),
});
type ProofClaims = z.output<typeof claimsSchema>;

/** Errors: IDENTITY_PROOF_INVALID, IDENTITY_PROOF_STALE (its time or nonce; a new one with our nonce helps). */
export const verifyProof = async (proof: string, target: ProofTarget): Promise<Proof> => {
  const header = readHeader(proof);
  const claims = await readClaims(proof, publicKeyOf(header.jwk));
  if (claims.htm !== target.method) throw invalid("it was made for another method");
  if (normalizeUrl(claims.htu) === undefined || normalizeUrl(claims.htu) !== normalizeUrl(target.url)) {
    throw invalid("it was made for another place");
  }
  if (target.token !== undefined && claims.ath !== sha256(target.token)) throw invalid("it was made for another token");
  const jkt = thumbprintOf(header.jwk);
  const issuedAt = claims.iat * 1000;
  const id = sha256(JSON.stringify([jkt, claims.jti]));
  return { jkt, id, issuedAt, usableUntil: freshUntil(claims, target) };
};

/** A P-256 public key as JWK to its RFC 7638 thumbprint. Errors: IDENTITY_PROOF_INVALID (none, or more than that). */
export const publicJwkThumbprint = (jwk: unknown): string => {
  const parsed = jwkSchema.safeParse(jwk);
  if (!parsed.success) throw invalid("its key is no public P-256 key in JWK form, or holds more than that");
  publicKeyOf(parsed.data);
  return thumbprintOf(parsed.data);
};

/** A nonce of ours shows that a proof is new whatever its maker's clock says; without one the clocks must agree. */
const freshUntil = ({ iat, nonce }: ProofClaims, { nonceUntil, now }: ProofTarget): EpochMs => {
  const issuedAt = iat * 1000;
  const byClock = Math.abs(now - issuedAt) <= PROOF_SKEW_MS ? issuedAt + PROOF_SKEW_MS : undefined;
  if (nonce === undefined) {
    if (byClock === undefined) throw new SidekeyError("IDENTITY_PROOF_STALE");
    return byClock;
  }
  const byNonce = nonceUntil?.(nonce);
  if (byNonce === undefined) throw new SidekeyError("IDENTITY_PROOF_STALE");
  return Math.max(byNonce, byClock ?? 0);
};

const readHeader = (proof: string): z.output<typeof headerSchema> => {
  if (proof.length > MAX_PROOF_BYTES) throw invalid("it is larger than 4 KiB");
  // Two headers of one name arrive joined by a comma: no JWS either.
  if (!COMPACT.test(proof)) throw invalid("it is not one compact JWS");
  const header = headerSchema.safeParse(parseJson(proof.slice(0, proof.indexOf("."))));
  if (!header.success) throw invalid("its header is not that of a proof with a public P-256 key");
  return header.data;
};

const readClaims = async (proof: string, key: KeyObject): Promise<ProofClaims> => {
  const { compactVerify } = await import("jose");
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(proof, key, { algorithms: [ALGORITHM] }));
  } catch {
    throw invalid("its signature does not hold");
  }
  const claims = claimsSchema.safeParse(parseJson(Buffer.from(payload).toString("base64url")));
  if (!claims.success) throw invalid("its claims are not those of a proof");
  return claims.data;
};

/**
 * The few keys that come again and again, a sidecar's with each proof: to read one, and to make of it what WebCrypto takes
 * (jose keeps that with the object), costs more than the signature's own check. By x and y, which are all there is to one.
 */
const knownKeys = new Map<string, KeyObject>();
const MAX_KNOWN_KEYS = 1024;

const publicKeyOf = ({ kty, crv, x, y }: PublicJwk): KeyObject => {
  const name = `${x}.${y}`;
  const known = knownKeys.get(name);
  if (known !== undefined) return known;
  try {
    const key = createPublicKey({ key: { kty, crv, x, y }, format: "jwk" });
    // Whoever may ask at all may send one key after the other.
    if (knownKeys.size >= MAX_KNOWN_KEYS) knownKeys.clear();
    knownKeys.set(name, key);
    return key;
  } catch {
    throw invalid("its key is no point of P-256");
  }
};

/** RFC 7638 section 3: required members only, in this order, without white space. */
const thumbprintOf = ({ crv, kty, x, y }: PublicJwk): string => sha256(JSON.stringify({ crv, kty, x, y }));

const UNRESERVED = /[A-Za-z0-9._~-]/;

/**
 * Scheme, authority and path in the one form of RFC 3986 sections 6.2.2 and 6.2.3; undefined when it is no http(s) URL, or
 * carries a user.
 */
const normalizeUrl = (text: string): string | undefined => {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  if ((url.protocol !== "https:" && url.protocol !== "http:") || url.username !== "" || url.password !== "") {
    return undefined;
  }
  const path = url.pathname.replaceAll(/%[0-9A-Fa-f]{2}/g, (code) => {
    const character = String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return UNRESERVED.test(character) ? character : code.toUpperCase();
  });
  return `${url.protocol}//${url.host}${path}`;
};

const parseJson = (part: string): unknown => {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
};

const sha256 = (text: string): string => createHash("sha256").update(text).digest("base64url");

/** Why, in our words: nothing of the proof itself. */
const invalid = (why: string): SidekeyError =>
  new SidekeyError("IDENTITY_PROOF_INVALID", { detail: `The proof is not valid: ${why}.` });
