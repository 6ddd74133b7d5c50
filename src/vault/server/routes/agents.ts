/** Agents and operators, and the sidecars that redeem for them. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { AgentInfo, SidecarInfo } from "../../index.ts";
import { type Call, type CallRequest, defineCall, frameOf } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { scopeList, scopesIn } from "../wire/scope.ts";
import { listOf, page, paged, timestamp, wireTime } from "../wire/types.ts";

const idOrName = z.object({ id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/) });

const agentSchema = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().optional(),
  operator: z.boolean(),
  allowed_scopes: z.array(z.string()),
  allowed_namespaces: z.array(z.string()),
  reads: z.enum(["value", "placeholder"]),
  place: z.string().optional(),
  api_key_prefix: z.string().describe("The first characters of its key."),
  active: z.boolean(),
  created_at: timestamp,
  last_active_at: timestamp.optional(),
  revoked_at: timestamp.optional(),
});

const wireAgent = (info: AgentInfo): z.input<typeof agentSchema> => ({
  id: info.id,
  name: info.name,
  ...(info.description !== undefined && { description: info.description }),
  operator: info.kind === "operator",
  allowed_scopes: info.scopes.map(({ text }) => text),
  allowed_namespaces: [...info.namespaces],
  reads: info.reads,
  ...(info.place !== undefined && { place: info.place }),
  api_key_prefix: info.keyPrefix,
  active: info.revokedAt === undefined,
  created_at: wireTime(info.createdAt),
  ...(info.lastActiveAt !== undefined && { last_active_at: wireTime(info.lastActiveAt) }),
  ...(info.revokedAt !== undefined && { revoked_at: wireTime(info.revokedAt) }),
});

const createBody = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  description: z.string().max(256).nullish(),
  operator: z.boolean().default(false).describe("May do everything; takes no scopes."),
  allowed_scopes: scopeList.optional().describe("What its tokens may reach at most."),
  allowed_namespaces: z.array(z.string().min(1).max(512)).max(64).optional(),
  reads: z.enum(["value", "placeholder"]).optional().describe("What a plain read answers its tokens."),
  place: z
    .string()
    .max(512)
    .optional()
    .describe("organization[/team[/workspace]]: where names of secrets are looked up."),
});

const updateBody = createBody
  .omit({ name: true, operator: true })
  .extend({ place: createBody.shape.place.nullable().describe("null: none.") });

export const agentCalls = ({ vault, audit }: ApiContext): readonly Call[] => [
  defineCall({
    method: "GET",
    path: "/v1/agents",
    operationId: "listAgents",
    tag: "agents",
    summary: "Agents and operators, revoked ones too",
    who: ["operator"],
    query: z.strictObject(page),
    answers: { 200: { description: "By time of creation.", schema: listOf(agentSchema) } },
    errors: [],
    async handle({ query }) {
      const { items, ...rest } = paged(await vault.agents.list(), query);
      return { status: 200, body: { items: items.map(wireAgent), ...rest } };
    },
  }),
  defineCall({
    method: "POST",
    path: "/v1/agents",
    operationId: "createAgent",
    tag: "agents",
    summary: "A new agent or operator, and its key, which is shown this once",
    who: ["operator"],
    body: createBody,
    answers: { 201: { description: "With its key.", schema: agentSchema.extend({ api_key: z.string() }) } },
    errors: ["CONFLICT"],
    async handle(request) {
      const { body } = request;
      const {
        name,
        operator,
        description,
        allowed_scopes: scopes,
        allowed_namespaces: namespaces,
        reads,
        place,
      } = body;
      audit.assertWritable();
      const { info, key } = await vault.agents.create({
        name,
        kind: operator ? "operator" : "agent",
        ...(typeof description === "string" && description !== "" && { description }),
        ...(scopes !== undefined && { scopes: scopesIn({ scopes }) }),
        ...(namespaces !== undefined && { namespaces }),
        ...(reads !== undefined && { reads }),
        ...(place !== undefined && { place }),
      });
      await audit.record({ event: "agent.created", ...frameOf(request), agentId: info.id, name: info.name });
      return { status: 201, body: { ...wireAgent(info), api_key: key } };
    },
  }),
  defineCall({
    method: "PATCH",
    path: "/v1/agents/:id",
    operationId: "updateAgent",
    tag: "agents",
    summary: "Changes what an agent may; its key stays",
    description:
      "What is not named stays as it is. Tokens that reach further than the agent may now are revoked, and all of them when " +
      "its tokens are to read placeholders. Of an operator: its description, place and reads alone.",
    who: ["operator"],
    params: idOrName,
    body: updateBody,
    answers: { 200: { description: "As it is now.", schema: agentSchema } },
    errors: ["NOT_FOUND"],
    async handle(request) {
      const { params, body } = request;
      const { description, allowed_scopes: scopes, allowed_namespaces: namespaces, reads, place } = body;
      const changed = Object.keys(body);
      if (changed.length === 0) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
      audit.assertWritable();
      const { info, revokedTokens } = await vault.agents.update(params["id"] ?? "", {
        ...(description !== undefined && { description: description === "" ? null : description }),
        ...(scopes !== undefined && { scopes: scopesIn({ scopes }) }),
        ...(namespaces !== undefined && { namespaces }),
        ...(reads !== undefined && { reads }),
        ...(place !== undefined && { place }),
      });
      const metadata = { changed, revoked_tokens: revokedTokens.length };
      await audit.record({ event: "agent.updated", ...frameOf(request), agentId: info.id, name: info.name, metadata });
      return { status: 200, body: wireAgent(info) };
    },
  }),
  defineCall({
    method: "DELETE",
    path: "/v1/agents/:id",
    operationId: "revokeAgent",
    tag: "agents",
    summary: "Takes an agent back, with its tokens, sidecars and open approvals",
    who: ["operator"],
    params: idOrName,
    answers: { 204: { description: "Its key opens nothing any more." } },
    errors: ["NOT_FOUND", "CONFLICT"],
    async handle(request) {
      audit.assertWritable();
      const info = await vault.agents.revoke(request.params["id"] ?? "");
      await audit.record({ event: "agent.revoked", ...frameOf(request), agentId: info.id, name: info.name });
      return { status: 204 };
    },
  }),
];

const sidecarSchema = z.object({
  id: z.string(),
  name: z.string(),
  jkt: z.string(),
  agent_id: z.string(),
  created_at: timestamp,
  revoked_at: timestamp.optional(),
});

const wireSidecar = ({ id, name, jkt, agentId, createdAt, revokedAt }: SidecarInfo): z.input<typeof sidecarSchema> => ({
  id,
  name,
  jkt,
  agent_id: agentId,
  created_at: wireTime(createdAt),
  ...(revokedAt !== undefined && { revoked_at: wireTime(revokedAt) }),
});

const coordinate = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

const enrolBody = z.strictObject({
  name: z.string().min(1).max(128),
  jwk: z
    .looseObject({ kty: z.literal("EC"), crv: z.literal("P-256"), x: coordinate, y: coordinate })
    .optional()
    .describe("Its public key."),
  jkt: coordinate.optional().describe("Or the thumbprint of that (RFC 7638)."),
  agent: z.string().min(1).max(64).optional().describe("Id or name of the agent; operators alone say it."),
});

export const sidecarCalls = ({ vault, audit }: ApiContext): readonly Call[] => {
  const agentOf = async ({ principal, body }: CallRequest<unknown, z.output<typeof enrolBody>>): Promise<AgentInfo> => {
    if (principal.kind === "operator") {
      if (body.agent === undefined) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
      return vault.agents.find(body.agent);
    }
    if (principal.kind !== "agent") throw new SidekeyError("IDENTITY_SCOPE_DENIED");
    const { id, name } = principal.agent;
    if (body.agent !== undefined && body.agent !== id && body.agent !== name) {
      throw new SidekeyError("IDENTITY_SCOPE_DENIED");
    }
    return principal.agent;
  };
  return [
    defineCall({
      method: "GET",
      path: "/v1/sidecars",
      operationId: "listSidecars",
      tag: "agents",
      summary: "Sidecars that may redeem, revoked ones too: all for operators, its own for an agent",
      who: ["operator", "agent"],
      query: z.strictObject(page),
      answers: { 200: { description: "By time of enrolment.", schema: listOf(sidecarSchema) } },
      errors: [],
      async handle({ principal, query }) {
        const of = principal.kind === "agent" ? { agentId: principal.agent.id } : undefined;
        const { items, ...rest } = paged(await vault.sidecars.list(of), query);
        return { status: 200, body: { items: items.map(wireSidecar), ...rest } };
      },
    }),
    defineCall({
      method: "POST",
      path: "/v1/sidecars",
      operationId: "enrolSidecar",
      tag: "agents",
      summary: "Lets the holder of a key redeem what its agent's tokens may use",
      who: ["agent", "operator"],
      body: enrolBody,
      answers: { 201: { description: "It is enrolled, or was.", schema: sidecarSchema } },
      errors: ["NOT_FOUND", "SCOPE_DENIED", "LIMIT_REACHED"],
      async handle(request) {
        const { body } = request;
        if (body.jwk === undefined && body.jkt === undefined) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
        const agent = await agentOf(request);
        audit.assertWritable();
        const info = await vault.sidecars.enroll({
          agentId: agent.id,
          name: body.name,
          ...(body.jwk !== undefined && { jwk: body.jwk }),
          ...(body.jkt !== undefined && { jkt: body.jkt }),
        });
        const metadata = { agent: agent.name, jkt: info.jkt };
        await audit.record({ event: "sidecar.enrolled", ...frameOf(request), sidecarId: info.id, metadata });
        return { status: 201, body: wireSidecar(info) };
      },
    }),
    defineCall({
      method: "DELETE",
      path: "/v1/sidecars/:id",
      operationId: "revokeSidecar",
      tag: "agents",
      summary: "Takes a sidecar's key back, by its id or thumbprint; a thumbprint for every agent it is enrolled for",
      who: ["operator", "agent"],
      params: z.object({ id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/) }),
      answers: { 204: { description: "It redeems nothing any more." } },
      errors: ["NOT_FOUND"],
      async handle(request) {
        const { principal, params } = request;
        let id = params["id"] ?? "";
        if (principal.kind === "agent") {
          const own = await vault.sidecars.list({ agentId: principal.agent.id });
          const found = own.find((one) => one.id === id || one.jkt === id);
          if (found === undefined) throw new SidekeyError("VAULT_SERVER_NOT_FOUND");
          // By its id, so that the same key stays enrolled for other agents.
          id = found.id;
        }
        audit.assertWritable();
        const revoked = await vault.sidecars.revoke(id);
        await audit.recordAll(
          revoked.map((one) => ({
            event: "sidecar.revoked" as const,
            ...frameOf(request),
            sidecarId: one.id,
            metadata: { jkt: one.jkt },
          })),
        );
        return { status: 204 };
      },
    }),
  ];
};
