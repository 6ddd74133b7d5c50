/**
 * OpenTelemetry spans of requests, where whoever started this process has registered an SDK in it (`node --import`); the
 * only user of @opentelemetry/api, which is loaded in that case alone. What a span says comes from what goes on record:
 * no query, no header, no body, never a secret's value. An agent's own trace headers are read and passed on untouched.
 */
import type { AttributeValue, Context, Span, TextMapGetter, Tracer } from "@opentelemetry/api";
import type { AuditBroker, AuditEvent, AuditType, AuditWaiter } from "../../audit/index.ts";
import type { Clock, EpochMs } from "../../core/clock.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Log } from "../../core/log.ts";
import type { Line } from "../pipeline/line.ts";
import type { InboundRequest } from "../pipeline/messages.ts";

export interface Tracing {
  /** The line, with a span for each request. */
  trace(line: Line): Line;
  /** The audit, which tells the spans what became of their requests. */
  watch(broker: AuditBroker): AuditBroker;
  /** Lets the SDK send what it holds. Never rejects, and waits 2 s at most. */
  close(): Promise<void>;
}

type Api = typeof import("@opentelemetry/api");

/** Where every version 1 of the API keeps what was registered. */
const REGISTERED = Symbol.for("opentelemetry.js.api.1");

const FLUSH_MS = 2_000;

/** https://opentelemetry.io/docs/specs/semconv/http/http-spans/: others are `_OTHER`, so that no agent makes up names. */
const METHODS: ReadonlySet<string> = new Set([
  "CONNECT",
  "DELETE",
  "GET",
  "HEAD",
  "OPTIONS",
  "PATCH",
  "POST",
  "PUT",
  "QUERY",
]);

/** Undefined where no SDK is registered, or one that does not fit. */
export const openTracing = async (clock: Clock, version: string, log: Log): Promise<Tracing | undefined> => {
  if (!(REGISTERED in globalThis)) return undefined;
  const api = await import("@opentelemetry/api").catch(() => undefined);
  const tracer = api?.trace.getTracer("sidekey", version);
  // Never ended, so that nobody gets it: an API that the SDK's does not fit hands out empty ones.
  if (api === undefined || tracer === undefined || !api.isSpanContextValid(tracer.startSpan("probe").spanContext())) {
    log.warn("an OpenTelemetry SDK is registered and cannot be used", {
      hint: "Install an @opentelemetry/api beside it that is as new as sidekey's.",
    });
    return undefined;
  }
  return createTracing(api, tracer, clock);
};

/** One request on the line. */
interface Traced {
  readonly span: Span;
  readonly context: Context;
  readonly request: InboundRequest;
  /** By attempt: when its intent went on record, and the reference of its secret. */
  readonly intents: Map<number, Intent>;
}

interface Intent {
  readonly at: EpochMs;
  readonly secret: string | undefined;
}

const createTracing = (api: Api, tracer: Tracer, clock: Clock): Tracing => {
  const { context, propagation, SpanKind, SpanStatusCode, trace } = api;
  /** By request id. */
  const open = new Map<string, Traced>();

  const begin = (request: InboundRequest, id: string): Traced => {
    const parent = propagation.extract(context.active(), request.headers, READ_HEADERS);
    const attributes = { ...requestAttributes(request), "sidekey.request_id": id };
    const span = tracer.startSpan(methodName(request), { kind: SpanKind.SERVER, attributes }, parent);
    return { span, context: trace.setSpan(parent, span), request, intents: new Map() };
  };

  /** With this span's context, where the agent has sent none of its own. */
  const propagated = ({ context: own, request }: Traced): InboundRequest => {
    const { headers } = request;
    if (propagation.fields().some((name) => READ_HEADERS.get(headers, name) !== undefined)) return request;
    const added: string[] = [];
    propagation.inject(own, added, { set: (list, name, value) => void list.push(name, value) });
    return added.length === 0 ? request : { ...request, headers: [...headers, ...added] };
  };

  /** Both are known when the attempt is over: the source's part ended with the intent, the upstream's began with it. */
  const addParts = (
    { context: own, request, intents }: Traced,
    event: AuditEvent,
    errorType: string | undefined,
  ): void => {
    const { attempt = 1, code, status, ms } = event;
    const intent = intents.get(attempt);
    if (intent === undefined) return;
    const { at, secret } = intent;
    const { source = 0, upstream = clock.now() - at } = ms ?? {};
    if (source > 0) {
      const attributes = present({ "sidekey.secret": secret });
      tracer.startSpan("fetch secret", { kind: SpanKind.INTERNAL, startTime: at - source, attributes }, own).end(at);
    }
    const attributes = present({
      ...requestAttributes(request),
      // With a code it is our own.
      "http.response.status_code": code === undefined ? status : undefined,
      "http.request.resend_count": attempt === 1 ? undefined : attempt - 1,
      "error.type": errorType ?? ((status ?? 0) >= 400 ? String(status) : undefined),
    });
    const span = tracer.startSpan(methodName(request), { kind: SpanKind.CLIENT, startTime: at, attributes }, own);
    if (attributes["error.type"] !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(at + upstream);
  };

  const tell = (traced: Traced, event: AuditEvent): void => {
    const { span, intents } = traced;
    const { type, route, secret, agent, code, status, reflected, attempt = 1 } = event;
    const known = { "sidekey.agent": agent, "sidekey.route": route };
    if (type === "intent") {
      intents.set(attempt, { at: clock.now(), secret });
      span.setAttributes(present(known));
      return;
    }
    const isFault = (status ?? 0) >= 500;
    const errorType = code ?? (isFault ? String(status) : undefined);
    if (type === "outcome") addParts(traced, event, errorType);
    span.setAttributes(
      present({
        ...known,
        "http.response.status_code": status,
        "error.type": errorType,
        "sidekey.reflected": reflected,
      }),
    );
    // What the client did wrong is no fault of a server.
    if (isFault) span.setStatus({ code: SpanStatusCode.ERROR });
  };

  const see = (event: AuditEvent): void => {
    const traced = event.requestId === undefined ? undefined : open.get(event.requestId);
    if (traced !== undefined) quietly(() => tell(traced, event));
  };

  return {
    trace: (line) => (request, client, ctx, end) => {
      const traced = quietly(() => begin(request, ctx.id));
      if (traced === undefined) {
        line(request, client, ctx, end);
        return;
      }
      open.set(ctx.id, traced);
      const sent = quietly(() => propagated(traced)) ?? request;
      line(sent, client, ctx, (error) => {
        open.delete(ctx.id);
        quietly(() => traced.span.end());
        end(error);
      });
    },
    watch: (broker) => ({
      ...broker,
      store<Type extends AuditType>(event: AuditEvent<Type>, waiter: AuditWaiter<Type>) {
        see(event);
        broker.store(event, waiter);
      },
      record<Type extends AuditType>(event: AuditEvent<Type>) {
        see(event);
        return broker.record(event);
      },
    }),
    async close() {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, FLUSH_MS);
      });
      await Promise.race([flush(trace.getTracerProvider()).catch(() => undefined), late]);
      clearTimeout(timer);
    },
  };
};

/** An SDK's samplers and processors are its user's own: what they throw must not touch a request. */
const quietly = <T>(act: () => T): T | undefined => {
  try {
    return act();
  } catch {
    return undefined;
  }
};

type Attributes = Readonly<Record<string, AttributeValue>>;

const present = (attributes: Readonly<Record<string, AttributeValue | undefined>>): Attributes =>
  Object.fromEntries(
    Object.entries(attributes).filter((entry): entry is [string, AttributeValue] => entry[1] !== undefined),
  );

const methodName = ({ method }: InboundRequest): string => (METHODS.has(method) ? method : "HTTP");

const requestAttributes = ({ method, scheme, authority, path }: InboundRequest): Attributes => ({
  "http.request.method": METHODS.has(method) ? method : "_OTHER",
  "url.scheme": scheme,
  "url.path": path,
  "server.address": authority.host.name,
  "server.port": authority.port,
  "network.protocol.version": "1.1",
});

/** Of names and values by turns; the first of a name. */
const READ_HEADERS: TextMapGetter<HeaderList> = {
  keys: (headers) => headers.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()),
  get(headers, wanted) {
    const folded = wanted.toLowerCase();
    for (let at = 0; at < headers.length; at += 2) if (headers[at]?.toLowerCase() === folded) return headers[at + 1];
    return undefined;
  },
};

/** The API's own provider stands before the SDK's, which alone can flush. */
const flush = async (provider: unknown): Promise<void> => {
  const delegate = hasDelegate(provider) ? provider.getDelegate() : provider;
  if (canFlush(delegate)) await delegate.forceFlush();
};

const hasDelegate = (provider: unknown): provider is { getDelegate(): unknown } =>
  typeof provider === "object" && provider !== null && "getDelegate" in provider;

const canFlush = (provider: unknown): provider is { forceFlush(): Promise<void> } =>
  typeof provider === "object" && provider !== null && "forceFlush" in provider;
