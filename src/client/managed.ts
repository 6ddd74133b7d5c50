/** What operators look after over the vault's API: agents, sidecars, approvals. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import {
  credential,
  given,
  name,
  optional,
  type Page,
  type PageRequest,
  pageMembers,
  time,
  toPage,
} from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { oneSegment } from "./secret-path.ts";

export interface AgentRequest {
  readonly name: string;
  readonly description?: string;
  /** Manages the vault, and has every secret in it. */
  readonly operator?: boolean;
  /** `secrets:ACTION:GLOB` each. */
  readonly scopes?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly reads?: "value" | "placeholder";
  /** `organization[/team[/workspace]]` */
  readonly place?: string;
}

export interface AgentInfo {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly operator: boolean;
  readonly scopes: readonly string[];
  readonly namespaces: readonly string[];
  readonly reads?: string;
  readonly place?: string;
  /** First characters of its key. */
  readonly keyPrefix?: string;
  readonly active: boolean;
  readonly createdAt?: EpochMs;
  readonly lastActiveAt?: EpochMs;
}

export interface AgentsApi {
  /** The key is shown this once. Errors: CLIENT_CONFLICT when the name is taken. */
  create(request: AgentRequest): Promise<{ readonly agent: AgentInfo; readonly key: string }>;
  list(request?: PageRequest): Promise<Page<AgentInfo>>;
  /** By id or name; with its tokens and sidecars. Errors: CLIENT_NOT_FOUND. */
  revoke(idOrName: string): Promise<void>;
}

export interface SidecarInfo {
  readonly id: string;
  readonly name: string;
  /** Thumbprint of its key. */
  readonly jkt: string;
  readonly agentId?: string;
  readonly createdAt?: EpochMs;
}

export interface EnrolRequest {
  readonly name: string;
  /** The public key, or its thumbprint. */
  readonly jwk?: { readonly kty?: string; readonly crv?: string; readonly x?: string; readonly y?: string };
  readonly jkt?: string;
  /** For an operator: whose sidecar it is. */
  readonly agent?: string;
  readonly signal?: AbortSignal;
}

export interface SidecarsApi {
  /** The same key again for the same agent is no error. */
  enroll(request: EnrolRequest): Promise<SidecarInfo>;
  list(request?: PageRequest): Promise<Page<SidecarInfo>>;
  revoke(idOrJkt: string): Promise<void>;
}

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

const text = z.string().max(4096);
const texts = z.array(text).max(4096);

const agentMembers = {
  id: name,
  name,
  description: optional(text),
  operator: optional(z.boolean()),
  kind: optional(text),
  allowed_scopes: optional(texts),
  allowed_namespaces: optional(texts),
  reads: optional(text),
  place: optional(text),
  api_key_prefix: optional(text),
  active: optional(z.boolean()),
  created_at: optional(time),
  last_active_at: optional(time),
};
const agentSchema = z.object(agentMembers);
const createdSchema = z.object({ ...agentMembers, api_key: credential });

const sidecarSchema = z.object({
  id: name,
  name: optional(text),
  jkt: name,
  agent_id: optional(text),
  created_at: optional(time),
});

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

const listOf = <T extends z.ZodType>(item: T) => z.object({ ...pageMembers, items: z.array(item) });
const agentList = listOf(agentSchema);
const sidecarList = listOf(sidecarSchema);
const approvalList = listOf(approvalSchema);

type Own = Pick<Credentials, "own">;

export const createAgentsApi = (calls: Calls, { own }: Own): AgentsApi => ({
  async create({ name: asked, description, operator, scopes, namespaces, reads, place }) {
    const body = {
      name: asked,
      description,
      operator,
      allowed_scopes: scopes,
      allowed_namespaces: namespaces,
      reads,
      place,
    };
    const call = {
      method: "POST",
      path: "/v1/agents",
      credential: own(),
      body,
      repeatable: false,
      what: asked,
    } as const;
    const { api_key: key, ...made } = await calls.json(call, createdSchema);
    return { agent: toAgent(made), key };
  },
  async list({ page, limit, signal } = {}) {
    const call = {
      method: "GET",
      path: "/v1/agents",
      query: { page, limit },
      credential: own(),
      repeatable: true,
    } as const;
    const { items, total } = await calls.json({ ...call, signal }, agentList);
    return toPage(items.map(toAgent), total);
  },
  revoke: async (idOrName) =>
    calls.nothing({
      method: "DELETE",
      path: `/v1/agents/${oneSegment(idOrName)}`,
      credential: own(),
      repeatable: false,
      what: idOrName,
    }),
});

const toAgent = (body: z.infer<typeof agentSchema>): AgentInfo =>
  given({
    id: body.id,
    name: body.name,
    description: body.description,
    operator: body.operator ?? body.kind === "operator",
    scopes: body.allowed_scopes ?? [],
    namespaces: body.allowed_namespaces ?? [],
    reads: body.reads,
    place: body.place,
    keyPrefix: body.api_key_prefix,
    active: body.active ?? true,
    createdAt: body.created_at,
    lastActiveAt: body.last_active_at,
  });

export const createSidecarsApi = (calls: Calls, { own }: Own): SidecarsApi => ({
  async enroll({ name: asked, jwk, jkt, agent, signal }) {
    // Only the members that a public key has.
    const key = jwk === undefined ? undefined : { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y };
    const body = { name: asked, jwk: key, jkt, agent };
    const call = {
      method: "POST",
      path: "/v1/sidecars",
      credential: own(),
      body,
      repeatable: true,
      what: asked,
    } as const;
    return toSidecar(await calls.json({ ...call, signal }, sidecarSchema));
  },
  async list({ page, limit, signal } = {}) {
    const call = {
      method: "GET",
      path: "/v1/sidecars",
      query: { page, limit },
      credential: own(),
      repeatable: true,
    } as const;
    const { items, total } = await calls.json({ ...call, signal }, sidecarList);
    return toPage(items.map(toSidecar), total);
  },
  revoke: async (idOrJkt) =>
    calls.nothing({
      method: "DELETE",
      path: `/v1/sidecars/${oneSegment(idOrJkt)}`,
      credential: own(),
      repeatable: false,
      what: idOrJkt,
    }),
});

const toSidecar = (body: z.infer<typeof sidecarSchema>): SidecarInfo =>
  given({
    id: body.id,
    name: body.name ?? "",
    jkt: body.jkt,
    agentId: body.agent_id,
    createdAt: body.created_at,
  });

export const createApprovalsApi = (calls: Calls, { own }: Own): ApprovalsApi => {
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
