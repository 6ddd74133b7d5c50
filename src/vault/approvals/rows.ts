/**
 * How approvals lie in a store: `approval:ID` holds one, by time; `approvalopen:AGENT:TERMS` leads to the one of these
 * terms that waits or may still be claimed, `approvalwait:ID` to each that waits, and `approvalof:AGENT:ID` to all of an
 * agent. They come and go in one transaction.
 */
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { ACCESS_TIERS } from "../../identity/tier.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import type { ReadTx, Tx } from "../storage/storage.ts";

const APPROVAL = "approval:";
const OPEN = "approvalopen:";
const WAIT = "approvalwait:";
const OF = "approvalof:";
const NOTHING = Buffer.alloc(0);
/** Removed by one request: more than one adds. */
const PURGE_BATCH = 20;
/** Of those that are over; the audit keeps what was decided. `ms` */
const KEPT_MS = 7 * 24 * 60 * 60 * 1000;

const voteSchema = z.strictObject({ by: z.string(), at: z.number(), reason: z.string().optional() });

export const approvalRowSchema = z.strictObject({
  agentId: z.string(),
  agent: z.string(),
  scope: z.string(),
  tier: z.enum(ACCESS_TIERS),
  reason: z.string().optional(),
  /** SHA-256 of what the token was asked for with, in hexadecimal digits. */
  terms: z.string(),
  createdAt: z.number(),
  expiresAt: z.number(),
  status: z.enum(["pending", "approved", "denied", "expired"]),
  /** How many different operators have to say yes. */
  needed: z.number().int().positive(),
  /** Those who did. */
  approvedBy: z.array(voteSchema),
  /** The word that decided. */
  decided: voteSchema.optional(),
  usedAt: z.number().optional(),
});
export type ApprovalRow = z.output<typeof approvalRowSchema>;

const pointerSchema = z.strictObject({ id: z.string() });

const openKey = ({ agentId, terms }: Pick<ApprovalRow, "agentId" | "terms">): string => `${OPEN}${agentId}:${terms}`;

const isApprovalId = (id: string): boolean => /^[A-Za-z0-9-]{1,64}$/.test(id);

/** Errors: VAULT_APPROVAL_UNKNOWN. */
export const requireApproval = (tx: ReadTx, barrier: Barrier, id: string): ApprovalRow => {
  const sealed = isApprovalId(id) ? tx.get(APPROVAL + id) : undefined;
  if (sealed === undefined) throw new SidekeyError("VAULT_APPROVAL_UNKNOWN");
  return openJson(barrier, APPROVAL + id, sealed, approvalRowSchema);
};

/** With its place among those that wait, and among the open ones: there while it waits, or is approved and not used. */
export const putApproval = (tx: Tx, barrier: Barrier, id: string, row: ApprovalRow): void => {
  tx.put(APPROVAL + id, sealJson(barrier, APPROVAL + id, row));
  if (row.status !== "pending") tx.remove(WAIT + id);
  const open = openKey(row);
  const isOpen = row.status === "pending" || (row.status === "approved" && row.usedAt === undefined);
  if (isOpen) tx.put(open, sealJson(barrier, open, { id }));
  else if (readOpen(tx, barrier, row) === id) tx.remove(open);
};

export const addApproval = (tx: Tx, barrier: Barrier, id: string, row: ApprovalRow): void => {
  putApproval(tx, barrier, id, row);
  for (const path of [WAIT + id, `${OF}${row.agentId}:${id}`]) {
    tx.put(path, barrier.seal({ path, version: 0 }, NOTHING));
  }
};

/** Id of the open one with these terms. */
export const readOpen = (
  tx: ReadTx,
  barrier: Barrier,
  of: Pick<ApprovalRow, "agentId" | "terms">,
): string | undefined => {
  const key = openKey(of);
  const sealed = tx.get(key);
  return sealed === undefined ? undefined : openJson(barrier, key, sealed, pointerSchema).id;
};

/** Ids of all that wait, by time; also of those whose time is over and that nobody has marked yet. */
export const waitingIds = (tx: ReadTx): readonly string[] => tx.range(WAIT).map(({ key }) => key.slice(WAIT.length));

/** All, or those of one agent, by time. */
export const approvalIds = (tx: ReadTx, agentId?: string): readonly string[] => {
  const prefix = agentId === undefined ? APPROVAL : `${OF}${agentId}:`;
  return tx.range(prefix).map(({ key }) => key.slice(prefix.length));
};

/** Those that nobody can decide or claim any more, long enough after. */
export const purgeApprovals = (tx: Tx, barrier: Barrier, now: EpochMs): void => {
  for (const { key, value } of tx.range(APPROVAL, { limit: PURGE_BATCH })) {
    const row = openJson(barrier, key, value, approvalRowSchema);
    if (row.createdAt + KEPT_MS > now || row.expiresAt + KEPT_MS > now) return;
    const id = key.slice(APPROVAL.length);
    tx.remove(key);
    tx.remove(`${OF}${row.agentId}:${id}`);
    if (readOpen(tx, barrier, row) === id) tx.remove(openKey(row));
  }
};

/** Of a revoked agent: nobody is asked about it any more. */
export const endApprovalsOf = (tx: Tx, barrier: Barrier, agentId: string, now: EpochMs): void => {
  for (const { key, value } of tx.range(`${OPEN}${agentId}:`)) {
    const { id } = openJson(barrier, key, value, pointerSchema);
    const row = requireApproval(tx, barrier, id);
    putApproval(tx, barrier, id, { ...row, status: "expired", expiresAt: Math.min(row.expiresAt, now) });
  }
};
