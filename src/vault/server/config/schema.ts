/**
 * The shape of vault.yaml. Says nothing about how its parts fit together. Its descriptions are what editors show:
 * config/vault-schema.json is made from it.
 */
import * as z from "zod";
import { listenAddress } from "../../../config/addresses.ts";
import { auditSchema } from "../../../config/audit-fields.ts";
import { credentialSchema } from "../../../config/credential.ts";
import { duration, filePath, refuse, size } from "../../../config/units.ts";
import { parseCidr } from "../../../core/ip.ts";
import { webhookUrlFault } from "../../approvals/webhook.ts";

const HOUR = 60 * 60 * 1000;

const COUNT = z.int().min(1).max(1_000_000);

/** An http or https origin, as clients write it in front of `/v1`. Without a path: the API's is fixed. */
const publicUrl = z
  .string()
  .meta({ pattern: "^https?://[^/?#]+/?$", examples: ["https://vault.example.com"] })
  .transform((text, context): string => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const isOrigin = url !== undefined && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.username === "";
    if (!isOrigin || url.search !== "" || url.hash !== "") {
      return refuse(context, "must be an http or https URL without a path", "For example https://vault.example.com.");
    }
    return url.origin;
  });

const webhookUrl = z
  .string()
  .meta({ pattern: "^https?://.+$" })
  .transform((text, context): string => {
    const fault = webhookUrlFault(text);
    return fault === undefined ? text : refuse(context, fault, "For example https://chat.example.com/hooks/vault.");
  });

/** As written: what it is checked with takes text. */
const range = z
  .string()
  .meta({ pattern: "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", examples: ["10.0.0.0/8"] })
  .refine((text) => parseCidr(text) !== undefined, "must be a range of addresses, like 10.0.0.0/8");

const storageSchema = z.discriminatedUnion("kind", [
  z
    .strictObject({
      kind: z.literal("lmdb"),
      path: filePath.optional().describe("Directory. Default: <state>/vault."),
    })
    .describe("A directory of this machine."),
  z
    .strictObject({
      kind: z.literal("postgres"),
      url: credentialSchema.describe("Where its URL is kept: it holds a password."),
    })
    .describe("A PostgreSQL database, which several servers may share."),
]);

export const vaultFileSchema = z.strictObject({
  version: z.literal(1).describe("Version of this format."),
  listen: listenAddress
    .prefault("127.0.0.1:7200")
    .describe("HOST:PORT or unix:PATH. Beyond loopback 'tls' is required."),
  tls: z
    .strictObject({
      cert: filePath.describe("PEM file: the server's certificate, then its issuers'."),
      key: filePath.describe("PEM file with its private key."),
      client_ca: filePath
        .optional()
        .describe("PEM file: only clients with a certificate of these issuers may connect."),
    })
    .optional()
    .describe("HTTPS instead of HTTP, from TLS 1.2. Files that change are taken up without a restart."),
  state: filePath.default("./.sidekey").describe("Directory for store, keys and audit; 0700."),
  storage: storageSchema.prefault({ kind: "lmdb" }).describe("Where the sealed rows are."),
  key: credentialSchema
    .optional()
    .describe("The vault's key. Default: FERNET_SECRET_KEY when set, else <state>/vault.key."),
  audit: auditSchema("<state>/vault-audit.jsonl"),
  tokens: z
    .strictObject({
      default_ttl: duration({ min: 1000, max: 24 * HOUR })
        .prefault("1h")
        .describe("Life of a token whose request names none."),
      max_ttl: duration({ min: 1000, max: 24 * HOUR })
        .prefault("24h")
        .describe("Longest life that can be asked for."),
    })
    .prefault({})
    .describe("Scoped tokens."),
  approvals: z
    .strictObject({
      expire: duration({ min: 1000, max: 20 * 24 * HOUR })
        .prefault("24h")
        .describe("How long a request waits for an operator."),
      sensitive: z.int().min(1).max(2).default(1).describe("Operators that must agree for tier 'sensitive'."),
      critical: z.int().min(1).max(2).default(1).describe("Operators that must agree for tier 'critical'."),
      webhook: z
        .strictObject({
          url: webhookUrl.describe("Where a POST goes for each request and decision."),
          secret: credentialSchema.describe("What signs it."),
        })
        .optional()
        .describe("Tells somebody."),
    })
    .prefault({})
    .describe("Who says yes to tokens for secrets of a higher tier."),
  limits: z
    .strictObject({
      requests_per_minute: COUNT.optional().describe(
        "Of one agent or operator: of its key and all its tokens together. Default: no limit.",
      ),
      failures_per_minute: COUNT.default(100).describe("Wrong keys and tokens of one address, before it gets 429."),
      body: size({ min: 1024, max: 16 * 1024 * 1024 })
        .prefault("1MiB")
        .describe("Largest request body."),
      connections: COUNT.default(1024).describe("Open connections."),
      connections_per_address: COUNT.optional().describe(
        "Open connections of one address; of IPv6, of one /64. Trusted proxies are not counted. Default: a quarter of 'connections', or 64.",
      ),
      streams: COUNT.default(256).describe("Open event streams; of one agent, half of them."),
      sidecars_per_agent: z
        .int()
        .min(1)
        .max(10_000)
        .default(1_000)
        .describe("Sidecars that one agent may have enrolled; revoked ones are not counted."),
    })
    .prefault({})
    .describe("Past these: 429, 413, 409 or 503."),
  public_url: z
    .union([publicUrl, z.array(publicUrl).min(1).max(16)])
    .optional()
    .describe("What clients write in front of /v1, where it is not the address it listens on: behind a balancer."),
  trusted_proxies: z
    .array(range)
    .max(64)
    .default([])
    .describe("Address ranges of proxies whose X-Forwarded-For says who calls."),
  log: z
    .strictObject({
      level: z.enum(["error", "warn", "info", "debug"]).default("info").describe("How much it logs."),
    })
    .prefault({})
    .describe("The server's own log."),
});

export type VaultFileFields = z.output<typeof vaultFileSchema>;
