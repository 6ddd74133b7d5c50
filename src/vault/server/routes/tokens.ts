/** Scoped tokens: asked for, listed, taken back; and the keys that sign them. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { parseScope, parseScopes, type Scope } from "../../../identity/scope.ts";
import type { AgentInfo, TokenInfo } from "../../index.ts";
import { type Call, type CallRequest, defineCall, frameOf } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { type Issued, issueToken, type Wish } from "../issue.ts";
import { scopeFields, scopesIn, wireScopes } from "../wire/scope.ts";
import { secondsOf } from "../wire/seconds.ts";
import { seconds } from "../wire/secret.ts";
import { listOf, page, timestamp, wireTime } from "../wire/types.ts";

const idParams = z.object({ id: z.string().regex(/^[A-Za-z0-9-]{1,64}$/) });

const cidrs = z.array(z.string().min(1).max(64)).min(1).max(32).optional();

const NAME = /^[A-Za-z0-9._-]{1,128}$/;

const requestBody = z.strictObject({
  ...scopeFields,
  names: z
    .array(z.string().regex(NAME))
    .max(64)
    .optional()
    .describe("Looked up in the agent's place, the narrowest first; the token may use what they lead to."),
  ttl: seconds.optional().describe("How long it lives. Default: tokens.default_ttl of vault.yaml."),
  ttl_seconds: seconds.optional().describe("The same as ttl."),
  approved_ttl: seconds
    .optional()
    .describe("In the place of ttl where an operator has to approve it; at most tokens.max_ttl. Default: ttl."),
  max_uses: z.number().int().min(1).max(1_000_000).nullish().describe("How often it may be used. Default: no limit."),
  ip_allowlist: cidrs.describe("CIDRs it may be used from."),
  allowed_ips: cidrs.describe("The same as ip_allowlist."),
  reads: z.enum(["value", "placeholder"]).optional().describe("What a plain read answers."),
  dpop_jkt: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}$/)
    .optional()
    .describe("Thumbprint (RFC 7638) of the only key that may present it."),
  description: z.string().min(1).max(256).optional(),
  reason: z.string().min(1).max(512).optional().describe("For whoever has to approve it."),
  agent: z
    .string()
    .min(1)
    .max(64)
    .optional()
    .describe("Id or name of the agent that it is for; operators alone say it."),
});

const tokenSchema = z.object({
  token: z.string(),
  value: z.string().describe("The same as token."),
  token_id: z.string(),
  agent_id: z.string(),
  scopes: z.array(z.string()),
  scope: z.string(),
  expires_at: timestamp,
  max_uses: z.number().int().optional(),
  reads: z.enum(["value", "placeholder"]).optional(),
  names: z
    .record(z.string(), z.string())
    .optional()
    .describe("What the names lead to; those that lead nowhere are left out."),
});

const waitingSchema = z.object({
  requires_approval: z.literal(true),
  approval_id: z.string(),
  status: z.literal("pending"),
  access_tier: z.string(),
  expires_at: timestamp,
});

const itemSchema = z.object({
  token_id: z.string(),
  agent_id: z.string(),
  agent: z.string(),
  scopes: z.array(z.string()),
  scope: z.string(),
  issued_at: timestamp,
  expires_at: timestamp,
  revoked_at: timestamp.optional(),
  max_uses: z.number().int().optional(),
  uses: z.number().int().optional(),
  description: z.string().optional(),
});

const wireItem = (info: TokenInfo): z.input<typeof itemSchema> => ({
  token_id: info.id,
  agent_id: info.agentId ?? "",
  agent: info.agent,
  ...wireScopes(parseScopes(info.scope)),
  issued_at: wireTime(info.issuedAt),
  expires_at: wireTime(info.expiresAt),
  ...(info.revokedAt !== undefined && { revoked_at: wireTime(info.revokedAt) }),
  ...(info.maxUses !== undefined && { max_uses: info.maxUses }),
  ...(info.uses !== undefined && { uses: info.uses }),
  ...(info.description !== undefined && { description: info.description }),
});

export const tokenCalls = (context: ApiContext): readonly Call[] => [
  issueCall(context),
  listCall(context),
  ...revokeCalls(context),
  rotateKeysCall(context),
];

interface NamedWish {
  readonly wish: Wish;
  /** What the names lead to; undefined: there were none. */
  readonly names: Readonly<Record<string, string>> | undefined;
}

/** Errors: VAULT_SECRET_MISSING (nothing but names, and none leads anywhere), and those of `scopesIn`. */
const scopesOf = (body: z.output<typeof requestBody>, names: NamedWish["names"]): readonly Scope[] => {
  const named = Object.values(names ?? {}).map((path) => parseScope(`secrets:use:${path}`));
  const isBare = body.scope === undefined && (body.scopes ?? []).length === 0;
  if (names === undefined || !isBare) return [...scopesIn(body), ...named];
  if (named.length === 0) throw new SidekeyError("VAULT_SECRET_MISSING");
  return named;
};

/** Name to path, of those that lead somewhere from the agent's place. */
const resolveNames = async (
  { secrets }: Pick<ApiContext["vault"], "secrets">,
  { place }: AgentInfo,
  names: readonly string[],
): Promise<Readonly<Record<string, string>>> => {
  const found: [string, string][] = [];
  for (const name of place === undefined ? [] : new Set(names)) {
    const path = await secrets.resolveName(name, place ?? "");
    if (path !== undefined) found.push([name, path]);
  }
  return Object.fromEntries(found);
};

const issueCall = ({ vault, audit, teller }: ApiContext): Call => {
  const wishOf = async (request: CallRequest<unknown, z.output<typeof requestBody>>): Promise<NamedWish> => {
    const { principal, body } = request;
    if (principal.kind !== "agent" && principal.kind !== "operator") throw new SidekeyError("IDENTITY_SCOPE_DENIED");
    // An agent may say its own name.
    const named = body.agent === undefined ? principal.agent : await vault.agents.find(body.agent);
    if (principal.kind === "agent" && named.id !== principal.agent.id) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
    const ttl = body.ttl ?? body.ttl_seconds;
    const ips = body.ip_allowlist ?? body.allowed_ips;
    const names = body.names === undefined ? undefined : await resolveNames(vault, named, body.names);
    const wish = {
      agent: named,
      scopes: scopesOf(body, names),
      ...(ttl !== undefined && { ttlMs: secondsOf(ttl) * 1000 }),
      ...(body.approved_ttl !== undefined && { approvedTtlMs: secondsOf(body.approved_ttl) * 1000 }),
      ...(typeof body.max_uses === "number" && { maxUses: body.max_uses }),
      ...(ips !== undefined && { ips }),
      ...(body.reads !== undefined && { reads: body.reads }),
      ...(body.dpop_jkt !== undefined && { jkt: body.dpop_jkt }),
      ...(body.description !== undefined && { description: body.description }),
      ...(body.reason !== undefined && { reason: body.reason }),
    };
    return { wish, names };
  };
  return defineCall({
    method: "POST",
    path: "/v1/tokens",
    operationId: "issueToken",
    tag: "tokens",
    summary: "A scoped token; or, for secrets of a higher tier, a request that an operator has to approve",
    description:
      "An agent asks for itself. 202: ask again with the same body until the approval is granted; then the token is made, once.",
    who: ["agent", "operator"],
    body: requestBody,
    answers: {
      201: { description: "The token, shown this once.", schema: tokenSchema },
      202: { description: "It waits for an approval.", schema: waitingSchema },
    },
    errors: ["NOT_FOUND", "SECRET_NOT_FOUND"],
    denial: "token.denied",
    async handle(request) {
      const { wish, names } = await wishOf(request);
      audit.assertWritable();
      const issued: Issued = await issueToken(vault, wish, request.principal.kind === "operator");
      const frame = frameOf(request, { reason: wish.reason });
      if ("waiting" in issued) {
        const { id, tier, expiresAt, isNew } = issued.waiting;
        if (isNew) {
          const scope = wireScopes(wish.scopes).scope;
          const metadata = { tier, scope, agent: wish.agent.name };
          await audit.record({ event: "approval.requested", ...frame, approvalId: id, metadata });
          teller.wake();
        }
        const body = {
          requires_approval: true,
          approval_id: id,
          status: "pending",
          access_tier: tier,
          expires_at: wireTime(expiresAt),
        };
        return { status: 202, body };
      }
      const { token, claims } = issued.token;
      const { scopes, scope } = wireScopes(claims.scopes);
      const metadata = { scope, agent: wish.agent.name, approval: issued.approval?.id };
      await audit.record({ event: "token.issued", ...frame, tokenId: claims.id, metadata });
      return {
        status: 201,
        body: {
          token,
          value: token,
          token_id: claims.id,
          agent_id: wish.agent.id,
          scopes,
          scope,
          expires_at: wireTime(claims.expiresAt),
          ...(claims.maxUses !== undefined && { max_uses: claims.maxUses }),
          ...(claims.reads !== undefined && { reads: claims.reads }),
          ...(names !== undefined && { names }),
        },
      };
    },
  });
};

const listCall = ({ vault }: ApiContext): Call =>
  defineCall({
    method: "GET",
    path: "/v1/tokens",
    operationId: "listTokens",
    tag: "tokens",
    summary: "Tokens that were issued, newest first: all for operators, its own for an agent",
    who: ["operator", "agent"],
    query: z.strictObject(page),
    answers: { 200: { description: "One page.", schema: listOf(itemSchema) } },
    errors: [],
    async handle({ principal, query }) {
      const of = principal.kind === "agent" ? { agent: { id: principal.agent.id } } : {};
      const { items, total } = await vault.tokens.page({ ...of, ...query });
      return { status: 200, body: { items: items.map(wireItem), total, ...query } };
    },
  });

const revokeCalls = ({ vault, audit }: ApiContext): readonly Call[] => {
  /** Whose it is not learns nothing about it. */
  const revoke = async (request: CallRequest, id: string): Promise<{ readonly status: number }> => {
    const { principal } = request;
    const found = await vault.tokens.find(id);
    const isOwn =
      principal.kind === "operator" ||
      (principal.kind === "agent" && found?.agentId === principal.agent.id) ||
      (principal.kind === "token" && principal.token.id === id);
    if (found === undefined || !isOwn) throw new SidekeyError("VAULT_SERVER_NOT_FOUND");
    audit.assertWritable();
    await vault.tokens.revoke(id);
    await audit.record({ event: "token.revoked", ...frameOf(request), tokenId: id, metadata: { agent: found.agent } });
    return { status: 204 };
  };
  const who = ["operator", "agent", "token"] as const;
  const answers = { 204: { description: "It is worth nothing any more." } };
  const byId = (method: "DELETE" | "POST", path: string, operationId: string): Call =>
    defineCall({
      method,
      path,
      operationId,
      tag: "tokens",
      summary: "Takes a token back: an operator any, an agent its own, a token itself",
      who,
      params: idParams,
      answers,
      errors: ["NOT_FOUND"],
      spends: true,
      handle: (request) => revoke(request, request.params["id"] ?? ""),
    });
  return [
    byId("DELETE", "/v1/tokens/:id", "deleteToken"),
    byId("POST", "/v1/tokens/:id/revoke", "revokeToken"),
    defineCall({
      method: "POST",
      path: "/v1/tokens/revoke",
      operationId: "revokeOwnToken",
      tag: "tokens",
      summary: "A token takes itself back",
      who: ["token"],
      answers,
      errors: [],
      spends: true,
      async handle(request) {
        const { principal } = request;
        if (principal.kind !== "token") throw new SidekeyError("IDENTITY_SCOPE_DENIED");
        return revoke(request, principal.token.id);
      },
    }),
  ];
};

const rotateKeysCall = ({ vault, audit }: ApiContext): Call =>
  defineCall({
    method: "POST",
    path: "/v1/keys/rotate",
    operationId: "rotateSigningKey",
    tag: "tokens",
    summary: "A new key signs tokens; those of the one before stay valid until they are over",
    who: ["operator"],
    answers: { 201: { description: "The new key.", schema: z.object({ kid: z.string() }) } },
    errors: [],
    async handle(request) {
      audit.assertWritable();
      const kid = await vault.signingKeys.rotate();
      await audit.record({ event: "key.rotated", ...frameOf(request), kid });
      return { status: 201, body: { kid } };
    },
  });
