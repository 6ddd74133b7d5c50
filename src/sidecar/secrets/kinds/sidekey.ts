/**
 * Secrets of a vault server, redeemed with a token and a proof by this sidecar's own key. This file is the door to the
 * client: it puts the client's calls and errors into the session's words. Must never let a key, a token or a value into
 * an error.
 */
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import * as z from "zod";
import type { AgentVault, ApprovalRequiredError, VaultClientError } from "../../../client/index.ts";
import { type Credential, credentialSchema, readCredential } from "../../../config/credential.ts";
import { agentName, filePath } from "../../../config/units.ts";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { systemCode } from "../../../core/whole-file.ts";
import { openSidecarKey, SIDECAR_KEY_FILE } from "../../../identity/sidecar-key.ts";
import type { SourceDeps } from "../source.ts";
import { vaultAddress } from "../vault-session/address.ts";
import { createChangeCounts } from "../vault-session/changes.ts";
import { type ApprovalState, type FaultKind, LinkFault, type VaultLink } from "../vault-session/link.ts";
import type { SessionParts } from "../vault-session/session.ts";
import { createGivenSource, createMintedSource, type VaultSource } from "../vault-session/source.ts";

const fields = z
  .strictObject({
    kind: z.literal("sidekey"),
    address: vaultAddress.describe("Where the vault listens: https://HOST[:PORT]; http:// only on this machine."),
    agent_key: credentialSchema
      .optional()
      .describe("An agent's key: the sidecar enrols its own key with it, and asks for its tokens itself."),
    token: credentialSchema
      .optional()
      .describe("A scoped token that somebody else issues and renews; the file is read again when it changes."),
    ca: filePath.optional().describe("PEM file with the CA of the vault, in place of the system's roots."),
    name: agentName.optional().describe("The sidecar's name at the vault. Default: the name of the machine."),
  })
  .superRefine(({ agent_key, token }, context) => {
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
    const key = agentKey === undefined ? undefined : read(agentKey);
    const sidecarKey = await openSidecarKey(join(stateDir, SIDECAR_KEY_FILE));
    const link = await openLink(written, deps, { agentKey: key, sidecarKey });
    const parts: SessionParts = {
      link,
      source: deps.name,
      agent: deps.agent,
      thumbprint: sidecarKey.thumbprint,
      changes: createChangeCounts(),
      clock: deps.clock,
      log: deps.log,
      after: backgroundTimer,
      random: Math.random,
    };
    if (token === undefined) return createMintedSource(parts, uses);
    return createGivenSource(parts, { read: () => read(token), stamp: stampOf(token, baseDir) }, uses);
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
  return () => {
    const found = statSync(path, { throwIfNoEntry: false, bigint: true });
    return found === undefined ? "absent" : `${found.ino} ${found.size} ${found.mtimeNs}`;
  };
};

interface Keys {
  readonly agentKey: string | undefined;
  readonly sidecarKey: Awaited<ReturnType<typeof openSidecarKey>>;
}

/** A fetch is cut off by who asks, after 2 s. `ms` */
const CALL_TIMEOUT_MS = 5_000;
/** The stream is taken for lost: the vault says something every 5 s. `ms` */
const IDLE_MS = 8_000;
const RETRY_AFTER_MS = 50;
/** Newest first: one of this hour is among them. */
const LISTED_TOKENS = 100;

const openLink = async (written: Fields, { baseDir }: SourceDeps, keys: Keys): Promise<VaultLink> => {
  const { AgentVault } = await import("../../../client/index.ts");
  const { agentKey, sidecarKey } = keys;
  const ca = written.ca === undefined ? undefined : readPem(resolve(baseDir, written.ca));
  const client: AgentVault = new AgentVault({
    address: written.address,
    sidecarKey,
    timeoutMs: CALL_TIMEOUT_MS,
    // How often and how soon is decided by who waits, for all its secrets at once.
    retries: 0,
    ...(agentKey !== undefined && { agentKey }),
    ...(ca !== undefined && { ca }),
  });
  const name =
    written.name ??
    (hostname()
      .replaceAll(/[^A-Za-z0-9._-]/g, "-")
      .slice(0, 64) ||
      "sidecar");
  return {
    address: written.address,
    enrol: () => calling(async () => void (await client.sidecars.enroll({ name, jwk: sidecarKey.publicJwk }))),
    requestToken: ({ scopes, names, ttlMs, reason }) =>
      calling(async () => {
        try {
          const {
            token,
            id,
            expiresAt,
            names: found = {},
          } = await client.requestToken({
            scopes,
            names,
            ttl: Math.floor(ttlMs / 1000),
            reason,
            dpopJkt: sidecarKey.thumbprint,
          });
          return { token, id, expiresAt, names: new Map(Object.entries(found)) };
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
    async *events(token, signal) {
      try {
        for await (const event of client.events({ token, signal, idleMs: IDLE_MS })) yield event;
      } catch (error) {
        throw faultOf(error);
      }
    },
    isRevoked: (id) =>
      calling(async () => {
        if (agentKey === undefined) return false;
        const { items } = await client.tokens.list({ limit: LISTED_TOKENS });
        return items.some((one) => one.id === id && one.revokedAt !== undefined);
      }),
    revoke: (token) => calling(() => client.tokens.revokeOwn(token)),
    async close() {
      client.close();
    },
  };
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

const calling = async <T>(call: () => Promise<T>): Promise<T> => {
  try {
    return await call();
  } catch (error) {
    throw faultOf(error);
  }
};

const KINDS: Readonly<Record<string, FaultKind>> = {
  CLIENT_UNREACHABLE: "unreachable",
  CLIENT_BAD_ANSWER: "garbage",
  CLIENT_UNAVAILABLE: "busy",
  CLIENT_RATE_LIMITED: "busy",
  CLIENT_UNAUTHORIZED: "unauthorized",
  CLIENT_SCOPE_DENIED: "denied",
  CLIENT_APPROVAL_REQUIRED: "unapproved",
  CLIENT_SECRET_MISSING: "missing",
  CLIENT_SECRET_EXPIRED: "missing",
  CLIENT_NOT_FOUND: "missing",
  CLIENT_CONFLICT: "refused",
  CLIENT_REFUSED: "refused",
  CLIENT_BAD_ADDRESS: "refused",
};

const faultOf = (error: unknown): LinkFault => {
  if (error instanceof LinkFault) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new LinkFault("unreachable", "It did not answer in time.");
  if (!isSidekeyError(error)) return new LinkFault("garbage", "The call failed in a way that has no name.");
  const { code, detail, publicMessage, hint, retryAfter } = error;
  // The code says no more than that the vault does not allow it.
  const kind = (error as VaultClientError).vaultReason === "hosts" ? "host" : (KINDS[code] ?? "garbage");
  return new LinkFault(kind, detail ?? publicMessage, {
    hint,
    ...(retryAfter !== undefined && { retryAfter }),
  });
};

/** Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
const readPem = (path: string): string => {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new SidekeyError("CONFIG_UNREADABLE", { detail: `The CA of the vault, ${path} (${systemCode(error)}).` });
  }
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new SidekeyError("CONFIG_INVALID", { detail: `${path} holds no PEM certificate.` });
};
