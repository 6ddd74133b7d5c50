/** Approvals: what agents ask for, and what operators say. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { formatScopes } from "../../../identity/scope.ts";
import type { ApprovalInfo } from "../../index.ts";
import { type Call, type CallRequest, defineCall, frameOf } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { listOf, page, paged, timestamp, wireTime } from "../wire/types.ts";

const STATUSES = ["pending", "approved", "denied", "expired"] as const;

const idParams = z.object({ id: z.string().regex(/^[A-Za-z0-9-]{1,64}$/) });

const approvalSchema = z.object({
  id: z.string(),
  agent_id: z.string(),
  agent: z.string(),
  status: z.enum(STATUSES),
  access_tier: z.string(),
  requested_scopes: z.array(z.string()),
  reason: z.string().optional().describe("The agent's words."),
  created_at: timestamp,
  expires_at: timestamp.describe("Waiting until then; when approved, to be turned into a token until then."),
  approvals_needed: z.number().int(),
  approved_by: z.array(z.string()).describe("Ids of operators."),
  decided_by: z.string().optional(),
  decided_at: timestamp.optional(),
  decision_reason: z.string().optional(),
  used_at: timestamp.optional().describe("Its token was made."),
});

const wireApproval = (info: ApprovalInfo): z.input<typeof approvalSchema> => ({
  id: info.id,
  agent_id: info.agentId,
  agent: info.agent,
  status: info.status,
  access_tier: info.tier,
  requested_scopes: info.scopes.map(({ text }) => text),
  ...(info.reason !== undefined && { reason: info.reason }),
  created_at: wireTime(info.createdAt),
  expires_at: wireTime(info.expiresAt),
  approvals_needed: info.needed,
  approved_by: [...info.approvedBy],
  ...(info.decidedBy !== undefined && { decided_by: info.decidedBy }),
  ...(info.decidedAt !== undefined && { decided_at: wireTime(info.decidedAt) }),
  ...(info.decisionReason !== undefined && { decision_reason: info.decisionReason }),
  ...(info.usedAt !== undefined && { used_at: wireTime(info.usedAt) }),
});

const operatorOf = ({ principal }: CallRequest): string => {
  if (principal.kind !== "operator") throw new SidekeyError("IDENTITY_SCOPE_DENIED");
  return principal.agent.id;
};

export const approvalCalls = ({ vault, audit, teller }: ApiContext): readonly Call[] => [
  defineCall({
    method: "GET",
    path: "/v1/approvals",
    operationId: "listApprovals",
    tag: "approvals",
    summary: "Requests of agents, newest first",
    who: ["operator"],
    query: z.strictObject({ status: z.enum(STATUSES).optional(), ...page }),
    answers: { 200: { description: "One page.", schema: listOf(approvalSchema) } },
    errors: [],
    async handle({ query: { status, ...query } }) {
      const all = await vault.approvals.list(status === undefined ? {} : { status });
      const { items, ...rest } = paged(all, query);
      return { status: 200, body: { items: items.map(wireApproval), ...rest } };
    },
  }),
  defineCall({
    method: "GET",
    path: "/v1/approvals/:id",
    operationId: "getApproval",
    tag: "approvals",
    summary: "One request",
    who: ["operator"],
    params: idParams,
    answers: { 200: { description: "As it is now.", schema: approvalSchema } },
    errors: ["NOT_FOUND"],
    handle: async ({ params }) => ({ status: 200, body: wireApproval(await vault.approvals.get(params["id"] ?? "")) }),
  }),
  defineCall({
    method: "GET",
    path: "/v1/approvals/agent/:id",
    operationId: "getOwnApproval",
    tag: "approvals",
    summary: "One request of the agent that asks",
    who: ["agent"],
    params: idParams,
    answers: { 200: { description: "As it is now.", schema: approvalSchema } },
    errors: ["NOT_FOUND"],
    async handle({ principal, params }) {
      const found = await vault.approvals.get(params["id"] ?? "");
      // Another's is as if it were not there.
      if (principal.kind !== "agent" || found.agentId !== principal.agent.id) {
        throw new SidekeyError("VAULT_APPROVAL_UNKNOWN");
      }
      return { status: 200, body: wireApproval(found) };
    },
  }),
  defineCall({
    method: "POST",
    path: "/v1/approvals/:id/approve",
    operationId: "approve",
    tag: "approvals",
    summary: "An operator's yes; enough of them grant the request",
    who: ["operator"],
    params: idParams,
    body: z.strictObject({ reason: z.string().max(512).optional() }),
    answers: { 200: { description: "As it is now.", schema: approvalSchema } },
    errors: ["NOT_FOUND", "CONFLICT"],
    async handle(request) {
      const { params, body } = request;
      audit.assertWritable();
      const by = operatorOf(request);
      const reason = body.reason === undefined || body.reason === "" ? {} : { reason: body.reason };
      const info = await vault.approvals.approve(params["id"] ?? "", { by, ...reason });
      await audit.record({
        event: "approval.granted",
        ...frameOf(request, reason),
        approvalId: info.id,
        metadata: { agent: info.agent, tier: info.tier, scope: formatScopes(info.scopes), status: info.status },
      });
      teller.wake();
      return { status: 200, body: wireApproval(info) };
    },
  }),
  defineCall({
    method: "POST",
    path: "/v1/approvals/:id/deny",
    operationId: "deny",
    tag: "approvals",
    summary: "An operator's no",
    who: ["operator"],
    params: idParams,
    body: z.strictObject({ reason: z.string().min(1).max(512) }),
    answers: { 200: { description: "As it is now.", schema: approvalSchema } },
    errors: ["NOT_FOUND", "CONFLICT"],
    async handle(request) {
      const { params, body } = request;
      audit.assertWritable();
      const info = await vault.approvals.deny(params["id"] ?? "", { by: operatorOf(request), reason: body.reason });
      await audit.record({
        event: "approval.denied",
        ...frameOf(request, body),
        approvalId: info.id,
        metadata: { agent: info.agent, tier: info.tier, scope: formatScopes(info.scopes) },
      });
      teller.wake();
      return { status: 200, body: wireApproval(info) };
    },
  }),
];
