/** Secrets: their values for whoever may read them, and what is known about them. */
import * as z from "zod";
import { SecretValue } from "../../../core/secret-value.ts";
import type { SecretInfo } from "../../index.ts";
import { requireScope } from "../auth.ts";
import { type Call, defineCall } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { pathParams, timestamp, wireTime } from "../wire-types.ts";

const infoSchema = z.object({
  path: z.string(),
  namespace: z.string(),
  key: z.string(),
  version: z.number().int(),
  secret_type: z.string(),
  access_tier: z.string(),
  created_at: timestamp,
  updated_at: timestamp,
});

const wireInfo = ({ path, version, type, tier, createdAt, updatedAt }: SecretInfo): z.input<typeof infoSchema> => ({
  path,
  namespace: path.slice(0, path.lastIndexOf("/")),
  key: path.slice(path.lastIndexOf("/") + 1),
  version,
  secret_type: type ?? "custom",
  access_tier: tier ?? "standard",
  created_at: wireTime(createdAt),
  updated_at: wireTime(updatedAt),
});

export const secretCalls = ({ vault }: ApiContext): readonly Call[] => [
  defineCall({
    method: "GET",
    path: "/v1/secrets/:path",
    operationId: "getSecret",
    tag: "secrets",
    summary: "The value of a secret",
    who: ["operator", "token"],
    params: pathParams,
    query: z.object({ version: z.coerce.number().int().min(1).optional() }),
    answers: { 200: { description: "The secret.", schema: infoSchema.extend({ value: z.string() }) } },
    errors: ["SCOPE_DENIED", "SECRET_NOT_FOUND"],
    async handle({ principal, params: { path = "" }, query: { version } }) {
      requireScope(principal, "read", path);
      const secret = await vault.secrets.get(path, version);
      const value = secret.value.lend((bytes) => bytes.toString("utf8"));
      return { status: 200, body: { ...wireInfo(secret), value } };
    },
  }),
  defineCall({
    method: "PUT",
    path: "/v1/secrets/:path",
    operationId: "putSecret",
    tag: "secrets",
    summary: "Stores a value: a new secret, or a new version",
    who: ["operator", "token"],
    params: pathParams,
    body: z.object({
      value: z.string(),
      secret_type: z.string().optional(),
      access_tier: z.string().optional(),
      hosts: z.array(z.string()).optional(),
    }),
    answers: {
      200: { description: "A new version.", schema: infoSchema },
      201: { description: "A new secret.", schema: infoSchema },
    },
    errors: ["SCOPE_DENIED", "CONFLICT"],
    async handle({ principal, params: { path = "" }, body }) {
      requireScope(principal, "write", path);
      const info = await vault.secrets.set(path, SecretValue.fromText(body.value), {
        ...(body.secret_type !== undefined && { type: body.secret_type }),
        ...(body.access_tier !== undefined && { tier: body.access_tier }),
        ...(body.hosts !== undefined && { hosts: body.hosts }),
        by: principal.kind === "anonymous" ? "anonymous" : principal.name,
      });
      return { status: info.version === 1 ? 201 : 200, body: wireInfo(info) };
    },
  }),
];
