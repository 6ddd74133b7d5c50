/** About the server itself: whether it can do its work, what it can be asked, and whom it talks to. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { type Call, defineCall } from "../call.ts";
import { agentIdOf, nameOf, sees } from "../callers/principal.ts";
import type { ApiContext } from "../context.ts";

const PLAN = { plan: "self-hosted", subscription_status: "active" } as const;

const jwkSchema = z.object({
  kty: z.literal("OKP"),
  crv: z.literal("Ed25519"),
  x: z.string(),
  kid: z.string(),
  use: z.literal("sig"),
  alg: z.literal("EdDSA"),
});

export const serverCalls = (context: ApiContext): readonly Call[] => [
  ...publicCalls(context),
  meCall(context),
  defineCall({
    method: "GET",
    path: "/v1/me/status",
    operationId: "getStatus",
    tag: "server",
    summary: "What clients of Agent Secret Store ask before they work",
    who: ["operator", "agent", "token"],
    answers: {
      200: {
        description: "Always the same here.",
        schema: z.object({ has_subscription: z.literal(true), plan: z.string(), subscription_status: z.string() }),
      },
    },
    errors: [],
    handle: async () => ({ status: 200, body: { has_subscription: true, ...PLAN } }),
  }),
];

const publicCalls = ({ vault, audit, version, document }: ApiContext): readonly Call[] => {
  const jwks = (path: string, operationId: string): Call =>
    defineCall({
      method: "GET",
      path,
      operationId,
      tag: "server",
      summary: "The public keys that tokens are signed with (RFC 7517)",
      who: ["anyone"],
      answers: { 200: { description: "A JWK set.", schema: z.object({ keys: z.array(jwkSchema) }) } },
      errors: [],
      handle: async () => ({ status: 200, body: await vault.signingKeys.jwks() }),
    });
  return [
    defineCall({
      method: "GET",
      path: "/v1/health",
      operationId: "getHealth",
      tag: "server",
      summary: "Whether the vault can serve",
      who: ["anyone"],
      answers: {
        200: {
          description: "It can.",
          schema: z.object({ status: z.literal("ok"), version: z.string(), service: z.literal("sidekey-vault") }),
        },
      },
      errors: [],
      async handle() {
        await vault.changes.current();
        if (!audit.healthy()) throw new SidekeyError("AUDIT_UNAVAILABLE");
        return { status: 200, body: { status: "ok", version, service: "sidekey-vault" } };
      },
    }),
    defineCall({
      method: "GET",
      path: "/v1/openapi.json",
      operationId: "getDocument",
      tag: "server",
      summary: "This document",
      who: ["anyone"],
      answers: { 200: { description: "OpenAPI 3.1.", schema: z.looseObject({ openapi: z.string() }) } },
      errors: [],
      handle: async () => ({
        status: 200,
        body: Buffer.from(document()),
        headers: { "content-type": "application/json; charset=utf-8" },
      }),
    }),
    jwks("/v1/jwks.json", "getSigningKeys"),
    jwks("/.well-known/jwks.json", "getWellKnownSigningKeys"),
  ];
};

const meCall = ({ vault }: ApiContext): Call =>
  defineCall({
    method: "GET",
    path: "/v1/me",
    operationId: "getMe",
    tag: "server",
    summary: "Who the caller is",
    who: ["operator", "agent", "token"],
    answers: {
      200: {
        description: "The key's or token's agent.",
        schema: z.object({
          id: z.string(),
          name: z.string(),
          email: z.literal("").describe("For clients that ask; nobody has one here."),
          actor_type: z.enum(["operator", "agent", "token"]),
          plan: z.string(),
          subscription_status: z.string(),
          secret_count: z.number().int().describe("That the caller may know of."),
          agent_count: z.number().int(),
        }),
      },
    },
    errors: [],
    async handle({ principal }) {
      const secrets = await vault.secrets.list();
      const agents = principal.kind === "operator" ? await vault.agents.list() : [];
      const body = {
        id: agentIdOf(principal) ?? "",
        name: nameOf(principal),
        email: "",
        actor_type: principal.kind,
        ...PLAN,
        secret_count: secrets.filter(({ path }) => sees(principal, path)).length,
        agent_count: principal.kind === "operator" ? agents.filter((one) => one.revokedAt === undefined).length : 1,
      };
      return { status: 200, body };
    },
  });
