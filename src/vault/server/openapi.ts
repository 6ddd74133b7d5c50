/** The OpenAPI 3.1 document, made from the calls. The only door to @fastify/swagger. */
import { fastifySwagger } from "@fastify/swagger";
import * as z from "zod";
import { type AnswerSpec, type Call, type Caller, isChange } from "./call.ts";
import { WIRE_ERRORS, type WireCode } from "./wire/error.ts";
import { EXAMPLES } from "./wire/examples.ts";
import { errorSchema } from "./wire/types.ts";

/** Any call may give these. */
const USUAL: readonly WireCode[] = [
  "VALIDATION_ERROR",
  "ORIGIN_DENIED",
  "URI_TOO_LONG",
  "REQUEST_TIMEOUT",
  "RATE_LIMITED",
  "HEADERS_TOO_LARGE",
  "INTERNAL",
  "DRAINING",
  "OVERLOADED",
  "STORE_UNAVAILABLE",
  "AUDIT_UNAVAILABLE",
];

const errorsOf = ({ errors, who, body, ...call }: Call): readonly WireCode[] => [
  ...USUAL,
  ...errors,
  ...(isChange(call) ? (["IDEMPOTENCY_UNSETTLED"] as const) : []),
  ...(isChange(call) || call.spends === true ? (["IDEMPOTENCY_KEY_REUSED"] as const) : []),
  // A wrong key is refused also where none is needed.
  ...(["UNAUTHORIZED", "USE_DPOP_NONCE"] as const),
  ...(who.includes("anyone") ? [] : (["SCOPE_DENIED"] as const)),
  ...(body === undefined ? [] : (["PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"] as const)),
];

/** What goes out, by status: what a schema here does not name does not. */
export const responsesOf = (call: Call): Readonly<Record<string, unknown>> => {
  const codes = new Map<number, WireCode[]>();
  for (const code of new Set(errorsOf(call))) {
    const { status } = WIRE_ERRORS[code];
    codes.set(status, [...(codes.get(status) ?? []), code]);
  }
  return {
    ...Object.fromEntries([...codes].map(([status, names]) => [status, jsonOf(names.join(", "), errorSchema)])),
    ...Object.fromEntries(Object.entries(call.answers).map(([status, answer]) => [status, answerOf(answer)])),
  };
};

const jsonOf = (description: string, schema: z.ZodType) => ({
  description,
  content: { "application/json": { schema } },
});

const answerOf = ({ description, schema, contentType }: AnswerSpec): unknown => {
  if (schema === undefined && contentType === undefined) return z.undefined().describe(description);
  return { description, content: { [contentType ?? "application/json"]: { schema: schema ?? z.string() } } };
};

const SCHEMES: Readonly<Record<Exclude<Caller, "anyone">, readonly Readonly<Record<string, readonly string[]>>[]>> = {
  operator: [{ operatorKey: [] }],
  agent: [{ agentKey: [] }],
  token: [{ token: [] }, { boundToken: [], proof: [] }],
};

export const securityOf = ({ who }: Call): readonly Readonly<Record<string, readonly string[]>>[] =>
  who.flatMap((caller) => (caller === "anyone" ? [] : SCHEMES[caller]));

const key = (description: string) => ({ type: "http" as const, scheme: "bearer", description });

/** `info.version` is the program's. */
export const openapiOf = (version: string, servers: readonly string[]) => ({
  openapi: "3.1.0",
  info: {
    title: "Sidekey vault",
    version,
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    description:
      "Secrets, scoped tokens and approvals. Every answer carries x-request-id, which stands in the audit; every refusal is " +
      "{error: {code, message, request_id, hint}, detail}.",
  },
  ...(servers.length > 0 && { servers: servers.map((url) => ({ url })) }),
  components: {
    securitySchemes: {
      operatorKey: key("An operator's key, ask_op_…"),
      agentKey: key("An agent's key, ast_agent_…"),
      token: key("A scoped token, from POST /v1/tokens."),
      boundToken: {
        type: "apiKey" as const,
        in: "header" as const,
        name: "Authorization",
        description: "'DPoP TOKEN': a scoped token that comes with a proof (RFC 9449).",
      },
      proof: {
        type: "apiKey" as const,
        in: "header" as const,
        name: "DPoP",
        description: "The proof: a JWS of type dpop+jwt, ES256, for this method and URL and this token.",
      },
    },
  },
});

/**
 * The metadata of zod's own registry, with nothing in it but the error as a component: schemas of the configuration bear
 * ids too, and are no part of the API.
 */
export const apiRegistry = () =>
  Object.assign(z.registry<{ id?: string }>(), {
    _map: z.globalRegistry._map,
    _idmap: new Map([["Error", errorSchema]]),
  });

interface Media {
  example?: unknown;
}

interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; example?: unknown }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Media>> }>>;
}

/** Puts the examples of `wire/examples.ts` where a reader of the document looks for them. Changes what it is given. */
export const addExamples = <Document extends object>(document: Document): Document => {
  const { paths = {} } = document as {
    readonly paths?: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  };
  for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods))) {
    const known = EXAMPLES[operation.operationId ?? ""];
    if (known === undefined) continue;
    for (const parameter of operation.parameters ?? []) {
      const example = parameter.in === "path" ? known.params?.[parameter.name] : undefined;
      if (example !== undefined) parameter.example = example;
    }
    if (known.body !== undefined) put(operation.requestBody?.content, known.body);
    for (const [status, example] of Object.entries(known.answers)) put(operation.responses[status]?.content, example);
  }
  return document;
};

const put = (content: Readonly<Record<string, Media>> = {}, example: unknown): void => {
  for (const media of Object.values(content)) media.example = example;
};

export { fastifySwagger };
