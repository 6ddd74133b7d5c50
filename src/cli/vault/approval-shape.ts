/** Approvals as the command line shows them, whether they come from the vault of this machine or from a server. */
import type { ApprovalInfo as ServerApproval } from "../../client/index.ts";
import type { ApprovalInfo } from "../../vault/index.ts";

export const fromHere = (info: ApprovalInfo): ServerApproval => ({
  id: info.id,
  agentId: info.agentId,
  agent: info.agent,
  status: info.status,
  tier: info.tier,
  scopes: info.scopes.map(({ text }) => text),
  createdAt: info.createdAt,
  expiresAt: info.expiresAt,
  ...(info.reason !== undefined && { reason: info.reason }),
  ...(info.decidedBy !== undefined && { decidedBy: info.decidedBy }),
  ...(info.decidedAt !== undefined && { decidedAt: info.decidedAt }),
  ...(info.decisionReason !== undefined && { decisionReason: info.decisionReason }),
});

export const describeApproval = (approval: ServerApproval): object => ({
  id: approval.id,
  agent: approval.agent ?? approval.agentId,
  status: approval.status,
  tier: approval.tier,
  scopes: approval.scopes,
  reason: approval.reason,
  created_at: time(approval.createdAt),
  expires_at: time(approval.expiresAt),
  decided_by: approval.decidedBy,
  decided_at: time(approval.decidedAt),
  decision_reason: approval.decisionReason,
});

const time = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : new Date(at).toISOString();
