/**
 * Who makes a request, from its Authorization header and nothing else. Whatever is wrong with a key or a token, the
 * answer is the same 401; what was wrong is for the audit. Must never put a key or token, or part of one, anywhere.
 */
import { SidekeyError } from "../../core/errors.ts";
import type { SecretAction } from "../../identity/scope.ts";
import { type Scope, scopesCover } from "../../identity/scope.ts";
import type { TokenClaims } from "../../identity/token.ts";
import type { Vault } from "../index.ts";
import type { OperatorFile } from "./operator-file.ts";

export type Principal =
  | { readonly kind: "anonymous" }
  | { readonly kind: "operator"; readonly id: string; readonly name: string }
  | {
      readonly kind: "token";
      readonly id: string;
      /** The agent's. */
      readonly name: string;
      readonly scopes: readonly Scope[];
      readonly claims: TokenClaims;
    };

export interface Credentials {
  readonly authorization: string | undefined;
  readonly ip: string;
}

export type Authenticate = (credentials: Credentials) => Promise<Principal>;

/** Longer than any token with its scopes; the header limit is 16 KiB. */
const MAX_CREDENTIAL = 12 * 1024;
const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+)$/i;

export const createAuthenticate =
  (vault: Pick<Vault, "tokens">, operators: OperatorFile): Authenticate =>
  async ({ authorization }) => {
    if (authorization === undefined) return { kind: "anonymous" };
    const [, credential] = authorization.length > MAX_CREDENTIAL ? [] : (BEARER.exec(authorization) ?? []);
    if (credential === undefined) throw new SidekeyError("IDENTITY_TOKEN_INVALID");
    if (credential.startsWith("ask_op_")) {
      if (!operators.matches(credential)) throw new SidekeyError("IDENTITY_TOKEN_INVALID");
      return { kind: "operator", id: "operator", name: "operator" };
    }
    const claims = await vault.tokens.verify(credential);
    return { kind: "token", id: claims.id, name: claims.agent, scopes: claims.scopes, claims };
  };

/** Errors: IDENTITY_TOKEN_INVALID, IDENTITY_SCOPE_DENIED. */
export const requireScope = (principal: Principal, action: SecretAction, path: string): void => {
  if (principal.kind === "anonymous") throw new SidekeyError("IDENTITY_TOKEN_INVALID");
  if (principal.kind === "operator") return;
  if (!scopesCover(principal.scopes, action, path)) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
};
