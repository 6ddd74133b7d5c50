/** The shape of the file: zod types composed from the kind lists. Says nothing about how its parts fit together. */
import { z } from "zod";
import { authority, cidr, hostName, listenAddress, origin, unixAddress } from "../../config/addresses.ts";
import {
  agentName,
  duration,
  filePath,
  MAX_TIMER_MS,
  parseDuration,
  refuse,
  size,
  sourceName,
  variableName,
} from "../../config/units.ts";
import { injectionKinds } from "../injection/kinds/index.ts";
import { isPatternProblem, type PatternProblem, parseDeny, parseHostKey, parsePattern } from "../policy/pattern.ts";
import { sourceKinds } from "../secrets/kinds/index.ts";
import { upstreamProxySchema } from "./upstream-proxy.ts";

const COUNT = z.int().min(1).max(1_000_000);

const compiled = <T extends object>(parse: (text: string) => T | PatternProblem) =>
  z.string().transform((text, context): T => {
    const parsed = parse(text);
    if (!isPatternProblem(parsed)) return parsed;
    return refuse(context, `${parsed.problem} (character ${parsed.at + 1})`, parsed.hint);
  });

const pattern = compiled(parsePattern);
const denyPattern = compiled(parseDeny);

type Fields<Kinds extends readonly { readonly fields: z.ZodType }[]> = {
  [Index in keyof Kinds]: Kinds[Index]["fields"];
};

/** The `fields` of each kind in a list, in its order. */
const fieldsOf = <const Kinds extends readonly { readonly fields: z.ZodType }[]>(kinds: Kinds): Fields<Kinds> =>
  kinds.map(({ fields }) => fields) as Fields<Kinds>;

export const sourceSchema = z.discriminatedUnion("kind", fieldsOf(sourceKinds));

export const injectionSchema = z.discriminatedUnion("kind", fieldsOf(injectionKinds));

/** `30s` and so on; a timer that never fires or fires at once is no timeout. */
const timeout = duration({ min: 1 });

export const routeSchema = z.strictObject({
  match: z.union([pattern, z.array(pattern).min(1).max(256)]).optional(),
  secret: z.string().optional(),
  inject: z.union([injectionSchema, z.array(injectionSchema).min(1)]).optional(),
  deny: z.array(denyPattern).max(256).default([]),
  env: variableName.optional(),
  max_age: duration().default(60_000),
  stale_while_error: duration().default(60_000),
  timeouts: z
    .strictObject({
      connect: timeout.default(10_000),
      headers: timeout.default(600_000),
      idle: timeout.default(300_000),
    })
    .prefault({}),
  cleartext: z.boolean().default(false),
  allow_range: z.boolean().default(false),
  cookies: z.enum(["strip", "pass"]).default("strip"),
  on_reflection: z.enum(["redact", "withhold", "close"]).optional(),
  gateway: origin.optional(),
});

export type RouteFields = z.output<typeof routeSchema>;

const ROUTE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

const routeName = z.string().refine((key) => ROUTE_NAME.test(key) || !isPatternProblem(parseHostKey(key)), {
  error: "must be a name of lower-case letters, digits, '.', '_' and '-', or a host",
});

/** Short form or object. */
export const routeEntrySchema = z.union([z.string(), routeSchema]);

const SYNC_FORM = "must be always, never, or a duration like 1s";

/** `ms` between syncs, or a word. */
const syncPolicy = z.string({ error: SYNC_FORM }).transform((text, context): "always" | "never" | number => {
  if (text === "always" || text === "never") return text;
  const interval = parseDuration(text);
  if (interval === undefined || interval > MAX_TIMER_MS) return refuse(context, SYNC_FORM);
  return interval === 0
    ? refuse(context, "must be more than zero", "Write 'always' for a sync at each write.")
    : interval;
});

export const rootSchema = z.strictObject({
  version: z.literal(1),
  agent: agentName.default("default"),
  state: filePath.default("./.sidekey"),
  listen: z
    .strictObject({
      proxy: listenAddress.prefault("127.0.0.1:7070"),
      gateway: listenAddress.prefault("off"),
      health: listenAddress.prefault("off"),
      admin: unixAddress.optional(),
      names: z.array(hostName).max(256).default([]),
      clients: z.array(cidr).max(256).default([]),
    })
    .prefault({}),
  sources: z.record(sourceName, sourceSchema).optional(),
  routes: z.record(routeName, routeEntrySchema).default({}),
  unmatched: z.enum(["deny", "tunnel"]).default("deny"),
  egress: z.strictObject({ allow: z.array(cidr).default([]) }).prefault({}),
  upstream: z
    .strictObject({
      ca: filePath.optional(),
      connect: z.record(z.string(), authority).default({}),
      proxy: upstreamProxySchema.optional(),
    })
    .prefault({}),
  tls: z
    .strictObject({
      export: filePath.optional(),
      ca_days: z.int().min(1).max(3650).default(365),
      constrain: z.boolean().default(false),
    })
    .prefault({}),
  audit: z
    .strictObject({
      path: filePath.optional(),
      sync: syncPolicy.prefault("1s"),
      max_size: size({ min: 64 * 1024 }).default(100 * 1024 * 1024),
      keep: z.int().min(1).max(10_000).default(10),
      key: filePath.optional(),
    })
    .prefault({}),
  limits: z
    .strictObject({ connections: COUNT.default(1024), tunnels: COUNT.default(1024), streams: COUNT.default(4096) })
    .prefault({}),
  tests: z
    .array(
      z.strictObject({
        request: z
          .string()
          .regex(/^[^\s]+ [^\s]+$/, 'must be "METHOD URL"')
          .transform((text) => {
            const [method = "", url = ""] = text.split(" ");
            return { method, url };
          }),
        agent: agentName.optional(),
        expect: z.string(),
      }),
    )
    .max(10_000)
    .default([]),
  log: z.strictObject({ level: z.enum(["error", "warn", "info", "debug"]).default("info") }).prefault({}),
});

export type RootFields = z.output<typeof rootSchema>;
