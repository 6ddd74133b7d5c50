/** Agents and operators over the vault's API. A key is in the answer that makes it, and in no other. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import {
  credential,
  given,
  listOf,
  name,
  optional,
  type Page,
  type PageRequest,
  text,
  texts,
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

/** What is not said stays as it is; null: none any more. */
export interface AgentUpdate extends Pick<AgentRequest, "scopes" | "namespaces" | "reads"> {
  readonly description?: string | null;
  readonly place?: string | null;
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
  /** By id or name; its key stays, its tokens that reach further than it may now don't. Errors: CLIENT_NOT_FOUND. */
  update(idOrName: string, update: AgentUpdate): Promise<AgentInfo>;
  /** By id or name; with its tokens and sidecars. Errors: CLIENT_NOT_FOUND. */
  revoke(idOrName: string): Promise<void>;
}

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
const agentList = listOf(agentSchema);

export const createAgentsApi = (calls: Calls, { own }: Pick<Credentials, "own">): AgentsApi => ({
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
  async update(idOrName, { description, scopes, namespaces, reads, place }) {
    const call = {
      method: "PATCH",
      path: `/v1/agents/${oneSegment(idOrName)}`,
      credential: own(),
      body: { description, allowed_scopes: scopes, allowed_namespaces: namespaces, reads, place },
      repeatable: true,
      what: idOrName,
    } as const;
    return toAgent(await calls.json(call, agentSchema));
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
