/** Secrets: their values for whoever may read them, and what is known about them. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { type AnyVault, SECRET_CATEGORIES, type SecretInfo } from "../../index.ts";
import { type Answer, type Call, type CallRequest, defineCall, frameOf, requireUsesLeft, spendUse } from "../call.ts";
import { covers, type Principal, requireApproved, sees, type TokenPrincipal } from "../callers/principal.ts";
import type { ApiContext } from "../context.ts";
import { infoSchema, textOf, wireInfo } from "../wire/secret.ts";
import { toldFields, toldHeaders } from "../wire/told.ts";
import { listOf, page, paged, pathParams, timestamp, wireTime } from "../wire/types.ts";

const WHO = ["operator", "agent", "token"] as const;

const category = z.enum(SECRET_CATEGORIES).optional();
const version = z.coerce.number().int().min(1).max(1_000_000_000).optional();

const secretSchema = infoSchema.extend({
  value: z.string().describe("The value; or what stands for it, when 'placeholder' is true."),
  version: z.number().int().describe("Of the value."),
  placeholder: z.literal(true).optional(),
});

const listSchema = listOf(infoSchema).extend({ namespace: z.string() });

const readQuery = z.strictObject({
  version: version.describe("Default: the newest."),
  category,
  ...toldFields,
  ...page,
});

type ListQuery = { readonly page: number; readonly limit: number; readonly category?: string | undefined };

export const secretCalls = (context: ApiContext): readonly Call[] => {
  const { vault } = context;
  return [
    defineCall({
      method: "GET",
      path: "/v1/secrets/:path",
      operationId: "getSecret",
      tag: "secrets",
      summary: "The value of a secret, or the secrets of a namespace",
      description:
        "A path that is a secret's and that the caller may read is answered with its value; any other with what lies below " +
        "it, as GET /v1/secrets. A token whose reads are 'placeholder' gets a placeholder, which a sidecar swaps for the value.",
      who: WHO,
      params: pathParams,
      query: readQuery,
      headers: toldHeaders,
      answers: { 200: { description: "The secret, or the list.", schema: z.union([secretSchema, listSchema]) } },
      errors: ["SCOPE_DENIED", "APPROVAL_REQUIRED", "SECRET_NOT_FOUND", "SECRET_EXPIRED", "BACKEND_UNAVAILABLE"],
      denial: "secret.read.denied",
      spends: true,
      handle: (request) => getSecret(context, request, request.params["path"] ?? ""),
    }),
    defineCall({
      method: "GET",
      path: "/v1/secrets",
      operationId: "listSecrets",
      tag: "secrets",
      summary: "What the caller may know of: names and facts, never values",
      who: WHO,
      query: z.strictObject({
        namespace: z
          .string()
          .max(1024)
          .regex(/^(?:[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*)?$/)
          .default("")
          .describe("Only what lies below it."),
        category,
        ...page,
      }),
      answers: { 200: { description: "One page.", schema: listSchema } },
      errors: [],
      handle: async ({ principal, query }) => ({
        status: 200,
        body: await listIn(context, principal, query.namespace, query),
      }),
    }),
    historyCall(context),
    namespacesCall(vault),
  ];
};

const listIn = async ({ vault }: ApiContext, principal: Principal, namespace: string, query: ListQuery) => {
  const all = await vault.secrets.list(namespace === "" ? "" : `${namespace}/`);
  const seen = all.filter((one) => sees(principal, one.path));
  const wanted = query.category === undefined ? seen : seen.filter((one) => one.category === query.category);
  const { items, ...rest } = paged(wanted, query);
  return { namespace, items: items.map(wireInfo), ...rest };
};

const getSecret = async (
  context: ApiContext,
  request: CallRequest<z.output<typeof readQuery>>,
  path: string,
): Promise<Answer> => {
  const { principal, query } = request;
  const mayRead = covers(principal, "read", path) || takesPlaceholder(principal, path);
  const info = path.includes("/") ? await context.vault.secrets.find(path) : undefined;
  if (info !== undefined && mayRead) return { status: 200, body: await readSecret(context, request, info) };
  requireUsesLeft(request);
  // What lies below a path of which the caller may know nothing is as if it were not there.
  const list = await listIn(context, principal, path, query);
  if (list.total > 0) return { status: 200, body: list };
  if (!path.includes("/")) throw new SidekeyError("VAULT_SECRET_MISSING");
  if (!mayRead) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
  throw new SidekeyError("VAULT_SECRET_MISSING");
};

const takesPlaceholder = (principal: Principal, path: string): principal is TokenPrincipal =>
  principal.kind === "token" && principal.token.reads === "placeholder" && covers(principal, "use", path);

const readSecret = async (
  { vault, audit }: ApiContext,
  request: CallRequest<{ version?: number | undefined; agent_name?: string | undefined; reason?: string | undefined }>,
  info: SecretInfo,
): Promise<z.input<typeof secretSchema>> => {
  const { principal, query } = request;
  const { path } = info;
  requireApproved(principal, info.tier);
  const stand = standIn(principal);
  const read = async (version: number | undefined) => {
    const secret = await vault.secrets.get(path, version);
    // It may be another since it was found.
    requireApproved(principal, secret.tier);
    const value =
      stand === undefined
        ? textOf(secret.value)
        : await vault.placeholders.issue({ ...stand, path, value: secret.value });
    return { secret, value };
  };
  const found = await read(query.version);
  const spent = await spendUse({ vault, audit }, request, found.secret.version);
  // The same request again is answered with what its use was spent on, or not at all.
  const { secret, value } = spent === found.secret.version ? found : await read(spent);
  await audit.record({
    event: "secret.read",
    ...frameOf(request, query),
    secret: path,
    version: secret.version,
    ...(stand !== undefined && { metadata: { placeholder: true } }),
  });
  return { ...wireInfo(secret), version: secret.version, value, ...(stand !== undefined && { placeholder: true }) };
};

/** Whose placeholder it would be; undefined: the caller gets values. Errors: IDENTITY_SCOPE_DENIED. */
const standIn = (principal: Principal): { readonly tokenId: string; readonly agentId: string } | undefined => {
  if (principal.kind === "token") {
    const { id: tokenId, agentId, reads } = principal.token;
    if (reads === "value") return undefined;
    if (agentId !== undefined) return { tokenId, agentId };
  } else if (principal.kind !== "agent" || principal.agent.reads === "value") return undefined;
  // A placeholder is a token's; a key that reads none has nothing to get.
  throw new SidekeyError("IDENTITY_SCOPE_DENIED");
};

const historyCall = (context: ApiContext): Call =>
  defineCall({
    method: "GET",
    path: "/v1/secrets/:path/history",
    operationId: "getSecretHistory",
    tag: "secrets",
    summary: "The versions of a secret, newest first",
    who: WHO,
    params: pathParams,
    query: readQuery,
    answers: {
      200: {
        description: "Without values; or a secret whose own name is 'history'.",
        schema: z.union([
          secretSchema,
          z.object({
            items: z.array(
              z.object({
                version: z.number().int(),
                created_at: timestamp,
                by: z.string().optional(),
                readable_until: timestamp.optional(),
                expires_at: timestamp.optional(),
                restored: z.number().int().optional().describe("The version that it brought back."),
              }),
            ),
          }),
        ]),
      },
    },
    errors: ["SCOPE_DENIED", "APPROVAL_REQUIRED", "SECRET_NOT_FOUND", "SECRET_EXPIRED", "BACKEND_UNAVAILABLE"],
    denial: "secret.read.denied",
    spends: true,
    async handle(request) {
      const { principal, params } = request;
      const { vault } = context;
      const path = params["path"] ?? "";
      // The two cannot both be there: a secret and a namespace share no path.
      const own = `${path}/history`;
      if ((await vault.secrets.find(own)) !== undefined) return getSecret(context, request, own);
      requireUsesLeft(request);
      if (!sees(principal, path)) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
      const versions = await vault.secrets.history(path);
      const items = versions.map(({ version: number, createdAt, by, readableUntil, expiresAt, restored }) => ({
        version: number,
        created_at: wireTime(createdAt),
        ...(by !== undefined && { by }),
        ...(readableUntil !== undefined && { readable_until: wireTime(readableUntil) }),
        ...(expiresAt !== undefined && { expires_at: wireTime(expiresAt) }),
        ...(restored !== undefined && { restored }),
      }));
      return { status: 200, body: { items } };
    },
  });

const namespacesCall = (vault: AnyVault): Call =>
  defineCall({
    method: "GET",
    path: "/v1/namespaces",
    operationId: "listNamespaces",
    tag: "secrets",
    summary: "The namespaces of the secrets that the caller may know of",
    who: WHO,
    query: z.strictObject(page),
    answers: {
      200: {
        description: "In order.",
        schema: listOf(z.object({ namespace: z.string(), secret_count: z.number().int() })),
      },
    },
    errors: [],
    async handle({ principal, query }) {
      const counts = new Map<string, number>();
      for (const { path } of await vault.secrets.list()) {
        if (!sees(principal, path)) continue;
        const namespace = path.slice(0, path.lastIndexOf("/"));
        counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
      }
      const all = [...counts].map(([namespace, secret_count]) => ({ namespace, secret_count }));
      return { status: 200, body: paged(all, query) };
    },
  });
