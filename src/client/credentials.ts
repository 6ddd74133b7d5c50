/**
 * Which key or token goes with which call. An agent key reads nothing itself: for a call on a secret it is traded for a
 * short token of exactly that secret's scope, kept while it lives. Must never send a key or token where another would do.
 */
import type { Clock, EpochMs } from "../core/clock.ts";
import type { Credential } from "./calls.ts";
import { AuthError } from "./errors.ts";
import type { ProofKey } from "./proof.ts";

/** What the caller has; at most one. A function is asked on every call, so that a renewed token is used. */
export type Held =
  | { readonly kind: "nothing" }
  | { readonly kind: "key"; readonly secret: string; readonly isAgent: boolean }
  | { readonly kind: "token"; readonly token: () => string };

export interface CredentialsParts {
  readonly held: Held;
  readonly proofKey: ProofKey | undefined;
  readonly clock: Pick<Clock, "now">;
  /** A token of this one scope, for `ttl` seconds. */
  issue(scope: string, ttl: number): Promise<{ readonly token: string; readonly expiresAt: EpochMs }>;
}

export interface Credentials {
  /** `token`, or else the key or token that the caller has. Errors: CLIENT_UNAUTHORIZED when there is none. */
  own(token?: string): Credential;
  /** `token`, or the caller's own, with a proof. Errors: CLIENT_UNAUTHORIZED. */
  proved(token: string | undefined): Credential;
  /** What `use` gives with a credential for `action` on `path`. Errors: CLIENT_UNAUTHORIZED, and what `use` throws. */
  forSecret<T>(
    action: "read" | "write" | "delete",
    path: string,
    token: string | undefined,
    use: (credential: Credential) => Promise<T>,
  ): Promise<T>;
}

/** Seconds. */
const TRADED_TTL = 300;
/** A token with less life than this is not used any more. `ms` */
const MARGIN_MS = 5_000;
const MAX_TRADED = 256;

interface Traded {
  readonly token: string;
  readonly expiresAt: EpochMs;
}

export const createCredentials = ({ held, proofKey, clock, issue }: CredentialsParts): Credentials => {
  const traded = new Map<string, Promise<Traded>>();

  const forToken = (secret: string): Credential =>
    proofKey === undefined ? { kind: "bearer", secret } : { kind: "proof", secret, key: proofKey };

  const own = (token?: string): Credential => {
    if (token !== undefined) return forToken(token);
    switch (held.kind) {
      case "nothing":
        throw new AuthError({ detail: "This call needs a key or a token, and none was given." });
      case "key":
        return { kind: "bearer", secret: held.secret };
      case "token":
        return forToken(held.token());
    }
  };

  const trade = async (scope: string): Promise<{ token: string; isKept: boolean }> => {
    const kept = traded.get(scope);
    if (kept !== undefined) {
      const { token, expiresAt } = await kept;
      if (expiresAt - MARGIN_MS > clock.now()) return { token, isKept: true };
      // Unless one who came before has asked for the next already.
      if (traded.get(scope) === kept) traded.delete(scope);
      return trade(scope);
    }
    const fresh = issue(scope, TRADED_TTL);
    if (traded.size >= MAX_TRADED) traded.clear();
    traded.set(scope, fresh);
    // Who waits for it hears of it; here it only must not stay.
    fresh.catch(() => traded.get(scope) === fresh && traded.delete(scope));
    return { token: (await fresh).token, isKept: false };
  };

  return {
    own,
    proved(token) {
      if (proofKey === undefined) {
        throw new AuthError({ detail: "This call is proved with the sidecar's own key, and none was given." });
      }
      return own(token);
    },
    async forSecret(action, path, token, use) {
      if (token !== undefined) return use(forToken(token));
      if (held.kind !== "key" || !held.isAgent) return use(own());
      const scope = `secrets:${action}:${path}`;
      const { token: first, isKept } = await trade(scope);
      try {
        return await use({ kind: "bearer", secret: first });
      } catch (error) {
        // Revoked since, or the vault's keys are new: the agent key may still be good.
        if (!isKept || !(error instanceof AuthError)) throw error;
        traded.delete(scope);
        return use({ kind: "bearer", secret: (await trade(scope)).token });
      }
    },
  };
};
