/**
 * Scoped tokens as signed JWTs (RFC 7519, RFC 9068 for `typ`): the only door to `jose`, imported when the first token
 * is met. A signature says who issued a token and nothing about today: whoever verifies must also look `jti` up in the
 * store. Must never accept an algorithm, key or audience that the token itself chose.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import type { JWTPayload } from "jose";
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { formatScopes, parseScopes, type Scope } from "./scope.ts";

export interface TokenClaims {
  /** `sub`: id of the agent. */
  readonly subject: string;
  /** Name of the agent. */
  readonly agent: string;
  /** `jti` */
  readonly id: string;
  readonly issuedAt: EpochMs;
  readonly notBefore: EpochMs;
  readonly expiresAt: EpochMs;
  readonly scopes: readonly Scope[];
  readonly maxUses?: number;
  /** CIDRs of the callers, space-separated. */
  readonly ip?: string;
  /** What a plain read answers. */
  readonly reads?: TokenReads;
  /** `cnf.jkt`: thumbprint of the only key that may present it (RFC 9449). */
  readonly jkt?: string;
}

export type TokenReads = "value" | "placeholder";

export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** RFC 7638 thumbprint. */
  readonly kid: string;
}

export interface VerifyOptions {
  /** Of the issuer's keys, the one with this `kid`, as long as a token of it can be valid. */
  readonly keyOf: (kid: string) => Promise<SigningKey | undefined>;
  /** Wall clock. */
  readonly now: EpochMs;
  /** Skip `exp`, for a caller that judges it itself at each use. */
  readonly expiredToo?: boolean;
}

export const MAX_TOKEN_BYTES = 8 * 1024;

const ALGORITHM = "EdDSA";
const TYPE = "at+jwt";
const ISSUER = "sidekey";
const AUDIENCE = "sidekey";
const SKEW_SECONDS = 60;
const REQUIRED_CLAIMS = ["iss", "aud", "sub", "agent", "jti", "iat", "nbf", "exp", "scope"];
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

const headerSchema = z.strictObject({
  alg: z.literal(ALGORITHM),
  typ: z.literal(TYPE),
  kid: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});

const seconds = z.number().int().positive();
const claimsSchema = z.object({
  sub: z.string().min(1),
  agent: z.string().min(1),
  jti: z.string().min(1),
  iat: seconds,
  nbf: seconds,
  exp: seconds,
  scope: z.string(),
  max_uses: z.number().int().positive().optional(),
  ip: z.string().min(1).optional(),
  reads: z.enum(["value", "placeholder"]).optional(),
  cnf: z.strictObject({ jkt: z.string().min(1) }).optional(),
});

/** An Ed25519 pair around `privateKey`: one that was read, not just made (a JWK of such a key can lock Node 20 up). */
export const createSigningKey = (privateKey: KeyObject): SigningKey => {
  const publicKey = createPublicKey(privateKey);
  const { crv, kty, x } = publicKey.export({ format: "jwk" });
  if (crv !== "Ed25519") throw new TypeError("a signing key is an Ed25519 key");
  // RFC 7638 section 3: required members only, in this order, without white space.
  const kid = createHash("sha256").update(JSON.stringify({ crv, kty, x })).digest("base64url");
  return { privateKey, publicKey, kid };
};

/** A compact JWS. Times are cut to whole seconds. Errors: IDENTITY_BAD_SCOPE (more scopes than a token can carry). */
export const signToken = async (claims: TokenClaims, key: SigningKey): Promise<string> => {
  const { SignJWT } = await import("jose");
  const payload: JWTPayload = {
    agent: claims.agent,
    scope: formatScopes(claims.scopes),
    ...(claims.maxUses !== undefined && { max_uses: claims.maxUses }),
    ...(claims.ip !== undefined && { ip: claims.ip }),
    ...(claims.reads !== undefined && { reads: claims.reads }),
    ...(claims.jkt !== undefined && { cnf: { jkt: claims.jkt } }),
  };
  const token = await new SignJWT(payload)
    .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: key.kid })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(claims.subject)
    .setJti(claims.id)
    .setIssuedAt(toSeconds(claims.issuedAt))
    .setNotBefore(toSeconds(claims.notBefore))
    .setExpirationTime(toSeconds(claims.expiresAt))
    .sign(key.privateKey);
  if (token.length > MAX_TOKEN_BYTES) {
    throw new SidekeyError("IDENTITY_BAD_SCOPE", {
      detail: "The scopes do not fit into one token of 8 KiB.",
      hint: "Use fewer scopes, or a glob that covers several paths.",
    });
  }
  return token;
};

/** Errors: IDENTITY_TOKEN_INVALID, IDENTITY_TOKEN_EXPIRED. Times may be off by 60 s either way. */
export const verifyToken = async (token: string, { keyOf, now, expiredToo }: VerifyOptions): Promise<TokenClaims> => {
  const { publicKey } = await readKey(token, keyOf);
  const { errors, jwtVerify } = await import("jose");
  let payload: JWTPayload;
  try {
    ({ payload } = await jwtVerify(token, publicKey, {
      algorithms: [ALGORITHM],
      typ: TYPE,
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: REQUIRED_CLAIMS,
      clockTolerance: SKEW_SECONDS,
      currentDate: new Date(now),
    }));
  } catch (error) {
    // jose throws this only after the signature and the other claims held.
    if (!(error instanceof errors.JWTExpired)) {
      throw invalid(error instanceof errors.JOSEError ? `it was refused (${error.code})` : "it cannot be verified");
    }
    if (expiredToo !== true) throw new SidekeyError("IDENTITY_TOKEN_EXPIRED");
    payload = error.payload;
  }
  return readClaims(payload, now);
};

/** Whether a token's time is over, the skew granted: for claims that were verified before. */
export const isOver = ({ expiresAt }: TokenClaims, now: EpochMs): boolean =>
  toSeconds(expiresAt) <= toSeconds(now) - SKEW_SECONDS;

/** The issuer's key that the header names. Any other way to name one, or to bring one along, is no token of ours. */
const readKey = async (token: string, keyOf: VerifyOptions["keyOf"]): Promise<SigningKey> => {
  if (token.length > MAX_TOKEN_BYTES) throw invalid("it is larger than 8 KiB");
  if (!COMPACT.test(token)) throw invalid("it is not a compact JWS");
  const [header = "", payload = "", signature = ""] = token.split(".");
  // The last character may carry bits that no byte takes: one token must not have several texts.
  if (Buffer.from(signature, "base64url").toString("base64url") !== signature) throw invalid("its signature is odd");
  const found = headerSchema.safeParse(parseExactly(header));
  if (!found.success) throw invalid("its header is not that of a scoped token");
  if (parseExactly(payload) === undefined) throw invalid("its claims are not those of a scoped token");
  const key = await keyOf(found.data.kid);
  if (key === undefined) throw invalid("its key is none of this vault's");
  return key;
};

/** JSON as JSON.stringify writes it, or undefined: a name that stands twice is read in two ways by two readers. */
const parseExactly = (part: string): unknown => {
  const text = Buffer.from(part, "base64url").toString("utf8");
  try {
    const value: unknown = JSON.parse(text);
    return JSON.stringify(value) === text ? value : undefined;
  } catch {
    return undefined;
  }
};

const readClaims = (payload: JWTPayload, now: EpochMs): TokenClaims => {
  const parsed = claimsSchema.safeParse(payload);
  if (!parsed.success) throw invalid("its claims are not those of a scoped token");
  const { sub, agent, jti, iat, nbf, exp, scope, max_uses, ip, reads, cnf } = parsed.data;
  if (iat > toSeconds(now) + SKEW_SECONDS) throw invalid("it was issued in the future");
  return {
    subject: sub,
    agent,
    id: jti,
    issuedAt: iat * 1000,
    notBefore: nbf * 1000,
    expiresAt: exp * 1000,
    scopes: readScopes(scope),
    ...(max_uses !== undefined && { maxUses: max_uses }),
    ...(ip !== undefined && { ip }),
    ...(reads !== undefined && { reads }),
    ...(cnf !== undefined && { jkt: cnf.jkt }),
  };
};

const readScopes = (text: string): readonly Scope[] => {
  try {
    return parseScopes(text);
  } catch {
    throw invalid("its scope claim is not valid");
  }
};

const toSeconds = (time: EpochMs): number => Math.floor(time / 1000);

/** Why, in our words: the library's messages and the token itself stay out. */
const invalid = (why: string): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_INVALID", { detail: `The token is not valid: ${why}.` });
