/**
 * Scoped tokens of this store: signed with its own keys, and each known by a row, so that revocation and uses are the
 * store's word and not the token's. What was verified once is remembered, since a signature costs more than the look at
 * the row; the row is looked at every time.
 */
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { cidrContains, parseCidr, parsePeer } from "../../core/ip.ts";
import { formatScopes } from "../../identity/scope.ts";
import type { AccessTier } from "../../identity/tier.ts";
import { isOver, signToken, type TokenClaims, type TokenReads, verifyToken } from "../../identity/token.ts";
import { checkAgentScopes, requireLiveAgent } from "../agents/rows.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { recordChanges } from "../changes.ts";
import { IDEMPOTENCY_MS } from "../kept-answers.ts";
import { createOrderedIds } from "../ordered-id.ts";
import type { EmbeddedStorage, ReadTx, VaultStorage } from "../storage/storage.ts";
import { dropPlaceholders } from "./placeholders.ts";
import { claimsOf, type IssueRequest, type TokenLimits } from "./request.ts";
import {
  addToken,
  type CountedUse,
  countedBefore,
  expectCounts,
  expectTokens,
  purgeTokens,
  readToken,
  rememberUse,
  revokeTokensOf,
  type TokenRow,
  type TokensOf,
  tokenCount,
  tokenIds,
  updateToken,
} from "./rows.ts";
import type { SigningKeys } from "./signing-keys.ts";

export interface IssuedToken {
  /** Compact JWS. */
  readonly token: string;
  readonly claims: TokenClaims;
}

/** Claims that were verified, and what the store says beside them. */
export interface VerifiedToken extends TokenClaims {
  /** Undefined: issued to a name alone. */
  readonly agentId: string | undefined;
  /** Secrets of tiers above it are out of reach: `requireTier`. */
  readonly approvedTier: AccessTier;
  readonly reads: TokenReads;
  /** Undefined: as often as one likes. */
  readonly usesLeft: number | undefined;
}

export interface TokenInfo {
  /** `jti` */
  readonly id: string;
  readonly agent: string;
  readonly agentId: string | undefined;
  /** `secrets:ACTION:GLOB`, space-separated. */
  readonly scope: string;
  readonly issuedAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly revokedAt: EpochMs | undefined;
  readonly maxUses: number | undefined;
  /** Counted only with `maxUses`. */
  readonly uses: number | undefined;
  readonly description: string | undefined;
  readonly approvedTier: AccessTier;
}

export type TokenState = "active" | "revoked" | "unknown";

export interface TokenListing {
  /** An agent's id, or a name that tokens were issued to. */
  readonly agent?: TokensOf;
}

export interface TokenPage {
  /** Newest first. */
  readonly items: readonly TokenInfo[];
  readonly total: number;
}

export interface VaultTokens {
  readonly limits: TokenLimits;
  /**
   * Errors: IDENTITY_BAD_SCOPE (none, or too many for a token), IDENTITY_SCOPE_DENIED (outside what the agent may),
   * IDENTITY_AGENT_UNKNOWN (or revoked), CONFIG_USAGE (name, time to live, uses, addresses, description).
   */
  issue(request: IssueRequest): Promise<IssuedToken>;
  /** Throws what `issue` would throw of what is asked for, and makes none. */
  vet(request: IssueRequest): void;
  /**
   * Without `from` the caller is on no network, and a list of addresses is not asked. With it an unknown address is
   * outside every list. Uses are not looked at: `spend` is.
   * Errors: IDENTITY_TOKEN_INVALID, IDENTITY_TOKEN_EXPIRED, IDENTITY_TOKEN_REVOKED (also: no row), IDENTITY_ADDRESS.
   */
  verify(token: string, from?: { readonly ip: string | undefined }): Promise<VerifiedToken>;
  /** As `verify`, but says nothing about today: for a caller that judges expiry and `state` at each use. */
  inspect(token: string): Promise<TokenClaims>;
  /**
   * Counts one use, when uses are limited: of several at once, in whatever processes, no more than there are. The same key
   * for the same `request` within 60 s counts nothing more, and resolves to the `version` that the first came with.
   * Errors: IDENTITY_TOKEN_SPENT, IDENTITY_TOKEN_REVOKED, VAULT_IDEMPOTENCY_REUSED (the key with another request).
   */
  spend(id: string, retry?: UseRetry): Promise<number | undefined>;
  /** Errors: IDENTITY_TOKEN_INVALID when there is no such token. */
  revoke(id: string): Promise<void>;
  /** Of one agent. Resolves to how many. */
  revokeAll(agentId: string): Promise<number>;
  /** By time of issue; expired ones stay until a later issue. */
  list(of?: TokenListing): Promise<readonly TokenInfo[]>;
  /** `page` from 1. */
  page(of: TokenListing & { readonly page: number; readonly limit: number }): Promise<TokenPage>;
  /** Undefined when the store knows none. */
  find(id: string): Promise<TokenInfo | undefined>;
}

export interface UseRetry {
  readonly idempotencyKey: string;
  /** All that makes it this request. May hold a value: its hash is kept, and sealed. */
  readonly request: string;
  /** Of the secret that it is spent on; 0 where it is spent on none. */
  readonly version: number;
}

export interface EmbeddedTokens extends VaultTokens {
  /** What the store says now, expiry apart. Fast: once per request when the generation changed. */
  state(id: string): TokenState;
}

const ID = /^[A-Za-z0-9-]{1,64}$/;
/** Each some 500 bytes. */
const MAX_VERIFIED = 4096;

export interface TokenDeps {
  readonly storage: VaultStorage;
  readonly barrier: Barrier;
  readonly clock: Clock;
  readonly keys: SigningKeys;
  readonly limits: TokenLimits;
}

export const createVaultTokens = ({ storage, barrier, clock, keys, limits }: TokenDeps): VaultTokens => {
  const newId = createOrderedIds(clock);
  /** By hash: no token may lie in memory longer than its request does. */
  const verified = new LRUCache<string, TokenClaims>({ max: MAX_VERIFIED });

  const inspect = async (token: string): Promise<TokenClaims> => {
    const hash = sha256(token);
    const known = verified.get(hash);
    if (known !== undefined && known.notBefore <= clock.now()) return known;
    const claims = await verifyToken(token, { keyOf: keys.keyOf, now: clock.now(), expiredToo: true });
    verified.set(hash, claims);
    return claims;
  };

  const infoOf = (tx: ReadTx, id: string): TokenInfo | undefined => {
    const row = readToken(tx, barrier, id);
    return row === undefined ? undefined : { ...tokenInfo(row), id };
  };

  const infosOf = (tx: ReadTx, ids: readonly string[]): TokenInfo[] => {
    expectTokens(tx, ids);
    return ids.flatMap((id) => infoOf(tx, id) ?? []);
  };

  return {
    limits,

    vet: (request) => void claimsOf(request, { id: newId(), now: clock.now(), limits }),

    async issue(request) {
      const claims = claimsOf(request, { id: newId(), now: clock.now(), limits });
      const row = rowOf(claims, request);
      for (;;) {
        const signer = await keys.signer();
        const token = await signToken(claims, signer);
        const isStored = await storage.write((tx) => {
          expectCounts(tx, row);
          keys.migrate(tx);
          // Another process has put a new key in its place: a token of the old one would outlive it.
          if (!keys.isSigner(tx, signer.kid)) return false;
          if (typeof request.agent !== "string") {
            // As it is now: it may have been narrowed since it was asked about.
            const live = requireLiveAgent(tx, barrier, request.agent.id);
            checkAgentScopes(live, claims.scopes);
            if (live.reads === "placeholder" && claims.reads !== "placeholder") {
              throw new SidekeyError("IDENTITY_SCOPE_DENIED");
            }
          }
          purgeTokens(tx, barrier, clock.now());
          addToken(tx, barrier, claims.id, row);
          return true;
        });
        if (isStored) return { token, claims };
        keys.forget();
      }
    },

    async verify(token, from) {
      const claims = await inspect(token);
      if (isOver(claims, clock.now())) throw new SidekeyError("IDENTITY_TOKEN_EXPIRED");
      const row = await storage.read((tx) => readToken(tx, barrier, claims.id), { expect: [`token:${claims.id}`] });
      if (row === undefined || row.revokedAt !== undefined) throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
      if (from !== undefined && claims.ip !== undefined && !isWithin(from.ip, claims.ip)) {
        throw new SidekeyError("IDENTITY_ADDRESS");
      }
      const { agentId, approvedTier = "standard", maxUses, uses = 0 } = row;
      const usesLeft = maxUses === undefined ? undefined : Math.max(0, maxUses - uses);
      return { ...claims, agentId, approvedTier, reads: claims.reads ?? "value", usesLeft };
    },

    inspect,

    async spend(id, retry) {
      const seen = await storage.read((tx) => readToken(tx, barrier, id), { expect: [`token:${id}`] });
      if (seen !== undefined && seen.revokedAt === undefined && seen.maxUses === undefined) return undefined;
      // Before the transaction: it names a row, and a callback that is run again has to ask for the same ones.
      const now = clock.now();
      return storage.write((tx) => {
        const row = readToken(tx, barrier, id);
        if (row === undefined || row.revokedAt !== undefined) throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
        const { maxUses, uses = 0 } = row;
        if (maxUses === undefined) return undefined;
        const counted = retry && countedUse(id, retry, now);
        const before = counted && countedBefore(tx, barrier, counted);
        if (before !== undefined) return before;
        if (uses >= maxUses) throw new SidekeyError("IDENTITY_TOKEN_SPENT");
        updateToken(tx, barrier, id, { ...row, uses: uses + 1 });
        if (counted !== undefined) rememberUse(tx, barrier, counted, now + IDEMPOTENCY_MS);
        return retry?.version;
      });
    },

    async revoke(id) {
      if (!ID.test(id)) throw unknownToken();
      await storage.write((tx) => {
        const row = readToken(tx, barrier, id);
        if (row === undefined) throw unknownToken();
        if (row.revokedAt !== undefined) return;
        updateToken(tx, barrier, id, { ...row, revokedAt: clock.now() });
        dropPlaceholders(tx, barrier, id);
        recordChanges(tx, barrier, [{ type: "token.revoked", id }]);
      });
    },

    revokeAll: (agentId) =>
      storage.write((tx) => {
        const ids = revokeTokensOf(tx, barrier, agentId, { now: clock.now() });
        recordChanges(
          tx,
          barrier,
          ids.map((id) => ({ type: "token.revoked", id })),
        );
        return ids.length;
      }),

    list: ({ agent } = {}) =>
      storage.read((tx) => infosOf(tx, tokenIds(tx, agent)).sort((a, b) => a.issuedAt - b.issuedAt)),

    page: ({ agent, page, limit }) =>
      storage.read((tx) => {
        const offset = (page - 1) * limit;
        const count = tokenCount(tx, barrier, agent);
        // One more tells whether there is another page, whatever an earlier Sidekey on the same store has left uncounted.
        const ids = tokenIds(tx, agent, { limit: limit + 1, offset, reverse: true });
        const isLast = ids.length <= limit && (ids.length > 0 || offset === 0);
        const total = isLast ? offset + ids.length : Math.max(count, ids.length === 0 ? 0 : offset + ids.length);
        return { items: infosOf(tx, ids.slice(0, limit)), total };
      }),

    find: async (id) => (ID.test(id) ? storage.read((tx) => infoOf(tx, id)) : undefined),
  };
};

/** What an embedded store says of a token at once. */
export const createTokenState =
  (storage: EmbeddedStorage, barrier: Barrier): EmbeddedTokens["state"] =>
  (id) =>
    storage.readNow((tx) => {
      const row = readToken(tx, barrier, id);
      if (row === undefined) return "unknown";
      return row.revokedAt === undefined ? "active" : "revoked";
    });

const rowOf = (claims: TokenClaims, { agent, description, approvedTier }: IssueRequest): TokenRow => {
  const { issuedAt, expiresAt, maxUses } = claims;
  return {
    agent: claims.agent,
    ...(typeof agent !== "string" && { agentId: agent.id }),
    scope: formatScopes(claims.scopes),
    issuedAt,
    expiresAt,
    ...(maxUses !== undefined && { maxUses }),
    ...(description !== undefined && { description }),
    ...(approvedTier !== undefined && { approvedTier }),
  };
};

const tokenInfo = (row: TokenRow): Omit<TokenInfo, "id"> => ({
  agent: row.agent,
  agentId: row.agentId,
  scope: row.scope,
  issuedAt: row.issuedAt,
  expiresAt: row.expiresAt,
  revokedAt: row.revokedAt,
  maxUses: row.maxUses,
  uses: row.maxUses === undefined ? undefined : (row.uses ?? 0),
  description: row.description,
  approvedTier: row.approvedTier ?? "standard",
});

/** IPv4 also where a dual-stack listener shows it v4-mapped. */
const isWithin = (ip: string | undefined, list: string): boolean => {
  const address = ip === undefined ? undefined : parsePeer(ip);
  if (address === undefined) return false;
  return list.split(" ").some((text) => {
    const cidr = parseCidr(text);
    return cidr !== undefined && cidrContains(cidr, address);
  });
};

const countedUse = (id: string, { idempotencyKey, request, version }: UseRetry, now: EpochMs): CountedUse => ({
  id,
  use: sha256(idempotencyKey),
  request: sha256(request),
  version,
  now,
});

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const unknownToken = (): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_INVALID", { detail: "The store knows no token with this id." });
