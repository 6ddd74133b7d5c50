/**
 * The sidecars that may redeem for an agent, each known by the thumbprint of a key that never left it. What was revoked
 * stays revoked: a sidecar that enrols itself at every start must not undo an operator's word.
 */
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { publicJwkThumbprint } from "../../identity/dpop.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { recordChanges } from "../changes.ts";
import { createOrderedIds } from "../ordered-id.ts";
import type { Tx, VaultStorage } from "../storage/storage.ts";
import { requireLiveAgent } from "./rows.ts";
import { putSidecar, readSidecar, readSidecars, removeSidecar, type SidecarInfo } from "./sidecar-rows.ts";

export interface EnrolRequest {
  readonly agentId: string;
  /** One line of 1 to 128 characters. */
  readonly name: string;
  /** Thumbprint (RFC 7638), or the public key that it is taken from; both must agree. */
  readonly jkt?: string;
  readonly jwk?: unknown;
}

export interface VaultSidecars {
  /**
   * The one that is enrolled already, when it is.
   * Errors: IDENTITY_AGENT_UNKNOWN, IDENTITY_SIDECAR_REVOKED, IDENTITY_SIDECAR_LIMIT, IDENTITY_PROOF_INVALID (jwk),
   * CONFIG_USAGE.
   */
  enroll(request: EnrolRequest): Promise<SidecarInfo>;
  /** Revoked or not; undefined when it never was enrolled. One look. */
  find(agentId: string, jkt: string): Promise<SidecarInfo | undefined>;
  /** Revoked ones too, by time of enrolment. */
  list(of?: { readonly agentId: string }): Promise<readonly SidecarInfo[]>;
  /** By thumbprint for every agent that it is enrolled for. Errors: IDENTITY_SIDECAR_UNKNOWN. */
  revoke(idOrJkt: string): Promise<readonly SidecarInfo[]>;
}

export interface SidecarLimits {
  /**
   * Of one agent, revoked ones not counted; of these as many are remembered, those that were revoked last. Whoever has the
   * agent's key makes keys as he likes: without an end to them he fills the store.
   */
  readonly perAgent: number;
}

export const DEFAULT_SIDECAR_LIMITS: SidecarLimits = { perAgent: 1_000 };

const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;
const LINE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,128}$/u;

export const createVaultSidecars = (
  { storage, barrier, clock }: { readonly storage: VaultStorage; readonly barrier: Barrier; readonly clock: Clock },
  { perAgent }: SidecarLimits = DEFAULT_SIDECAR_LIMITS,
): VaultSidecars => {
  const newId = createOrderedIds(clock);

  /** For one more. Errors: IDENTITY_SIDECAR_LIMIT. */
  const makeRoom = (tx: Tx, agentId: string): void => {
    const all = readSidecars(tx, barrier, agentId);
    const revoked = all.filter(({ revokedAt }) => revokedAt !== undefined);
    if (all.length - revoked.length >= perAgent) throw new SidekeyError("IDENTITY_SIDECAR_LIMIT");
    const newestFirst = [...revoked].sort((a, b) => (b.revokedAt ?? 0) - (a.revokedAt ?? 0));
    for (const one of newestFirst.slice(perAgent)) removeSidecar(tx, one);
  };

  return {
    async enroll({ agentId, name, jkt, jwk }) {
      if (!LINE.test(name)) throw usage("A sidecar's name is one line of 1 to 128 characters.");
      const thumbprint = jwk === undefined ? jkt : publicJwkThumbprint(jwk);
      if (thumbprint === undefined || !THUMBPRINT.test(thumbprint)) throw usage("A thumbprint has 43 characters.");
      if (jkt !== undefined && jkt !== thumbprint) throw usage("The thumbprint is not that of the key.");
      const wanted: SidecarInfo = { id: newId(), agentId, name, jkt: thumbprint, createdAt: clock.now() };
      return storage.write((tx) => {
        requireLiveAgent(tx, barrier, agentId);
        const known = readSidecar(tx, barrier, agentId, thumbprint);
        if (known?.revokedAt !== undefined) throw new SidekeyError("IDENTITY_SIDECAR_REVOKED");
        if (known !== undefined) return known;
        makeRoom(tx, agentId);
        putSidecar(tx, barrier, wanted);
        return wanted;
      });
    },

    async find(agentId, jkt) {
      if (!THUMBPRINT.test(jkt)) return undefined;
      return storage.read((tx) => readSidecar(tx, barrier, agentId, jkt));
    },

    list: (of) =>
      storage.read((tx) => [...readSidecars(tx, barrier, of?.agentId)].sort((a, b) => (a.id < b.id ? -1 : 1))),

    revoke: (idOrJkt) =>
      storage.write((tx) => {
        const found = readSidecars(tx, barrier).filter(({ id, jkt }) => id === idOrJkt || jkt === idOrJkt);
        if (found.length === 0) throw new SidekeyError("IDENTITY_SIDECAR_UNKNOWN");
        const revoked = found.map((one) => ({ ...one, revokedAt: one.revokedAt ?? clock.now() }));
        for (const [at, one] of revoked.entries()) if (found[at]?.revokedAt === undefined) putSidecar(tx, barrier, one);
        const fresh = found.filter(({ revokedAt }) => revokedAt === undefined);
        recordChanges(
          tx,
          barrier,
          fresh.map(({ jkt }) => ({ type: "sidecar.revoked", jkt })),
        );
        return revoked;
      }),
  };
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
