/** Approvals over the vault's API: what agents wait for, and what operators say. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { given, listOf, name, optional, type Page, type PageRequest, text, texts, time, toPage } from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { oneSegment } from "./secret-path.ts";

export interface ApprovalInfo {
  readonly id: string;
  readonly agentId?: string;
  readonly agent?: string;
  readonly status: string;
  readonly tier?: string;
  readonly scopes: readonly string[];
  readonly reason?: string;
  readonly createdAt?: EpochMs;
  readonly expiresAt?: EpochMs;
  readonly decidedBy?: string;
  readonly decidedAt?: EpochMs;
  readonly decisionReason?: string;
}

export interface ApprovalsApi {
  list(request?: PageRequest & { readonly status?: string }): Promise<Page<ApprovalInfo>>;
  get(id: string): Promise<ApprovalInfo>;
  /** For an agent key: one of its own. */
  mine(id: string): Promise<ApprovalInfo>;
  approve(id: string, decision?: { readonly reason?: string }): Promise<void>;
  deny(id: string, decision: { readonly reason: string }): Promise<void>;
}

const approvalSchema = z.object({
  id: name,
  agent_id: optional(text),
  agent: optional(text),
  status: name,
  access_tier: optional(text),
  requested_scopes: optional(texts),
  reason: optional(text),
  created_at: optional(time),
  expires_at: optional(time),
  decided_by: optional(text),
  decided_at: optional(time),
  decision_reason: optional(text),
});
const approvalList = listOf(approvalSchema);

export const createApprovalsApi = (calls: Calls, { own }: Pick<Credentials, "own">): ApprovalsApi => {
  const get = async (path: string): Promise<ApprovalInfo> => {
    const call = { method: "GET", path, credential: own(), repeatable: true, what: "the approval" } as const;
    return toApproval(await calls.json(call, approvalSchema));
  };
  const decide = async (id: string, verb: "approve" | "deny", body: object): Promise<void> =>
    calls.nothing({
      method: "POST",
      path: `/v1/approvals/${oneSegment(id)}/${verb}`,
      credential: own(),
      body,
      repeatable: false,
      what: "the approval",
    });
  return {
    async list({ status, page, limit, signal } = {}) {
      const query = { status, page, limit };
      const call = { method: "GET", path: "/v1/approvals", query, credential: own(), repeatable: true } as const;
      const { items, total } = await calls.json({ ...call, signal }, approvalList);
      return toPage(items.map(toApproval), total);
    },
    get: async (id) => get(`/v1/approvals/${oneSegment(id)}`),
    mine: async (id) => get(`/v1/approvals/agent/${oneSegment(id)}`),
    approve: (id, { reason } = {}) => decide(id, "approve", { reason }),
    deny: (id, { reason }) => decide(id, "deny", { reason }),
  };
};

const toApproval = (body: z.infer<typeof approvalSchema>): ApprovalInfo =>
  given({
    id: body.id,
    agentId: body.agent_id,
    agent: body.agent,
    status: body.status,
    tier: body.access_tier,
    scopes: body.requested_scopes ?? [],
    reason: body.reason,
    createdAt: body.created_at,
    expiresAt: body.expires_at,
    decidedBy: body.decided_by,
    decidedAt: body.decided_at,
    decisionReason: body.decision_reason,
  });
