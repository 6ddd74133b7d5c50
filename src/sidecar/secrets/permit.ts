/**
 * What a scoped token allows a source to do, asked before every use: by its scope, its life and the store's word on it.
 * Must never be cached by whoever asks, and never outlive a revocation.
 */
import type { Clock } from "../../core/clock.ts";
import type { Closable } from "../../core/closer.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { parseScope, type Scope, scopesCover } from "../../identity/scope.ts";
import type { TokenClaims } from "../../identity/token.ts";
import type { Scoped, SecretRef } from "./source.ts";

export interface Permit extends Closable, Scoped {
  /** An operator took a token of it back. */
  isRevoked(): boolean;
}

/** The part of a vault that issues and knows tokens. */
export interface TokenStore {
  /** Grows with each write, of any process. */
  generation(): number;
  state(id: string): "active" | "revoked" | "unknown";
  issue(request: { readonly agent: string; readonly scopes: readonly Scope[]; readonly ttlMs: number }): Promise<{
    readonly claims: TokenClaims;
  }>;
  revoke(id: string): Promise<void>;
}

interface Grant {
  readonly claims: TokenClaims;
  /** By the wall clock, or by the monotonic one: setting a clock back must not lengthen a token's life. */
  isOver(): boolean;
  /** The store's word; looked up again when the store changed. */
  isActive(): boolean;
}

const createGrant = (claims: TokenClaims, store: TokenStore, clock: Clock): Grant => {
  const deadline = clock.monotonic() + (claims.expiresAt - clock.now());
  let seen = -1;
  let active = false;
  return {
    claims,
    isOver: () => clock.now() >= claims.expiresAt || clock.monotonic() >= deadline,
    isActive() {
      const generation = store.generation();
      if (generation !== seen) {
        active = store.state(claims.id) === "active";
        seen = generation;
      }
      return active;
    },
  };
};

/** For a token that somebody else issued and renews. Errors: IDENTITY_TOKEN_INVALID (a limit that can't be kept here). */
export const createTokenPermit = (claims: TokenClaims, store: TokenStore, clock: Clock): Permit => {
  if (claims.maxUses !== undefined || claims.ip !== undefined || claims.jkt !== undefined) {
    throw new SidekeyError("IDENTITY_TOKEN_INVALID", {
      detail: "The token is limited in uses, callers or keys, and a source in this process cannot hold it to that.",
      hint: "Issue one without --max-uses, --ip and --jkt.",
    });
  }
  const grant = createGrant(claims, store, clock);
  return {
    authorize(ref) {
      // Expiry first: the store forgets expired tokens, and "revoked" would be the wrong word for them.
      if (grant.isOver()) throw new SidekeyError("IDENTITY_TOKEN_EXPIRED");
      if (!grant.isActive()) throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
      if (!scopesCover(claims.scopes, "use", ref.path)) throw scopeDenied(ref);
    },
    isRevoked: () => !grant.isActive(),
    close() {},
  };
};

export interface MintOptions {
  /** Declared name of the source, for the log. */
  readonly source: string;
  readonly agent: string;
  /** Valid secret paths; the token covers these and nothing else. */
  readonly paths: readonly string[];
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly log: Log;
}

const TTL_MS = 60 * 60 * 1000;
const RENEW_AFTER_MS = (TTL_MS * 2) / 3;
const RENEW_CHECK_MS = 30 * 1000;
/** Of scopes in one token, well below what a token may weigh. */
const BATCH_CHARACTERS = 4096;

/**
 * Issues its own token, for exactly `paths`, renews it at two thirds of its life and revokes it at the end. What an
 * operator revoked it does not issue again.
 */
export const createMintedPermit = async (options: MintOptions): Promise<Permit> => {
  const { source, agent, paths, store, clock, log } = options;
  const batches = batchesOf(paths);
  const batchOf = new Map<string, number>();
  for (const [index, batch] of batches.entries()) for (const { glob } of batch) batchOf.set(glob, index);

  const mint = async (): Promise<readonly Grant[]> => {
    const made: Grant[] = [];
    for (const scopes of batches) {
      const { claims } = await store.issue({ agent, scopes, ttlMs: TTL_MS });
      made.push(createGrant(claims, store, clock));
    }
    return made;
  };
  const revoke = async (old: readonly Grant[]): Promise<void> => {
    for (const { claims } of old) if (store.state(claims.id) === "active") await store.revoke(claims.id);
  };

  let grants = await mint();
  let renewAt = clock.monotonic() + RENEW_AFTER_MS;
  let renewal: Promise<void> | undefined;
  let stopped = false;

  const warn = (what: string, error: unknown): void =>
    log.warn(`the sidecar's own token could not be ${what}`, { source, code: toSidekeyError(error).code });

  const renew = async (): Promise<void> => {
    try {
      const old = grants;
      stopped = old.some(({ claims }) => store.state(claims.id) === "revoked");
      if (stopped) return;
      grants = await mint();
      renewAt = clock.monotonic() + RENEW_AFTER_MS;
      await revoke(old);
    } catch (error) {
      warn("renewed", error);
    } finally {
      renewal = undefined;
    }
  };
  const renewWhenDue = (): void => {
    if (renewal === undefined && !stopped && clock.monotonic() >= renewAt) renewal = renew();
  };
  // Requests renew it as they pass; this is for a sidecar that has none for a while.
  const timer = setInterval(renewWhenDue, RENEW_CHECK_MS).unref();

  return {
    authorize(ref) {
      renewWhenDue();
      const grant = grants[batchOf.get(ref.path) ?? -1];
      if (grant === undefined) throw scopeDenied(ref);
      if (stopped) throw revokedError(source);
      if (grant.isOver()) {
        // Only after the machine slept through a renewal, which has now begun: worth another try, not a refusal.
        throw new SidekeyError("SOURCE_UNAVAILABLE", { detail: "The sidecar's own token is being renewed." });
      }
      if (!grant.isActive()) throw revokedError(source);
    },
    isRevoked: () => stopped || grants.some(({ claims }) => store.state(claims.id) === "revoked"),
    async close() {
      stopped = true;
      clearInterval(timer);
      await renewal;
      try {
        await revoke(grants);
      } catch (error) {
        // It ends by itself within the hour: no reason to fail the shutdown.
        warn("revoked", error);
      }
    },
  };
};

/** A scope for each path, split so that each list fits into a token. */
const batchesOf = (paths: readonly string[]): readonly (readonly Scope[])[] => {
  const batches: Scope[][] = [];
  let size = BATCH_CHARACTERS;
  for (const path of new Set(paths)) {
    const scope = parseScope(`secrets:use:${path}`);
    if (size + scope.text.length > BATCH_CHARACTERS) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1)?.push(scope);
    size += scope.text.length + 1;
  }
  return batches;
};

const scopeDenied = (ref: SecretRef): SidekeyError =>
  new SidekeyError("IDENTITY_SCOPE_DENIED", {
    detail: ref.text,
    hint: `Issue a token whose scope covers it: sidekey token issue --scope 'secrets:use:${ref.path}'.`,
  });

/** A reload issues none again (R7). */
const revokedError = (source: string): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_REVOKED", {
    detail: `The own token of source ${source}.`,
    hint: "If that was a mistake: restart the sidecar, which then issues itself another one.",
  });
