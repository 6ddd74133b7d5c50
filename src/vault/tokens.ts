/**
 * Scoped tokens of this store: signed with its own key, and each known by a row, so that revocation is the store's word
 * and not the token's. The signing key is made on first use and kept sealed in the store.
 */
import { createPrivateKey, generateKeyPairSync, randomUUID } from "node:crypto";
import * as z from "zod";
import type { Clock, EpochMs } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { formatScopes, parseScopes, type Scope } from "../identity/scope.ts";
import {
  createSigningKey,
  type SigningKey,
  signToken,
  type TokenClaims,
  type TokenReads,
  verifyToken,
} from "../identity/token.ts";
import { type Barrier, openJson, sealJson } from "./barrier.ts";
import type { EmbeddedStorage, ReadTx, Tx, VaultStorage } from "./storage/storage.ts";

export const DEFAULT_TOKEN_TTL_MS = 60 * 60 * 1000;
export const MAX_TOKEN_TTL_MS = 24 * 60 * 60 * 1000;

export interface IssueRequest {
  readonly scopes: readonly Scope[];
  /** Name of the agent. */
  readonly agent: string;
  /** `ms`, cut to whole seconds; 1 s to 24 h, default 1 h. */
  readonly ttlMs?: number;
  readonly maxUses?: number;
  /** CIDR of the callers. */
  readonly ip?: string;
  readonly reads?: TokenReads;
  /** Thumbprint of the only key that may present it. */
  readonly jkt?: string;
}

export interface IssuedToken {
  /** Compact JWS. */
  readonly token: string;
  readonly claims: TokenClaims;
}

export interface TokenInfo {
  /** `jti` */
  readonly id: string;
  readonly agent: string;
  /** `secrets:ACTION:GLOB`, space-separated. */
  readonly scope: string;
  readonly issuedAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly revokedAt: EpochMs | undefined;
}

export type TokenState = "active" | "revoked" | "unknown";

export interface VaultTokens {
  /** Errors: IDENTITY_BAD_SCOPE (none, or too many for a token), CONFIG_USAGE (name, time to live, uses). */
  issue(request: IssueRequest): Promise<IssuedToken>;
  /** Errors: IDENTITY_TOKEN_INVALID, IDENTITY_TOKEN_EXPIRED, IDENTITY_TOKEN_REVOKED (also: no row). */
  verify(token: string): Promise<TokenClaims>;
  /** As `verify`, but says nothing about today: for a caller that judges expiry and `state` at each use. */
  inspect(token: string): Promise<TokenClaims>;
  /** Errors: IDENTITY_TOKEN_INVALID when there is no such token. */
  revoke(id: string): Promise<void>;
  /** By time of issue; expired ones stay until the next issue. */
  list(): Promise<readonly TokenInfo[]>;
}

export interface EmbeddedTokens extends VaultTokens {
  /** What the store says now, expiry apart. Fast: once per request when the generation changed. */
  state(id: string): TokenState;
}

const PREFIX = "token:";
const SIGNER = "signer:ed25519";
const AGENT = /^[A-Za-z0-9._-]{1,64}$/;
const ID = /^[A-Za-z0-9-]{1,64}$/;

const rowSchema = z.strictObject({
  agent: z.string(),
  scope: z.string(),
  issuedAt: z.number(),
  expiresAt: z.number(),
  revokedAt: z.number().optional(),
});
type TokenRow = z.output<typeof rowSchema>;

export const createVaultTokens = (storage: VaultStorage, barrier: Barrier, clock: Clock): VaultTokens => {
  let signer: SigningKey | undefined;

  const requireSigner = async (): Promise<SigningKey> => {
    if (signer !== undefined) return signer;
    const der = (await storage.read(openSigner)) ?? (await storage.write(createSigner));
    signer = createSigningKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
    return signer;
  };

  const openSigner = (tx: ReadTx): Buffer | undefined => {
    const sealed = tx.get(SIGNER);
    return sealed === undefined ? undefined : barrier.open({ path: SIGNER, version: 0 }, sealed);
  };

  /** Looks again: another process may have made one since. */
  const createSigner = (tx: Tx): Buffer => {
    const known = openSigner(tx);
    if (known !== undefined) return known;
    const { privateKey } = generateKeyPairSync("ed25519");
    const der = privateKey.export({ format: "der", type: "pkcs8" });
    tx.put(SIGNER, barrier.seal({ path: SIGNER, version: 0 }, der));
    return der;
  };

  const openRow = (key: string, sealed: Buffer): TokenRow => openTokenRow(barrier, key, sealed);

  const putRow = (tx: Tx, key: string, row: TokenRow): void => tx.put(key, sealJson(barrier, key, row));

  const purgeExpired = (tx: Tx, now: EpochMs): void => {
    for (const { key, value } of tx.range(PREFIX)) if (openRow(key, value).expiresAt <= now) tx.remove(key);
  };

  return {
    async issue(request) {
      const claims = claimsOf(request, clock.now());
      const token = await signToken(claims, await requireSigner());
      const { agent, issuedAt, expiresAt } = claims;
      await storage.write((tx) => {
        purgeExpired(tx, clock.now());
        putRow(tx, PREFIX + claims.id, { agent, scope: formatScopes(claims.scopes), issuedAt, expiresAt });
      });
      return { token, claims };
    },

    async verify(token) {
      const claims = await verifyToken(token, { key: await requireSigner(), now: clock.now() });
      const key = PREFIX + claims.id;
      const state = await storage.read((tx) => stateIn(tx, barrier, claims.id), { expect: [key] });
      if (state !== "active") throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
      return claims;
    },

    inspect: async (token) => verifyToken(token, { key: await requireSigner(), now: clock.now(), expiredToo: true }),

    async revoke(id) {
      if (!ID.test(id)) throw unknownToken();
      await storage.write((tx) => {
        const key = PREFIX + id;
        const sealed = tx.get(key);
        if (sealed === undefined) throw unknownToken();
        const row = openRow(key, sealed);
        if (row.revokedAt === undefined) putRow(tx, key, { ...row, revokedAt: clock.now() });
      });
    },

    list: () =>
      storage.read((tx) =>
        tx
          .range(PREFIX)
          .map(({ key, value }) => ({ id: key.slice(PREFIX.length), revokedAt: undefined, ...openRow(key, value) }))
          .sort((a, b) => a.issuedAt - b.issuedAt),
      ),
  };
};

export const createEmbeddedTokens = (storage: EmbeddedStorage, barrier: Barrier, clock: Clock): EmbeddedTokens => ({
  ...createVaultTokens(storage, barrier, clock),
  state: (id) => storage.readNow((tx) => stateIn(tx, barrier, id)),
});

const openTokenRow = (barrier: Barrier, key: string, sealed: Buffer): TokenRow =>
  openJson(barrier, key, sealed, rowSchema);

const stateIn = (tx: ReadTx, barrier: Barrier, id: string): TokenState => {
  const sealed = tx.get(PREFIX + id);
  if (sealed === undefined) return "unknown";
  return openTokenRow(barrier, PREFIX + id, sealed).revokedAt === undefined ? "active" : "revoked";
};

const claimsOf = (request: IssueRequest, now: EpochMs): TokenClaims => {
  const { agent, scopes, ttlMs = DEFAULT_TOKEN_TTL_MS, maxUses, ip, reads, jkt } = request;
  if (scopes.length === 0) {
    throw new SidekeyError("IDENTITY_BAD_SCOPE", { detail: "A token needs at least one scope." });
  }
  if (!AGENT.test(agent)) {
    throw new SidekeyError("CONFIG_USAGE", { detail: "An agent's name is 1 to 64 of A-Z a-z 0-9 . _ -" });
  }
  const lifetime = Math.floor(ttlMs / 1000) * 1000;
  if (!(lifetime >= 1000 && lifetime <= MAX_TOKEN_TTL_MS)) {
    throw new SidekeyError("CONFIG_USAGE", { detail: "A token lives 1 second to 24 hours." });
  }
  if (maxUses !== undefined && !(Number.isSafeInteger(maxUses) && maxUses >= 1)) {
    throw new SidekeyError("CONFIG_USAGE", { detail: "A token's uses are a whole number from 1." });
  }
  const issuedAt = Math.floor(now / 1000) * 1000;
  return {
    subject: agent,
    agent,
    id: randomUUID(),
    issuedAt,
    notBefore: issuedAt,
    expiresAt: issuedAt + lifetime,
    // Parsed again: a scope built by hand must not get a sign past the grammar.
    scopes: parseScopes(formatScopes(scopes)),
    ...(maxUses !== undefined && { maxUses }),
    ...(ip !== undefined && { ip }),
    ...(reads !== undefined && { reads }),
    ...(jkt !== undefined && { jkt }),
  };
};

const unknownToken = (): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_INVALID", { detail: "The store knows no token with this id." });
