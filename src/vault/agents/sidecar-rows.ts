/** How enrolled sidecars lie in a store: `sidecar:AGENT:JKT`, so that the question of each request is one look. */
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { type Barrier, recallJson, sealJson } from "../barrier/barrier.ts";
import type { ReadTx, Tx } from "../storage/storage.ts";

export interface SidecarInfo {
  readonly id: string;
  readonly agentId: string;
  readonly name: string;
  /** RFC 7638 thumbprint of its key. */
  readonly jkt: string;
  readonly createdAt: EpochMs;
  readonly revokedAt?: EpochMs;
}

export const SIDECAR = "sidecar:";

const rowSchema = z.strictObject({
  id: z.string(),
  name: z.string(),
  createdAt: z.number(),
  revokedAt: z.number().optional(),
});

const keyOf = (agentId: string, jkt: string): string => `${SIDECAR}${agentId}:${jkt}`;

const openRow = (barrier: Barrier, key: string, sealed: Buffer): SidecarInfo => {
  const { revokedAt, ...row } = recallJson(barrier, key, sealed, rowSchema);
  const [agentId = "", jkt = ""] = key.slice(SIDECAR.length).split(":");
  return { ...row, agentId, jkt, ...(revokedAt !== undefined && { revokedAt }) };
};

/** Undefined when there is none. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const readSidecar = (tx: ReadTx, barrier: Barrier, agentId: string, jkt: string): SidecarInfo | undefined => {
  const key = keyOf(agentId, jkt);
  const sealed = tx.get(key);
  return sealed === undefined ? undefined : openRow(barrier, key, sealed);
};

export const putSidecar = (tx: Tx, barrier: Barrier, { agentId, jkt, ...row }: SidecarInfo): void => {
  const key = keyOf(agentId, jkt);
  tx.put(key, sealJson(barrier, key, row));
};

export const removeSidecar = (tx: Tx, { agentId, jkt }: Pick<SidecarInfo, "agentId" | "jkt">): void =>
  void tx.remove(keyOf(agentId, jkt));

/** All, or those of one agent; revoked ones too. */
export const readSidecars = (tx: ReadTx, barrier: Barrier, agentId?: string): readonly SidecarInfo[] =>
  tx.range(agentId === undefined ? SIDECAR : keyOf(agentId, "")).map(({ key, value }) => openRow(barrier, key, value));

/** Of one agent. Returns their thumbprints. */
export const revokeSidecarsOf = (tx: Tx, barrier: Barrier, agentId: string, now: EpochMs): readonly string[] => {
  const live = readSidecars(tx, barrier, agentId).filter(({ revokedAt }) => revokedAt === undefined);
  for (const one of live) putSidecar(tx, barrier, { ...one, revokedAt: now });
  return live.map(({ jkt }) => jkt);
};
