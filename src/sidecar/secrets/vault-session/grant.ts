/** A token as a session holds it: what it covers and how long it lives, by the wall clock and by the monotonic one. */
import type { Clock, EpochMs } from "../../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import { parseScopes, type Scope } from "../../../identity/scope.ts";

export interface Grant {
  readonly token: string;
  /** By which events name it; undefined: it does not say. */
  readonly id: string | undefined;
  readonly expiresAt: EpochMs;
  /** Name to path. */
  readonly names: ReadonlyMap<string, string>;
  /** Setting a clock back must not lengthen a token's life. */
  isOver(): boolean;
}

/** `expiresAt` by this machine's clock. */
export const createGrant = (facts: Omit<Grant, "isOver">, clock: Clock): Grant => {
  const deadline = clock.monotonic() + (facts.expiresAt - clock.now());
  return { ...facts, isOver: () => clock.now() >= facts.expiresAt || clock.monotonic() >= deadline };
};

/** What a token says of itself. The vault alone knows whether it is true. */
export interface TokenWords {
  readonly id: string;
  /** Undefined: it does not say. */
  readonly issuedAt: EpochMs | undefined;
  readonly expiresAt: EpochMs;
  readonly scopes: readonly Scope[];
  /** Thumbprint of the key it is bound to; undefined: of any sidecar that its agent enrolled. */
  readonly jkt: string | undefined;
}

/** Reads a token without its key. Errors: IDENTITY_TOKEN_INVALID, which says nothing of its text. */
export const readToken = (token: string): TokenWords => {
  const claims = payloadOf(token);
  const { jti, iat, exp, scope, cnf } = claims;
  if (typeof jti !== "string" || typeof exp !== "number" || typeof scope !== "string") throw noToken();
  const jkt = isObject(cnf) ? cnf["jkt"] : undefined;
  return {
    id: jti,
    issuedAt: typeof iat === "number" ? iat * 1000 : undefined,
    expiresAt: exp * 1000,
    scopes: scopesOf(scope),
    jkt: typeof jkt === "string" ? jkt : undefined,
  };
};

const scopesOf = (text: string): readonly Scope[] => {
  try {
    return parseScopes(text);
  } catch (error) {
    if (isSidekeyError(error)) throw noToken();
    throw error;
  }
};

const payloadOf = (token: string): Readonly<Record<string, unknown>> => {
  const [, payload = ""] = /^[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+$/.exec(token) ?? [];
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    if (isObject(claims)) return claims;
  } catch {
    // What the parser says quotes the text.
  }
  throw noToken();
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const noToken = (): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_INVALID", {
    detail: "What the source's 'token' leads to is no token of a vault.",
    hint: "Issue one: sidekey token issue --scope 'secrets:use:PATH' --jkt \"$(sidekey identity)\".",
  });
