/** `token issue`: prints a scoped token, and nothing else, on standard output. */
import type { IssuedToken, TokenRequest } from "../../client/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Scope } from "../../identity/scope.ts";
import { onRecord, tokenEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";
import { describeClaims } from "../vault/token-claims.ts";

const AGENT = /^[A-Za-z0-9._-]{1,64}$/;
const READS = ["value", "placeholder"] as const;

export const tokenIssue: CommandSpec = {
  name: "token issue",
  summary: "issue a scoped token",
  options: [
    { flags: "--scope <scope>", summary: "secrets:ACTION:GLOB; may be repeated", repeat: true, required: true },
    { flags: "--ttl <duration>", summary: "how long it lives, 1s to 1d (default: 1h)" },
    { flags: "--max-uses <n>", summary: "how often it may be used" },
    { flags: "--ip <cidr>", summary: "from where it may be used" },
    {
      flags: "--agent <name>",
      summary: "whose it is (default: the file's 'agent'; with --vault, whoever's key it is)",
    },
    { flags: "--reads <what>", summary: "what a plain read answers", choices: READS },
    { flags: "--jkt <thumbprint>", summary: "the only key that may present it" },
    { flags: "--reason <text>", summary: "one line for whoever has to approve it, with --vault" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    "sidekey token issue --scope 'secrets:use:production/*' --ttl 30m",
    "sidekey token issue --scope 'secrets:use:production/openai/*' > agent.token",
    "sidekey token issue --scope 'secrets:use:production/*' --vault https://vault.internal:7200 --key-file agent.key",
  ],
  async run(invocation) {
    const { options, terminal } = invocation;
    refuseInsideRun("token issue", invocation);
    const { parseScope } = await import("../../identity/scope.ts");
    const scopes = options.list("scope").map(parseScope);
    const limits = await readLimits(options);
    const agent = options.text("agent");
    if (agent !== undefined && !AGENT.test(agent))
      throw usage("--agent takes 1 to 64 letters, digits, '.', '_' or '-'.");
    const reason = options.text("reason");
    if (asksServer(invocation)) {
      const issued = await withServer("token issue", invocation, (vault) =>
        vault.requestToken({ ...requestOf(scopes, limits, agent), ...(reason !== undefined && { reason }) }),
      );
      if (options.flag("json")) terminal.printJson(describeIssued(issued));
      else terminal.print(issued.token);
      return EXIT_OK;
    }
    if (reason !== undefined) throw usage("--reason goes with --vault URL.");
    const { token, claims } = await withVault(invocation, ({ vault, config }) => {
      const holder = agent ?? config.agent;
      return onRecord(config, {
        events: [tokenEvent("issue", holder)],
        change: () => vault.tokens.issue({ scopes, agent: holder, ...limits }),
        done: (issued) => [tokenEvent("issue", holder, issued.claims.id)],
      });
    });
    if (options.flag("json")) terminal.printJson({ token, ...describeClaims(claims) });
    else terminal.print(token);
    return EXIT_OK;
  },
};

const requestOf = (scopes: readonly Scope[], limits: Limits, agent: string | undefined): TokenRequest => {
  const { ttlMs, maxUses, ips, reads, jkt } = limits;
  return {
    scopes: scopes.map(({ text }) => text),
    ...(ttlMs !== undefined && { ttl: Math.ceil(ttlMs / 1000) }),
    ...(maxUses !== undefined && { maxUses }),
    ...(ips !== undefined && { ips }),
    ...(reads !== undefined && { reads }),
    ...(jkt !== undefined && { dpopJkt: jkt }),
    ...(agent !== undefined && { agent }),
  };
};

/** With the names that a token of this machine is described by. */
const describeIssued = ({ token, id, agentId, scopes, expiresAt, maxUses, reads }: IssuedToken): object => ({
  token,
  id,
  ...(agentId !== undefined && { agent_id: agentId }),
  scope: scopes.join(" "),
  expires_at: new Date(expiresAt).toISOString(),
  ...(maxUses !== undefined && { max_uses: maxUses }),
  ...(reads !== undefined && { reads }),
});

interface Limits {
  ttlMs?: number;
  maxUses?: number;
  ips?: readonly string[];
  reads?: (typeof READS)[number];
  jkt?: string;
}

const readLimits = async (options: Options): Promise<Limits> => {
  const limits: Limits = {};
  const ttl = options.text("ttl");
  if (ttl !== undefined) limits.ttlMs = await parseTtl(ttl);
  const uses = options.text("max-uses");
  if (uses !== undefined) {
    if (!/^[1-9][0-9]{0,8}$/.test(uses)) throw usage("--max-uses takes a whole number from 1.");
    limits.maxUses = Number(uses);
  }
  const ip = options.text("ip");
  if (ip !== undefined) {
    const { parseCidr } = await import("../../core/ip.ts");
    if (parseCidr(ip) === undefined) throw usage("--ip takes a CIDR, such as 10.0.0.0/8.");
    limits.ips = [ip];
  }
  const reads = READS.find((known) => known === options.text("reads"));
  if (reads !== undefined) limits.reads = reads;
  const jkt = options.text("jkt");
  if (jkt !== undefined) {
    // RFC 7638 over SHA-256: 32 bytes in base64url.
    if (!/^[A-Za-z0-9_-]{43}$/.test(jkt)) throw usage("--jkt takes a key thumbprint of 43 characters.");
    limits.jkt = jkt;
  }
  return limits;
};

const parseTtl = async (text: string): Promise<number> => {
  const { parseDuration } = await import("../../core/units.ts");
  const ttl = parseDuration(text);
  if (ttl === undefined) throw usage("--ttl takes a duration, such as 90s, 30m or 1h.");
  // The vault checks this too; here it is known before a vault is made.
  const { MAX_TOKEN_TTL_MS } = await import("../../vault/index.ts");
  if (ttl < 1000 || ttl > MAX_TOKEN_TTL_MS) throw usage("--ttl takes 1 second to 24 hours.");
  return ttl;
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
