/**
 * What a call of the API is: a description as data and one function. The framework is a detail of `app.ts`; a call never
 * sees it. What its schemas do not name never goes out.
 */
import type { ServerResponse } from "node:http";
import type * as z from "zod";
import type { Principal } from "./auth.ts";
import type { WireCode } from "./wire-error.ts";

/** Who may make it. `token` is one sent as Bearer, or with its proof where it is bound to a key. */
export type Caller = "anyone" | "operator" | "agent" | "token";

export interface CallRequest<Query = unknown, Body = unknown> {
  readonly id: string;
  readonly principal: Principal;
  /** Address of the client, or of the one that a trusted proxy names. */
  readonly ip: string;
  /** Of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  /** Lower-case name; the first of several. */
  header(name: string): string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of a body: from here on the response is the call's own. */
  readonly stream?: (response: ServerResponse) => void;
}

export interface AnswerSpec {
  readonly description: string;
  /** Absent: no body. */
  readonly schema?: z.ZodType;
  readonly contentType?: string;
}

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
  readonly body?: z.ZodType;
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  /** Beside those that any call may give. */
  readonly errors: readonly WireCode[];
  handle(request: CallRequest): Promise<Answer>;
}

interface Schemas<Query extends z.ZodObject, Body extends z.ZodType> {
  readonly query?: Query;
  readonly body?: Body;
  handle(request: CallRequest<z.output<Query>, z.output<Body>>): Promise<Answer>;
}

/** Ties the types of a call's schemas to its function. */
export const defineCall = <Query extends z.ZodObject = z.ZodObject, Body extends z.ZodType = z.ZodType>(
  spec: Omit<Call, "query" | "body" | "handle"> & Schemas<Query, Body>,
): Call => spec as unknown as Call;
