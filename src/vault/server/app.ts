/**
 * The only door to fastify: turns calls into a server. Who may make a call is checked here, before its body is read; what
 * goes out is what its schemas name. Must never log or answer with anything that was sent.
 */
import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifySchema, fastify } from "fastify";
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from "fastify-type-provider-zod";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { VaultAudit } from "../audit.ts";
import type { Answering } from "./answering.ts";
import { type Answer, type Call, type Caller, type CallRequest, isChange } from "./call.ts";
import type { Authenticate } from "./callers/auth.ts";
import type { Budget } from "./callers/budget.ts";
import { recordDenial } from "./callers/denial.ts";
import { budgetKeyOf, type Principal } from "./callers/principal.ts";
import { createHttpServer, MAX_HEADERS, type SocketLimits, type TlsMaterial } from "./http/server.ts";
import { MAX_TARGET_LENGTH, readTarget } from "./http/target.ts";
import { addExamples, apiRegistry, fastifySwagger, openapiOf, responsesOf, securityOf } from "./openapi.ts";
import { parseJsonBody } from "./wire/json.ts";
import { bodyOf, rawRefusal, refusalOf } from "./wire/refusal.ts";
import { changeHeaders } from "./wire/told.ts";

export interface AppOptions {
  readonly calls: readonly Call[];
  readonly authenticate: Authenticate;
  /** Throws when who was told apart is nobody any more. */
  readonly requireStanding: (principal: Principal) => Promise<void>;
  /** Makes a call, or answers it again. */
  readonly answer: Answering;
  readonly clock: Pick<Clock, "monotonic">;
  readonly audit: VaultAudit;
  readonly log: Log;
  readonly version: string;
  readonly tls: TlsMaterial | undefined;
  readonly limits: SocketLimits & {
    /** `bytes` */
    readonly body: number;
  };
  /** Of one agent; undefined = none. */
  readonly requests: Budget | undefined;
  /** CIDRs. */
  readonly trustedProxies: readonly string[];
  readonly publicUrls: readonly string[];
  /** One of ours, for a proof whose time cannot be taken. */
  readonly nonce: () => Promise<string>;
  readonly draining: () => boolean;
}

export interface App {
  /** For `listen`. */
  readonly server: Server;
  /** The OpenAPI document. */
  readonly document: unknown;
  close(): Promise<void>;
}

/** No call of ours begins so. */
const REFUSED_TARGET = "/refused";
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const ANONYMOUS: Principal = { kind: "anonymous" };
const NO_TLS = /^ERR_(?:SSL|TLS)_/;
/** For the words that end a connection to get there. `ms` */
const LINGER_MS = 1_000;
/** A body that comes so long after its headers is looked at under its sender's standing then. `ms` */
const HELD_MS = 500;
/** What a browser says of a request that a page of another site makes. */
const OTHER_SITE = /^(?:cross-site|same-site)$/;

export const createApp = async (options: AppOptions): Promise<App> => {
  const { calls, version, tls, limits, trustedProxies, publicUrls } = options;
  const app: FastifyInstance = fastify({
    logger: false,
    bodyLimit: limits.body,
    exposeHeadRoutes: false,
    requestIdHeader: false,
    genReqId: ({ headers }) => {
      const given = headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
    },
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_TARGET_LENGTH },
    serverFactory: (handler) => createHttpServer(handler, tls, limits),
    rewriteUrl: ({ method = "", url = "" }) => readTarget(method, url)?.url ?? REFUSED_TARGET,
    clientErrorHandler(error, socket) {
      // Before the handshake is done nothing can be said, and what waits to be said would keep the connection for ever.
      if (error.code === "ECONNRESET" || !socket.writable || NO_TLS.test(error.code ?? "")) {
        return void socket.destroy();
      }
      socket.end(rawRefusal(error.code));
      // Whoever reads nothing, or never ends his side, has said enough.
      setTimeout(() => socket.destroy(), LINGER_MS).unref();
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, async (_request: unknown, body: Buffer) =>
    parseJsonBody(body),
  );
  const schemaRegistry = apiRegistry();
  await app.register(fastifySwagger, {
    openapi: openapiOf(version, publicUrls),
    transform: createJsonSchemaTransform({ schemaRegistry }),
    transformObject: createJsonSchemaTransformObject({ schemaRegistry }),
  });
  app.addHook("onRequest", async (request, reply) => admit(request, reply, options));
  app.setNotFoundHandler((request, reply) => {
    throw missing(request, reply, calls);
  });
  app.setErrorHandler((error, request, reply) => {
    // A method that no call has is refused as such, whatever its body lacks.
    const thrown = isAboutBody(error) ? missing(request, reply, calls) : error;
    return refuse(thrown, request, reply, undefined, options);
  });
  for (const call of calls) addCall(app, call, options);
  await app.ready();
  return { server: app.server, document: addExamples(app.swagger()), close: () => app.close() };
};

/** What holds for every request, before anybody asks who sent it. */
const admit = (request: FastifyRequest, reply: FastifyReply, { draining, tls }: AppOptions): void => {
  reply.headers({ "x-request-id": request.id, "cache-control": "no-store", "x-content-type-options": "nosniff" });
  if (tls !== undefined) reply.header("strict-transport-security", "max-age=31536000");
  if (draining()) throw new SidekeyError("DRAINING");
  const { raw, headers, originalUrl } = request;
  if (raw.rawHeaders.length > 2 * MAX_HEADERS) throw new SidekeyError("INGRESS_HEADERS_TOO_LARGE");
  if (originalUrl.length > MAX_TARGET_LENGTH) throw new SidekeyError("INGRESS_URI_TOO_LONG");
  // Node takes a request line without a version for HTTP/0.9, and one with another as it comes.
  if (raw.url === REFUSED_TARGET || !/^1\.[01]$/.test(raw.httpVersion)) {
    throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  }
  // No page of any origin is ours: a browser that names one is another site's.
  if (headers.origin !== undefined || OTHER_SITE.test(String(headers["sec-fetch-site"] ?? ""))) {
    throw new SidekeyError("INGRESS_BROWSER");
  }
};

const addCall = (app: FastifyInstance, call: Call, options: AppOptions): void => {
  const { authenticate, requireStanding, answer, clock, requests } = options;
  const senders = new WeakMap<FastifyRequest, { readonly principal: Principal; readonly since: number }>();
  const asCall = (request: FastifyRequest): CallRequest =>
    callRequest(request, senders.get(request)?.principal ?? ANONYMOUS);
  app.route({
    method: call.method,
    url: call.path,
    schema: schemaOf(call),
    async onRequest(request) {
      const { authorization, dpop } = request.headers;
      const principal = await authenticate({
        authorization,
        proof: dpop === undefined ? undefined : String(dpop),
        method: request.method,
        target: request.originalUrl,
        ip: request.ip,
      });
      senders.set(request, { principal, since: clock.monotonic() });
      const id = budgetKeyOf(principal);
      const wait = id === undefined ? undefined : requests?.spend(id);
      if (wait !== undefined) throw new SidekeyError("VAULT_SERVER_RATE_LIMITED", { retryAfter: wait });
      requireCaller(call, principal);
    },
    // A call whose body may be empty takes it as one without fields.
    async preValidation(request) {
      if (call.body !== undefined) request.body ??= {};
    },
    async preHandler(request) {
      const sender = senders.get(request);
      if (sender !== undefined && clock.monotonic() - sender.since >= HELD_MS) await requireStanding(sender.principal);
    },
    async handler(request, reply) {
      await send(await answer(call, asCall(request)), reply);
      return reply;
    },
    errorHandler: (error, request, reply) => refuse(error, request, reply, { call, request: asCall(request) }, options),
  });
};

const schemaOf = (call: Call): FastifySchema => ({
  operationId: call.operationId,
  tags: [call.tag],
  summary: call.summary,
  ...(call.description !== undefined && { description: call.description }),
  security: [...securityOf(call)],
  ...(call.params !== undefined && { params: call.params }),
  ...(call.query !== undefined && { querystring: call.query }),
  ...headersOf(call),
  ...(call.body !== undefined && { body: call.body }),
  response: responsesOf(call),
});

const headersOf = (call: Call): Pick<FastifySchema, "headers"> => {
  if (call.headers !== undefined) return { headers: call.headers };
  return isChange(call) ? { headers: changeHeaders } : {};
};

const callRequest = (request: FastifyRequest, principal: Principal): CallRequest => ({
  id: request.id,
  principal,
  ip: request.ip,
  method: request.method,
  target: request.raw.url ?? "",
  params: request.params as Readonly<Record<string, string>>,
  query: request.query,
  body: request.body,
  header(name) {
    const value = request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  },
});

const send = async ({ status, body, headers = {}, stream }: Answer, reply: FastifyReply): Promise<void> => {
  if (stream === undefined) {
    await reply.code(status).headers(headers).send(body);
    return;
  }
  reply.hijack();
  const set = Object.entries(reply.getHeaders()).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]],
  );
  reply.raw.writeHead(status, { ...Object.fromEntries(set), ...headers });
  try {
    stream(reply.raw);
  } catch (error) {
    // There is no answer to be given any more, only an end.
    reply.raw.destroy();
    throw error;
  }
};

/** Errors: IDENTITY_TOKEN_INVALID, IDENTITY_SCOPE_DENIED, IDENTITY_TOKEN_SPENT. */
const requireCaller = ({ who, spends }: Call, principal: Principal): void => {
  const kinds: readonly Caller[] = who;
  if (principal.kind === "token" && principal.token.usesLeft === 0 && spends !== true) {
    throw new SidekeyError("IDENTITY_TOKEN_SPENT");
  }
  if (kinds.includes("anyone")) return;
  if (principal.kind === "anonymous") throw new SidekeyError("IDENTITY_TOKEN_INVALID");
  if (!kinds.includes(principal.kind)) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
};

const missing = (request: FastifyRequest, reply: FastifyReply, calls: readonly Call[]): SidekeyError => {
  const path = (request.raw.url ?? "").split("?")[0] ?? "";
  const allowed = calls.filter((call) => patternOf(call.path).test(path)).map(({ method }) => method);
  if (allowed.length === 0) return new SidekeyError("VAULT_SERVER_NOT_FOUND");
  reply.header("allow", [...new Set(allowed)].join(", "));
  return new SidekeyError("VAULT_SERVER_METHOD");
};

const isAboutBody = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  /^FST_ERR_(?:ROUTE_MISSING_CONTENT_TYPE|CTP_INVALID_MEDIA_TYPE)$/.test(String(error.code));

const patternOf = (path: string): RegExp =>
  new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/:[a-z]+/g, "[^/]+")}$`);

/** `made`: the call that it was, where it was one. */
const refuse = async (
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  made: { readonly call: Call; readonly request: CallRequest } | undefined,
  { log, nonce, audit }: AppOptions,
): Promise<void> => {
  let refusal = refusalOf(thrown);
  if (made !== undefined) {
    // No refusal of a caller without its record either.
    await recordDenial(audit, made.call, made.request, refusal).catch((failure: unknown) => {
      refusal = refusalOf(failure);
    });
  }
  if (refusal.code === "USE_DPOP_NONCE") {
    try {
      reply.header("dpop-nonce", await nonce());
    } catch (failure) {
      refusal = refusalOf(failure);
    }
  }
  const { error, status, code, headers } = refusal;
  if (code === "INTERNAL") {
    const fault = error.cause instanceof Error ? error.cause.name : error.code;
    const detail = error.cause instanceof Error && "code" in error.cause ? String(error.cause.code) : undefined;
    log.error("a call failed", { fault, code: detail, request: request.id, call: made?.call.operationId });
  } else if (status >= 500) log.warn("a call was refused", { code: error.code, request: request.id });
  await reply.code(status).headers(headers).type("application/json; charset=utf-8").send(bodyOf(refusal, request.id));
};
