/** Tokens: asking for one, seeing what there are, ending them. */
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
  time,
  toPage,
} from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { ApprovalRequiredError } from "./errors.ts";
import { oneSegment } from "./secret-path.ts";

export interface TokenRequest {
  /** `secrets:ACTION:GLOB` each. */
  readonly scopes: readonly string[];
  /** One segment each: resolved by the agent's place, and what they lead to is covered with `use`. */
  readonly names?: readonly string[];
  /** Seconds, or a duration: `"1h"`. */
  readonly ttl?: number | string;
  /** In its place where a person has to approve it; at most what the vault allows. */
  readonly approvedTtl?: number | string;
  readonly maxUses?: number;
  /** CIDRs of callers. */
  readonly ips?: readonly string[];
  readonly reads?: "value" | "placeholder";
  /** Thumbprint of the one key that may use it. */
  readonly dpopJkt?: string;
  readonly description?: string;
  /** For whoever has to approve it. */
  readonly reason?: string;
  /** For an operator: whose token it is to be. */
  readonly agent?: string;
  readonly signal?: AbortSignal;
}

export interface IssuedToken {
  readonly token: string;
  readonly id: string;
  readonly agentId?: string;
  readonly scopes: readonly string[];
  readonly expiresAt: EpochMs;
  readonly maxUses?: number;
  readonly reads?: string;
  /** Name to path, for those that lead somewhere. */
  readonly names?: Readonly<Record<string, string>>;
}

export interface TokenInfo {
  readonly id: string;
  readonly agentId: string;
  readonly agent?: string;
  readonly scopes: readonly string[];
  readonly issuedAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly revokedAt?: EpochMs;
  readonly uses?: number;
  readonly maxUses?: number;
  readonly description?: string;
}

export interface TokensApi {
  /** Errors: CLIENT_APPROVAL_REQUIRED when a person has to decide first; the same request again gives the token then. */
  request(request: TokenRequest): Promise<IssuedToken>;
  /** An operator sees all, an agent its own. */
  list(request?: PageRequest): Promise<Page<TokenInfo>>;
  /** By its id. Errors: CLIENT_NOT_FOUND. */
  revoke(id: string): Promise<void>;
  /** The token itself ends itself; default: the one this client was made with. */
  revokeOwn(token?: string): Promise<void>;
}

const scopes = z.array(z.string().max(2048)).max(1024);

const issuedSchema = z.union([
  z.object({ requires_approval: z.literal(true), approval_id: name }),
  z
    .object({
      requires_approval: optional(z.literal(false)),
      token: credential,
      token_id: optional(name),
      agent_id: optional(name),
      scopes: optional(scopes),
      expires_at: time,
      max_uses: optional(z.int().min(1)),
      reads: optional(z.string().max(32)),
      names: optional(z.record(name, name)),
    })
    .transform((body) => body),
]);

const listSchema = listOf(
  z
    .object({
      token_id: name,
      agent_id: optional(z.string().max(1024)),
      agent: optional(z.string().max(1024)),
      scopes,
      issued_at: time,
      expires_at: time,
      revoked_at: optional(time),
      uses: optional(z.int().min(0)),
      max_uses: optional(z.int().min(1)),
      description: optional(text),
    })
    .transform(
      (item): TokenInfo =>
        given({
          id: item.token_id,
          agentId: item.agent_id ?? "",
          agent: item.agent,
          scopes: item.scopes,
          issuedAt: item.issued_at,
          expiresAt: item.expires_at,
          revokedAt: item.revoked_at,
          uses: item.uses,
          maxUses: item.max_uses,
          description: item.description,
        }),
    ),
);

export const createTokensApi = (calls: Calls, credentials: Pick<Credentials, "own">): TokensApi => ({
  async request({ signal, ...asked }) {
    const body = {
      scopes: asked.scopes.length === 0 && asked.names !== undefined ? undefined : asked.scopes,
      names: asked.names?.length === 0 ? undefined : asked.names,
      ttl: asked.ttl,
      approved_ttl: asked.approvedTtl,
      max_uses: asked.maxUses,
      ip_allowlist: asked.ips,
      reads: asked.reads,
      dpop_jkt: asked.dpopJkt,
      description: asked.description,
      reason: asked.reason,
      agent: asked.agent,
    };
    const answer = await calls.json(
      { method: "POST", path: "/v1/tokens", credential: credentials.own(), body, repeatable: false, signal },
      issuedSchema,
    );
    if ("approval_id" in answer) {
      throw new ApprovalRequiredError(answer.approval_id, {
        detail: `Approval ${answer.approval_id} waits for a person.`,
        hint: `An operator decides with: sidekey approval approve ${answer.approval_id} --vault URL. Then ask again.`,
        httpStatus: 202,
      });
    }
    return given({
      token: answer.token,
      id: answer.token_id ?? "",
      agentId: answer.agent_id,
      scopes: answer.scopes ?? asked.scopes,
      expiresAt: answer.expires_at,
      maxUses: answer.max_uses,
      reads: answer.reads,
      names: answer.names,
    });
  },
  async list({ page, limit, signal } = {}) {
    const query = { page, limit };
    const call = { method: "GET", path: "/v1/tokens", query, credential: credentials.own(), repeatable: true } as const;
    const { items, total } = await calls.json({ ...call, signal }, listSchema);
    return toPage(items, total);
  },
  async revoke(id) {
    const path = `/v1/tokens/${oneSegment(id)}`;
    await calls.nothing({ method: "DELETE", path, credential: credentials.own(), repeatable: true, what: "the token" });
  },
  async revokeOwn(token) {
    const credential = credentials.own(token);
    await calls.nothing({ method: "POST", path: "/v1/tokens/revoke", credential, repeatable: true });
  },
});
