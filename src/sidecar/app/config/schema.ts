/**
 * The shape of the file: zod types composed from the kind lists. Says nothing about how its parts fit together. Its
 * descriptions are what editors show: config/schema.json is made from it.
 */
import * as z from "zod";
import { authority, cidr, hostName, listenAddress, origin, unixAddress } from "../../../config/addresses.ts";
import { auditSchema } from "../../../config/audit-fields.ts";
import { agentName, duration, filePath, refuse, sourceName, variableName } from "../../../config/units.ts";
import { injectionKinds, namedKinds } from "../../injection/kinds/index.ts";
import { isPatternProblem, type PatternProblem, parseDeny, parseHostKey, parsePattern } from "../../policy/pattern.ts";
import { sourceKinds } from "../../secrets/kinds/index.ts";
import { upstreamProxySchema } from "../upstream-proxy.ts";

const COUNT = z.int().min(1).max(1_000_000);

/** `form` is for editors: a coarse check, where `parse` decides. */
const compiled = <T extends object>(form: RegExp, parse: (text: string) => T | PatternProblem) =>
  z
    .string()
    .meta({ pattern: form.source })
    .transform((text, context): T => {
      const parsed = parse(text);
      if (!isPatternProblem(parsed)) return parsed;
      return refuse(context, `${parsed.problem} (character ${parsed.at + 1})`, parsed.hint);
    });

export const patternSchema = compiled(/^([^ ]+ )?https?:\/\/[^ ]+$/, parsePattern);
const denyPattern = compiled(/^([^ ]+ )?(\/[^ ]*|\*\*)$/, parseDeny);

type Described = { readonly fields: z.ZodType; readonly summary: string };

type Fields<Kinds extends readonly Described[]> = {
  [Index in keyof Kinds]: Kinds[Index]["fields"];
};

/** The `fields` of each kind in a list, in its order, each with what it says of itself. */
const fieldsOf = <const Kinds extends readonly Described[]>(kinds: Kinds): Fields<Kinds> =>
  kinds.map(({ fields, summary }) => fields.describe(summary)) as Fields<Kinds>;

export const sourceSchema = z.discriminatedUnion("kind", fieldsOf(sourceKinds));

// `id`: written once in config/schema.json, and referred to.
export const injectionSchema = z.discriminatedUnion("kind", fieldsOf(injectionKinds)).meta({ id: "injection" });

/** What a preset may do. */
export const namedInjectionSchema = z.discriminatedUnion("kind", fieldsOf(namedKinds));

/** Also the name of its file. */
export const presetName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, "must be the name of a preset: lower-case letters, digits and '-'");

/** `30s` and so on; a timer that never fires or fires at once is no timeout. */
const timeout = duration({ min: 1 });

export const routeSchema = z.strictObject({
  match: z
    .union([patternSchema, z.array(patternSchema).min(1).max(256)])
    .optional()
    .describe("What it matches: [METHODS ]SCHEME://HOST[:PORT][PATH], or a list of them. Default: the key, as a host."),
  preset: presetName
    .optional()
    .describe("Name of a preset, which brings 'match', 'inject' and 'env'. A key that is written beats the preset's."),
  secret: z.string().optional().describe("The secret, as a reference: [SOURCE:]PATH[#FIELD][@VERSION]."),
  inject: z
    .union([injectionSchema, z.array(injectionSchema).min(1).max(16)])
    .optional()
    .describe("How the secret is sent, or a list of ways. Default: { kind: bearer }."),
  deny: z
    .array(denyPattern)
    .max(256)
    .default([])
    .describe("What the route refuses: METHODS PATH. It wins over 'match'."),
  env: variableName.optional().describe("Variable that 'sidekey run' sets to a placeholder."),
  max_age: duration().prefault("60s").describe("How long a fetched secret is used before it is fetched again."),
  stale_while_error: duration()
    .prefault("60s")
    .describe("How much longer while its source does not answer; after that 503."),
  timeouts: z
    .strictObject({
      connect: timeout.prefault("10s").describe("Until connected."),
      headers: timeout.prefault("10m").describe("Until the first header."),
      idle: timeout.prefault("5m").describe("Between bytes of the body."),
    })
    .prefault({})
    .describe("How long the upstream may take."),
  cleartext: z.boolean().default(false).describe("Allows http:// to an address in 'egress.allow'."),
  allow_range: z.boolean().default(false).describe("Range and If-Range of the agent reach the upstream."),
  cookies: z
    .enum(["strip", "pass"])
    .default("strip")
    .describe("Whether the upstream's Set-Cookie ends here, or is scrubbed and sent on."),
  on_reflection: z
    .enum(["redact", "withhold", "close"])
    .optional()
    .describe(
      "What to do when the upstream sends the secret back. Default: close for one that can be guessed, else redact.",
    ),
  gateway: origin
    .optional()
    .describe(
      "Origin that /NAME/… of the gateway leads to. Default: that of the first 'match' without a wildcard host.",
    ),
});

export type RouteFields = z.output<typeof routeSchema>;

const ROUTE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

const routeName = z.string().refine((key) => ROUTE_NAME.test(key) || !isPatternProblem(parseHostKey(key)), {
  error: "must be a name of lower-case letters, digits, '.', '_' and '-', or a host",
});

/** Short form or object. */
const routeEntrySchema = z.union([
  z.string().describe("Short form: the key is a host, this its secret, sent as 'Authorization: Bearer …'."),
  routeSchema,
]);

export const rootSchema = z.strictObject({
  version: z.literal(1).describe("Version of this format."),
  agent: agentName.default("default").describe("The agent's name, in every audit record."),
  state: filePath.default("./.sidekey").describe("Directory for vault, keys, CA and audit; 0700."),
  listen: z
    .strictObject({
      proxy: listenAddress.prefault("127.0.0.1:7070").describe("Forward proxy: HOST:PORT, unix:PATH or off."),
      gateway: listenAddress.prefault("off").describe("Gateway for base URLs; the usual port is 7071."),
      health: listenAddress.prefault("off").describe("Port for probes; the usual one is 7072."),
      admin: unixAddress
        .optional()
        .describe("unix:PATH of the socket of 'sidekey status' and 'sidekey reload'. Default: <state>/admin.sock."),
      names: z
        .array(hostName)
        .max(256)
        .default([])
        .describe("Host names, without port, that the gateway answers to besides its own address."),
      clients: z
        .array(cidr)
        .max(256)
        .default([])
        .describe("Address ranges that may connect; required where an address lies beyond loopback."),
    })
    .prefault({})
    .describe("Where it listens."),
  sources: z
    .record(sourceName, sourceSchema)
    .optional()
    .describe("Where secrets are kept; the first is the default. Without this key there is one: the embedded vault."),
  routes: z
    .record(routeName, routeEntrySchema)
    .default({})
    .describe("Which call gets which secret. The most specific route wins, never the order."),
  unmatched: z
    .enum(["deny", "tunnel"])
    .default("deny")
    .describe("Hosts that no route names: refused, or passed on unread and without a credential."),
  egress: z
    .strictObject({
      allow: z
        .array(cidr)
        .default([])
        .describe("Address ranges opened among those that are closed (private, loopback, …)."),
    })
    .prefault({})
    .describe("Which addresses upstreams may have."),
  upstream: z
    .strictObject({
      ca: filePath.optional().describe("PEM file, trusted besides the system's roots."),
      connect: z
        .record(z.string(), authority)
        .default({})
        .describe("Where HOST:PORT is really reached, as ADDRESS:PORT; TLS name and Host stay the same."),
      proxy: upstreamProxySchema.optional().describe("An HTTP proxy on the way out."),
    })
    .prefault({})
    .describe("The way out."),
  tls: z
    .strictObject({
      export: filePath.optional().describe("Directory that ca.pem and ca-bundle.pem are written to for agents."),
      ca_days: z.int().min(1).max(3650).default(365).describe("Life of a new CA, in days."),
      constrain: z.boolean().default(false).describe("A new CA can sign for the hosts of the routes alone."),
    })
    .prefault({})
    .describe("The CA of 'sidekey start'."),
  audit: auditSchema("<state>/audit.jsonl"),
  limits: z
    .strictObject({
      connections: COUNT.default(1024).describe("Open connections."),
      tunnels: COUNT.default(1024).describe("Open CONNECT tunnels."),
      streams: COUNT.default(4096).describe("Requests in flight."),
    })
    .prefault({})
    .describe("Past these: 503 OVERLOADED."),
  tests: z
    .array(
      z.strictObject({
        request: z
          .string()
          .regex(/^[^\s]+ [^\s]+$/, 'must be "METHOD URL"')
          .transform((text) => {
            const [method = "", url = ""] = text.split(" ");
            return { method, url };
          })
          .describe("METHOD URL"),
        agent: agentName.optional().describe("The agent that asks. Default: the file's."),
        expect: z.string().describe("deny, tunnel, or the name of the route that must serve it."),
      }),
    )
    .max(10_000)
    .default([])
    .describe("What 'sidekey test' checks."),
  log: z
    .strictObject({
      level: z.enum(["error", "warn", "info", "debug"]).default("info").describe("How much it logs."),
    })
    .prefault({})
    .describe("The sidecar's own log."),
});

export type RootFields = z.output<typeof rootSchema>;
