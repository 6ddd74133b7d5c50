/**
 * Secrets of a vault server, redeemed with a token and a proof by this sidecar's own key. This file is the door to the
 * client: it puts the client's calls and errors into the session's words. Must never let a key, a token or a value into
 * an error.
 */
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import * as z from "zod";
import type { AgentVault, ApprovalRequiredError, IssuedToken, TokenRequest } from "../../../client/index.ts";
import { stampOfFiles } from "../../../config/client-tls.ts";
import { type Credential, credentialSchema, readCredential } from "../../../config/credential.ts";
import { agentName, filePath } from "../../../config/units.ts";
import type { Clock, EpochMs } from "../../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { openSidecarKey, SIDECAR_KEY_FILE } from "../../../identity/sidecar-key.ts";
import type { SourceDeps } from "../source.ts";
import { vaultAddress } from "../vault-session/address.ts";
import { createChangeCounts } from "../vault-session/changes.ts";
import { calling, faultOf } from "../vault-session/client-faults.ts";
import { readToken } from "../vault-session/grant.ts";
import { type ApprovalState, LinkFault, type VaultLink } from "../vault-session/link.ts";
import { createMintedSource } from "../vault-session/minted-source.ts";
import type { SessionParts } from "../vault-session/session.ts";
import { createGivenSource, type VaultSource } from "../vault-session/source.ts";
import { requireClientTls, tlsFilesOf, watchClientTls } from "../vault-session/tls-watch.ts";

const fields = z
  .strictObject({
    kind: z.literal("sidekey"),
    address: vaultAddress.describe("Where the vault listens: https://HOST[:PORT]; http:// only on this machine."),
    agent_key: credentialSchema
      .optional()
      .describe(
        "An agent's key: the sidecar enrols its own key with it, and asks for its tokens itself. Read again when its file changes.",
      ),
    token: credentialSchema
      .optional()
      .describe("A scoped token that somebody else issues and renews; the file is read again when it changes."),
    ca: filePath.optional().describe("PEM file with the CA of the vault, in place of the system's roots."),
    cert: filePath
      .optional()
      .describe("PEM file with a certificate for a vault that asks its clients for one (its tls.client_ca)."),
    cert_key: filePath
      .optional()
      .describe("PEM file with the private key of cert. All three files are read again when they change."),
    name: agentName.optional().describe("The sidecar's name at the vault. Default: the name of the machine."),
  })
  .superRefine(({ agent_key, token, cert, cert_key }, context) => {
    if ((cert === undefined) !== (cert_key === undefined)) {
      const message = cert === undefined ? "has 'cert_key' without 'cert'" : "has 'cert' without 'cert_key'";
      const hint = "Name the certificate with 'cert' and its private key with 'cert_key'.";
      context.addIssue({ code: "custom", message, params: { hint } });
    }
    if ((agent_key === undefined) !== (token === undefined)) return;
    const message = agent_key === undefined ? "must have 'agent_key' or 'token'" : "has both 'agent_key' and 'token'";
    const hint = "agent_key: { file: PATH } for a sidecar that asks for its tokens itself, or token: { file: PATH }.";
    context.addIssue({ code: "custom", message, params: { hint } });
  });

type Fields = z.output<typeof fields>;

/** Errors of `create`: CONFIG_INVALID, CONFIG_UNREADABLE, IDENTITY_*, SOURCE_FORBIDDEN; never because the vault is away. */
export const sidekey: Kind<"sidekey", typeof fields, SourceDeps, Promise<VaultSource>> = {
  kind: "sidekey",
  fields,
  summary: "A vault server, with a token that is bound to this sidecar's key.",
  async create(written, deps) {
    const { baseDir, stateDir, environment, uses = [] } = deps;
    const { token, agent_key: agentKey } = written;
    const read = (credential: Credential): string => readCredential(credential, { baseDir, environment });
    const credential = agentKey ?? token;
    if (credential === undefined) throw new SidekeyError("INTERNAL", { detail: "a vault without a credential" });
    // One that is not there is told before a key is made.
    read(credential);
    const sidecarKey = await openSidecarKey(join(stateDir, SIDECAR_KEY_FILE));
    const open = (key: string | undefined): Promise<VaultLink> =>
      openLink(written, deps, { agentKey: key, sidecarKey });
    const parts: Omit<SessionParts, "link"> = {
      source: deps.name,
      agent: deps.agent,
      thumbprint: sidecarKey.thumbprint,
      changes: createChangeCounts(),
      clock: deps.clock,
      log: deps.log,
      after: backgroundTimer,
      random: Math.random,
      isBrief: deps.isBrief === true,
    };
    const place = { read: () => read(credential), stamp: stampOf(credential, baseDir) };
    if (agentKey !== undefined) return createMintedSource(parts, { ...place, open }, uses);
    return createGivenSource({ ...parts, link: await open(undefined) }, place, uses);
  },
};

const backgroundTimer = (ms: number, act: () => void): (() => void) => {
  const timer = setTimeout(act, ms).unref();
  return () => clearTimeout(timer);
};

/** A word that is another one once the file is. */
const stampOf = (credential: Credential, baseDir: string): (() => string) | undefined => {
  if (!("file" in credential)) return undefined;
  const path = resolve(baseDir, credential.file);
  return () => stampOfFiles([path]);
};

interface Keys {
  readonly agentKey: string | undefined;
  readonly sidecarKey: Awaited<ReturnType<typeof openSidecarKey>>;
}

/** A fetch is cut off by who asks, after 2 s. `ms` */
const CALL_TIMEOUT_MS = 5_000;
/** The stream is taken for lost, and made anew. That it is quiet is noticed before. `ms` */
const IDLE_MS = 8_000;
const RETRY_AFTER_MS = 50;
/** Newest first, in a page. */
const LISTED_TOKENS = 100;
const LISTED_PAGES = 50;

const openLink = async (
  written: Fields,
  { name: source, baseDir, clock, log }: SourceDeps,
  keys: Keys,
): Promise<VaultLink> => {
  const { AgentVault } = await import("../../../client/index.ts");
  const { agentKey, sidecarKey } = keys;
  const files = tlsFilesOf(written, baseDir);
  const tls = requireClientTls(files, source);
  const options = {
    address: written.address,
    sidecarKey,
    timeoutMs: CALL_TIMEOUT_MS,
    // How often and how soon is decided by who waits, for all its secrets at once.
    retries: 0,
    ...(agentKey !== undefined && { agentKey }),
    ...tls,
  };
  const client: AgentVault = new AgentVault(options, { clock });
  const watch = watchClientTls({ source, files, use: (next) => client.useTls(next), after: backgroundTimer, log }, tls);
  const name =
    written.name ??
    (hostname()
      .replaceAll(/[^A-Za-z0-9._-]/g, "-")
      .slice(0, 64) ||
      "sidecar");
  return {
    address: written.address,
    enrol: () => calling(async () => void (await client.sidecars.enroll({ name, jwk: sidecarKey.publicJwk }))),
    requestToken: ({ scopes, names, ttlMs, approvedTtlMs, reason }) =>
      calling(async () => {
        try {
          const {
            token,
            id,
            expiresAt,
            names: found = {},
          } = await requestShortEnough(client, {
            scopes,
            names,
            ttl: Math.floor(ttlMs / 1000),
            ...(approvedTtlMs !== undefined && { approvedTtl: Math.floor(approvedTtlMs / 1000) }),
            reason,
            dpopJkt: sidecarKey.thumbprint,
          });
          return { token, id, lifeMs: lifeOf(token, expiresAt, clock), names: new Map(Object.entries(found)) };
        } catch (error) {
          if (isSidekeyError(error) && error.code === "CLIENT_APPROVAL_REQUIRED") {
            return { approvalId: (error as ApprovalRequiredError).approvalId };
          }
          throw error;
        }
      }),
    approval: (id) => calling(async () => approvalState((await client.approvals.mine(id)).status)),
    redeem: (token, request, signal) => {
      const once = () =>
        calling(async () => {
          const answer = await client.redeem({ ...request, token, ...(signal !== undefined && { signal }) });
          return answer.unchanged ? answer : { ...answer, hosts: answer.hosts ?? [] };
        });
      return once().catch(async (fault: LinkFault) => {
        if (fault.kind !== "unreachable" || signal?.aborted === true) throw fault;
        // Of several behind one address, the next one may be there.
        await new Promise((wake) => setTimeout(wake, RETRY_AFTER_MS));
        return once();
      });
    },
    async *events(token, signal, alive) {
      try {
        for await (const event of client.events({ token, signal, idleMs: IDLE_MS, alive })) yield event;
      } catch (error) {
        throw faultOf(error);
      }
    },
    isRevoked: (id) =>
      calling(async () => {
        if (agentKey === undefined) return false;
        // Of an agent whose programs ask for tokens too, it may be far down the list.
        for (let page = 1; page <= LISTED_PAGES; page += 1) {
          const { items } = await client.tokens.list({ page, limit: LISTED_TOKENS });
          const found = items.find((one) => one.id === id);
          if (found?.revokedAt !== undefined) return true;
          if (found !== undefined || items.length < LISTED_TOKENS) break;
        }
        // Its tokens stay good for nothing then, and another one would be as little use.
        return (await client.sidecars.find(sidecarKey.thumbprint))?.revokedAt !== undefined;
      }),
    revoke: (token) => calling(() => client.tokens.revokeOwn(token)),
    async close() {
      watch.close();
      client.close();
    },
  };
};

/** A vault may give shorter tokens alone (`tokens.max_ttl`): then one as long as it gives unasked. */
const requestShortEnough = async (client: AgentVault, request: TokenRequest): Promise<IssuedToken> => {
  try {
    return await client.requestToken(request);
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "CLIENT_REFUSED") throw error;
    const { ttl: _long, approvedTtl: _longer, ...unasked } = request;
    return client.requestToken(unasked);
  }
};

/** The vault's clock says both ends; where the token does not say its beginning, ours has to do. `ms` */
const lifeOf = (token: string, expiresAt: EpochMs, clock: Pick<Clock, "now">): number => {
  try {
    const { issuedAt, expiresAt: end } = readToken(token);
    if (issuedAt !== undefined) return end - issuedAt;
  } catch {
    // Of another kind: nothing in it is ours to read.
  }
  return expiresAt - clock.now();
};

const approvalState = (status: string): ApprovalState => {
  switch (status) {
    case "pending":
    case "denied":
    case "expired":
      return status;
    case "approved":
    case "used":
      return "approved";
    default:
      throw new LinkFault("garbage", "The approval is in a state that has no name.");
  }
};
