/**
 * What a call of the API is: a description as data and one function. The framework is a detail of `app.ts`; a call never
 * sees it. What its schemas do not name never goes out.
 */
import type { ServerResponse } from "node:http";
import type * as z from "zod";
import { SidekeyError } from "../../core/errors.ts";
import type { VaultActor, VaultAudit } from "../audit.ts";
import type { AnyVault } from "../index.ts";
import { actorOf, type Principal } from "./callers/principal.ts";
import type { WireCode } from "./wire/error.ts";

/** Who may make it. `token` is one sent as Bearer, or with its proof where it is bound to a key. */
export type Caller = "anyone" | "operator" | "agent" | "token";

export interface CallRequest<Query = unknown, Body = unknown, Who extends Principal = Principal> {
  readonly id: string;
  readonly principal: Who;
  /** Address of the client, or of the one that a trusted proxy names. */
  readonly ip: string;
  readonly method: string;
  /** In its one spelling, with the query. */
  readonly target: string;
  /** Of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  /** Lower-case name; the first of several. */
  header(name: string): string | undefined;
}

export interface Answer {
  readonly status: number;
  /** A Buffer goes out as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of a body: from here on the response is the call's own. */
  readonly stream?: (response: ServerResponse) => void;
}

export interface AnswerSpec {
  readonly description: string;
  /** Absent: no body; or text of `contentType`. */
  readonly schema?: z.ZodType;
  /** Default: application/json. */
  readonly contentType?: string;
}

/** The event that a refusal of it is recorded as. */
export type DenialEvent = "secret.read.denied" | "secret.use.denied" | "token.denied" | "auth.failed";

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** `/v1/tokens/:id`; `:path` of a secret holds its slashes. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly who: readonly Caller[];
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  /** Of an empty body: `{}`. */
  readonly body?: z.ZodType;
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  /** Beside those that any call may give. */
  readonly errors: readonly WireCode[];
  /** Default: auth.failed. */
  readonly denial?: DenialEvent;
  /** It spends a use of a token that has not many: the others refuse one whose uses are over. */
  readonly spends?: true;
  /** It is no GET and changes nothing: the same request is answered anew. */
  readonly onlyReads?: true;
  handle(request: CallRequest): Promise<Answer>;
}

interface Schemas<Query extends z.ZodObject, Body extends z.ZodType> {
  readonly query?: Query;
  readonly body?: Body;
  handle(request: CallRequest<z.output<Query>, z.output<Body>>): Promise<Answer>;
}

const IDEMPOTENCY_KEY = /^[!-~]{1,256}$/;

/** Ties the types of a call's schemas to its function. */
export const defineCall = <Query extends z.ZodObject = z.ZodObject, Body extends z.ZodType = z.ZodType>(
  spec: Omit<Call, "query" | "body" | "handle"> & Schemas<Query, Body>,
): Call => spec as unknown as Call;

/** What every event of a request says of it. `told`: what its query or body says of whom it is for. */
export const frameOf = (
  { id, principal, ip, header }: Pick<CallRequest, "id" | "principal" | "ip" | "header">,
  told: { readonly agent_name?: string | undefined; readonly reason?: string | undefined } = {},
): {
  readonly actor: VaultActor;
  readonly requestId: string;
  readonly ip: string;
  readonly agentName: string | undefined;
  readonly reason: string | undefined;
} => ({
  actor: actorOf(principal),
  requestId: id,
  ip,
  agentName: header("x-agent-name") ?? told.agent_name,
  reason: header("x-reason") ?? told.reason,
});

/** Whether the same request with the same Idempotency-Key is answered again instead of being made again. */
export const isChange = ({ method, onlyReads }: Pick<Call, "method" | "onlyReads">): boolean =>
  method !== "GET" && onlyReads !== true;

/** Errors: VAULT_SERVER_BAD_REQUEST. */
export const idempotencyKeyOf = ({ header }: Pick<CallRequest, "header">): string | undefined => {
  const key = header("idempotency-key");
  if (key !== undefined && !IDEMPOTENCY_KEY.test(key)) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  return key;
};

/** For an answer that spends nothing, in a call that may spend. Errors: IDENTITY_TOKEN_SPENT. */
export const requireUsesLeft = ({ principal }: Pick<CallRequest, "principal">): void => {
  if (principal.kind === "token" && principal.token.usesLeft === 0) throw new SidekeyError("IDENTITY_TOKEN_SPENT");
};

/**
 * Counts a use of the request's token, where it has a number of them, and puts that on record. `version` is what the use
 * is spent on; resolves to that of the first of the same requests, which every one of them is to be answered with.
 * Errors: IDENTITY_TOKEN_SPENT, IDENTITY_TOKEN_REVOKED, VAULT_IDEMPOTENCY_REUSED, AUDIT_UNAVAILABLE.
 */
export const spendUse = async (
  { vault, audit }: { readonly vault: Pick<AnyVault, "tokens">; readonly audit: VaultAudit },
  request: CallRequest,
  version = 0,
): Promise<number> => {
  const { principal, method, target, body } = request;
  if (principal.kind !== "token" || principal.token.usesLeft === undefined) return version;
  const { id } = principal.token;
  const idempotencyKey = idempotencyKeyOf(request);
  // A use that nothing can come of is not spent.
  audit.assertWritable();
  const made = JSON.stringify([method, target, body ?? null]);
  const spent = await vault.tokens.spend(
    id,
    idempotencyKey === undefined ? undefined : { idempotencyKey, request: made, version },
  );
  await audit.record({ event: "token.used", ...frameOf(request), tokenId: id });
  return spent ?? version;
};
