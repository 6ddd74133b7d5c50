/**
 * The only door to fastify: turns calls into a server. Who may make a call is checked here, before its body is read; what
 * goes out is what its schemas name. Must never log or answer with anything that was sent.
 */
import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { hasZodFastifySchemaValidationErrors, serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import { type ErrorCode, isSidekeyError, SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Authenticate, Principal } from "./auth.ts";
import type { Answer, Call, Caller, CallRequest } from "./call.ts";
import { createHttpServer, MAX_HEADERS, type TlsMaterial } from "./http-server.ts";
import { MAX_TARGET_LENGTH, readTarget } from "./target.ts";
import { retryAfterOf, WIRE_ERRORS, type WireCode, wireCodeOf, wireError } from "./wire-error.ts";
import { errorSchema } from "./wire-types.ts";

export interface AppOptions {
  readonly calls: readonly Call[];
  readonly authenticate: Authenticate;
  readonly log: Log;
  readonly tls: TlsMaterial | undefined;
  readonly limits: { readonly body: number; readonly connections: number };
  /** CIDRs. */
  readonly trustedProxies: readonly string[];
  readonly draining: () => boolean;
}

export interface App {
  /** For `listen`. */
  readonly server: Server;
  close(): Promise<void>;
}

/** Any call may give these. */
const USUAL: readonly WireCode[] = [
  "VALIDATION_ERROR",
  "RATE_LIMITED",
  "HEADERS_TOO_LARGE",
  "INTERNAL",
  "DRAINING",
  "OVERLOADED",
  "STORE_UNAVAILABLE",
  "AUDIT_UNAVAILABLE",
];
/** No route of ours begins so. */
const REFUSED_TARGET = "/refused";
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

export const createApp = async (options: AppOptions): Promise<App> => {
  const { calls, authenticate, log, tls, limits, trustedProxies, draining } = options;
  const principals = new WeakMap<FastifyRequest, Principal>();
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
    serverFactory: (handler) => createHttpServer(handler, tls, limits.connections),
    rewriteUrl: ({ method = "", url = "" }) => readTarget(method, url)?.url ?? REFUSED_TARGET,
    clientErrorHandler(error, socket) {
      if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
      socket.end(rawRefusal(error.code));
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);

  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
    reply.header("cache-control", "no-store");
    reply.header("x-content-type-options", "nosniff");
    if (tls !== undefined) reply.header("strict-transport-security", "max-age=31536000");
    if (draining()) throw new SidekeyError("DRAINING");
    if (request.raw.rawHeaders.length > 2 * MAX_HEADERS) throw new SidekeyError("INGRESS_HEADERS_TOO_LARGE");
    if (request.originalUrl.length > MAX_TARGET_LENGTH) throw new SidekeyError("INGRESS_URI_TOO_LONG");
    if (request.raw.url === REFUSED_TARGET) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
    // No page of any origin is ours: a browser that names one is another site's.
    if (request.headers.origin !== undefined) throw new SidekeyError("INGRESS_BROWSER");
  });

  app.setNotFoundHandler((request, reply) => {
    const { pathname } = new URL(request.raw.url ?? "/", "http://vault");
    const allowed = calls.filter(({ path }) => patternOf(path).test(pathname)).map(({ method }) => method);
    if (allowed.length > 0) {
      reply.header("allow", [...new Set(allowed)].join(", "));
      throw new SidekeyError("VAULT_SERVER_METHOD");
    }
    throw new SidekeyError("VAULT_SERVER_NOT_FOUND");
  });

  app.setErrorHandler((error: FastifyError, request, reply) => refuse(error, request, reply, log));

  for (const call of calls) {
    app.route({
      method: call.method,
      url: call.path,
      schema: {
        ...(call.params !== undefined && { params: call.params }),
        ...(call.query !== undefined && { querystring: call.query }),
        ...(call.body !== undefined && { body: call.body }),
        response: responsesOf(call),
      },
      async onRequest(request) {
        const { authorization } = request.headers;
        const principal = await authenticate({ authorization, ip: request.ip });
        requireCaller(call.who, principal);
        principals.set(request, principal);
      },
      async handler(request, reply) {
        const principal = principals.get(request);
        if (principal === undefined) throw new TypeError("a call without a principal");
        await send(await call.handle(callRequest(request, principal)), reply);
        return reply;
      },
    });
  }
  await app.ready();
  return { server: app.server, close: () => app.close() };
};

const callRequest = (request: FastifyRequest, principal: Principal): CallRequest => ({
  id: request.id,
  principal,
  ip: request.ip,
  params: request.params as Readonly<Record<string, string>>,
  query: request.query,
  body: request.body,
  header(name) {
    const value = request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  },
});

const send = async ({ status, body, headers = {}, stream }: Answer, reply: FastifyReply): Promise<void> => {
  if (stream !== undefined) {
    reply.hijack();
    stream(reply.raw);
    return;
  }
  await reply.code(status).headers(headers).send(body);
};

/** Errors: IDENTITY_TOKEN_INVALID, IDENTITY_SCOPE_DENIED. */
const requireCaller = (who: readonly Caller[], principal: Principal): void => {
  if (who.includes("anyone")) return;
  if (principal.kind === "anonymous") throw new SidekeyError("IDENTITY_TOKEN_INVALID");
  if (!who.includes(principal.kind)) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
};

const responsesOf = ({ answers, errors, who }: Call): Record<number, unknown> => {
  const own = Object.entries(answers).flatMap(([status, { schema }]) =>
    schema === undefined ? [] : [[status, schema] as const],
  );
  const codes: readonly WireCode[] = [
    ...USUAL,
    ...errors,
    ...(who.includes("anyone") ? [] : ["UNAUTHORIZED" as const]),
  ];
  return Object.fromEntries([...codes.map((code) => [WIRE_ERRORS[code].status, errorSchema] as const), ...own]);
};

const patternOf = (path: string): RegExp => new RegExp(`^${path.replaceAll(/:[a-z]+/g, "[^/]+")}$`);

const FRAMEWORK: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "VAULT_SERVER_TOO_LARGE",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "VAULT_SERVER_MEDIA_TYPE",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "VAULT_SERVER_BAD_REQUEST",
  FST_ERR_CTP_INVALID_JSON_BODY: "VAULT_SERVER_BAD_REQUEST",
  FST_ERR_CTP_EMPTY_JSON_BODY: "VAULT_SERVER_BAD_REQUEST",
  FST_ERR_BAD_URL: "VAULT_SERVER_BAD_REQUEST",
};

const refuse = (error: FastifyError, request: FastifyRequest, reply: FastifyReply, log: Log): void => {
  const code = codeOf(error);
  if (code === "INTERNAL") {
    const fault = isSidekeyError(error) ? error.code : error.name;
    log.error("a call failed", { fault, code: error.code, request: request.id, call: request.routeOptions.url });
  }
  const after = (isSidekeyError(error) ? error.retryAfter : undefined) ?? retryAfterOf(code);
  if (after !== undefined) reply.header("retry-after", String(after));
  if (code === "UNAUTHORIZED") reply.header("www-authenticate", 'Bearer realm="sidekey", DPoP algs="ES256"');
  if (code === "DRAINING") reply.header("connection", "close");
  const message = hasZodFastifySchemaValidationErrors(error) ? describe(error) : undefined;
  reply.code(WIRE_ERRORS[code].status).send(wireError(code, request.id, message));
};

const codeOf = (error: FastifyError): WireCode => {
  if (isSidekeyError(error)) return wireCodeOf(error);
  if (hasZodFastifySchemaValidationErrors(error)) return "VALIDATION_ERROR";
  const known = FRAMEWORK[error.code];
  return known === undefined ? "INTERNAL" : wireCodeOf(new SidekeyError(known));
};

/** Where it is wrong, never what was sent. */
const describe = (error: FastifyError): string => {
  const [first] = error.validation ?? [];
  const place = (first?.instancePath ?? "").split("/").filter(Boolean).slice(0, 1).join("");
  const where = [error.validationContext, place].filter(Boolean).join(".");
  return `${WIRE_ERRORS.VALIDATION_ERROR.message} Wrong: ${where}.`;
};

/** For what is no HTTP, or too much of it: there is no request to answer. */
const rawRefusal = (code: string | undefined): string => {
  const wire: WireCode =
    code === "HPE_HEADER_OVERFLOW"
      ? "HEADERS_TOO_LARGE"
      : code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "REQUEST_TIMEOUT"
        : "VALIDATION_ERROR";
  const body = JSON.stringify(wireError(wire, randomUUID()));
  const { status } = WIRE_ERRORS[wire];
  return [
    `HTTP/1.1 ${status} Refused`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    "cache-control: no-store",
    "connection: close",
    "",
    body,
  ].join("\r\n");
};
