/** What sidecars do: redeem a token for the value of a secret that it may use but not read, and hear of changes. */
import * as z from "zod";
import { type Host, parseAuthority, parseHost } from "../../../core/authority.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { parseScopes, scopesCover } from "../../../identity/scope.ts";
import { requireTier } from "../../../identity/tier.ts";
import type { SecretInfo, StoredSecret, TokenInfo } from "../../index.ts";
import { type Call, type CallRequest, defineCall, frameOf, spendUse } from "../call.ts";
import { requireApproved, requireScope, type TokenPrincipal } from "../callers/principal.ts";
import type { ApiContext } from "../context.ts";
import { textOf } from "../wire/secret.ts";
import { toldFields, toldHeaders } from "../wire/told.ts";
import { timestamp, wireTime } from "../wire/types.ts";

const path = z
  .string()
  .min(3)
  .max(1024)
  .regex(/^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)+$/);

const redeemBody = z.strictObject({
  path: path.optional(),
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,128}$/)
    .optional()
    .describe("Instead of a path: looked up in the agent's place, the narrowest first."),
  placeholder: z.string().min(1).max(8192).optional().describe("Instead of a path: what an agent of the same got."),
  version: z.number().int().min(1).max(1_000_000_000).optional().describe("Default: the newest."),
  if_version: z.number().int().min(1).max(1_000_000_000).optional().describe("No value when this is the newest still."),
  authority: z.string().min(1).max(320).describe("HOST or HOST:PORT that the value is for."),
  ...toldFields,
});
type RedeemBody = z.output<typeof redeemBody>;

const valueSchema = z.object({
  value: z.string(),
  version: z.number().int(),
  path: z.string(),
  hosts: z.array(z.string()).optional().describe("The only hosts it may go to."),
  agent: z.string().optional().describe("Of a placeholder: name of the agent that it was given to."),
  not_after: timestamp.optional().describe("Its own end, or that of the token whose placeholder was sent."),
  replaced: z
    .array(z.object({ value: z.string(), replaced_at: timestamp }))
    .optional()
    .describe("What it replaced in the last 10 minutes, as far as it is readable: to be taken out of answers as well."),
});

const unchangedSchema = z.object({ version: z.number().int(), path: z.string(), unchanged: z.literal(true) });

/** `ms` */
const REPLACED_FOR_MS = 10 * 60_000;

export const redeemCalls = (context: ApiContext): readonly Call[] => {
  const { vault, audit } = context;
  return [
    defineCall({
      method: "POST",
      path: "/v1/redeem",
      operationId: "redeem",
      tag: "sidecars",
      summary: "The value of a secret, for a sidecar that sends it where it belongs",
      description:
        "With Authorization: DPoP and a proof by the key that the token is bound to, or of an enrolled sidecar.",
      who: ["token"],
      headers: toldHeaders,
      body: redeemBody,
      answers: {
        200: { description: "The value; or that it has not changed.", schema: z.union([valueSchema, unchangedSchema]) },
      },
      errors: ["APPROVAL_REQUIRED", "SECRET_NOT_FOUND", "SECRET_EXPIRED", "BACKEND_UNAVAILABLE"],
      denial: "secret.use.denied",
      spends: true,
      onlyReads: true,
      async handle(request) {
        const { principal, body } = request;
        if (principal.kind !== "token" || !principal.isSidecar) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
        const { info, holder } = await wanted(context, principal, body);
        requireHost(info, body.authority);
        const approved = holder?.approvedTier ?? principal.token.approvedTier;
        const { if_version: known } = body;
        if (known !== undefined && body.version === undefined && (await vault.secrets.isUnchanged(info.path, known))) {
          return { status: 200, body: { version: known, path: info.path, unchanged: true } };
        }
        const take = async (version: number | undefined): Promise<StoredSecret> => {
          const taken = await vault.secrets.get(info.path, version);
          // It may be another since it was found.
          requireTier(approved, taken.tier);
          requireHost(taken, body.authority);
          return taken;
        };
        const found = await take(body.version);
        const spent = await spendUse(context, request as CallRequest, found.version);
        // The same request again is answered with what its use was spent on, or not at all.
        const secret = spent === found.version ? found : await take(spent);
        await audit.record({
          event: "secret.used",
          ...frameOf(request, body),
          actor: { type: "sidecar", id: principal.proof, agent: principal.token.agent },
          secret: info.path,
          version: secret.version,
          authority: body.authority,
          metadata: {
            token: principal.token.id,
            placeholder: holder === undefined ? undefined : true,
            holder: holder?.id,
          },
        });
        const answer = await redeemed(context, secret);
        return { status: 200, body: holder === undefined ? answer : heldBy(answer, holder) };
      },
    }),
  ];
};

interface Wanted {
  readonly info: SecretInfo;
  /** Where a placeholder was sent: the token that it was given to. */
  readonly holder?: TokenInfo;
}

/** The secret that is asked for, when it may be used. Errors: IDENTITY_SCOPE_DENIED, IDENTITY_APPROVAL_REQUIRED, VAULT_*. */
const wanted = async ({ vault, clock }: ApiContext, principal: TokenPrincipal, body: RedeemBody): Promise<Wanted> => {
  const given = [body.path, body.name, body.placeholder].filter((one) => one !== undefined);
  if (given.length !== 1) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  if (body.placeholder !== undefined) return behind({ vault, clock }, principal, body.placeholder);
  const found = body.path ?? (await byName({ vault }, principal, body.name ?? ""));
  requireScope(principal, "use", found);
  const info = await vault.secrets.find(found);
  if (info === undefined) throw new SidekeyError("VAULT_SECRET_MISSING");
  requireApproved(principal, info.tier);
  return { info };
};

const byName = async (
  { vault }: Pick<ApiContext, "vault">,
  { token }: TokenPrincipal,
  name: string,
): Promise<string> => {
  const place = token.agentId === undefined ? undefined : (await vault.agents.find(token.agentId)).place;
  const found = place === undefined ? undefined : await vault.secrets.resolveName(name, place);
  if (found === undefined) throw new SidekeyError("VAULT_SECRET_MISSING");
  return found;
};

/**
 * What a placeholder stands for: the token that it was given to must be good still, its agent the sidecar's own, and the
 * sidecar's token for the same secret.
 */
const behind = async (
  { vault, clock }: Pick<ApiContext, "vault" | "clock">,
  principal: TokenPrincipal,
  placeholder: string,
): Promise<Wanted> => {
  const found = await vault.placeholders.resolve(placeholder);
  const holder = found === undefined ? undefined : await vault.tokens.find(found.tokenId);
  // One of another agent is as if it were none.
  if (found === undefined || holder === undefined || found.agentId !== principal.token.agentId) {
    throw new SidekeyError("VAULT_SECRET_MISSING");
  }
  requireScope(principal, "use", found.path);
  if (holder.revokedAt !== undefined || holder.expiresAt <= clock.now())
    throw new SidekeyError("IDENTITY_SCOPE_DENIED");
  const scopes = parseScopes(holder.scope);
  if (!scopesCover(scopes, "read", found.path) && !scopesCover(scopes, "use", found.path)) {
    throw new SidekeyError("IDENTITY_SCOPE_DENIED");
  }
  const info = await vault.secrets.find(found.path);
  if (info === undefined) throw new SidekeyError("VAULT_SECRET_MISSING");
  requireTier(holder.approvedTier, info.tier);
  return { info, holder };
};

/** Errors: VAULT_SERVER_BAD_REQUEST (no host), POLICY_SECRET_HOST. */
const requireHost = ({ hosts }: Pick<SecretInfo, "hosts">, authority: string): void => {
  const host: Host | undefined = parseHost(authority) ?? parseAuthority(authority)?.host;
  if (host === undefined) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  if (hosts.length > 0 && !hosts.includes(host.name)) throw new SidekeyError("POLICY_SECRET_HOST");
};

const redeemed = async ({ vault, clock }: ApiContext, secret: StoredSecret): Promise<z.input<typeof valueSchema>> => {
  const { path: of, version, hosts, readableUntil, value } = secret;
  const before = await vault.secrets.replacedSince(of, version, clock.now() - REPLACED_FOR_MS);
  const replaced = before.map((one) => ({ value: textOf(one.value), replaced_at: wireTime(one.replacedAt) }));
  return {
    value: textOf(value),
    version,
    path: of,
    ...(hosts.length > 0 && { hosts: [...hosts] }),
    ...(readableUntil !== undefined && { not_after: wireTime(readableUntil) }),
    ...(replaced.length > 0 && { replaced }),
  };
};

/** A placeholder is good no longer than its token, and so is what is cached for it. */
const heldBy = (answer: z.input<typeof valueSchema>, { agent, expiresAt }: TokenInfo): z.input<typeof valueSchema> => {
  const { not_after: own } = answer;
  const end = own === undefined ? expiresAt : Math.min(expiresAt, Date.parse(own));
  return { ...answer, agent, not_after: wireTime(end) };
};
