/**
 * How agents and operators lie in a store: `agent:ID` holds one, `agentkey:HASH` leads from the hash of a key to it,
 * `agentname:NAME` from a name to the one that bears it now, and `operator:ID` marks those that may do everything. A key
 * itself is nowhere.
 */
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { formatScopes, parseScope, parseScopes, type Scope, scopesWithin } from "../../identity/scope.ts";
import type { TokenReads } from "../../identity/token.ts";
import { type Barrier, recallJson, sealJson } from "../barrier/barrier.ts";
import type { ReadTx, Tx } from "../storage/storage.ts";

export const AGENT = "agent:";
export const AGENT_KEY = "agentkey:";
export const AGENT_NAME = "agentname:";
export const OPERATOR = "operator:";

export type AgentKind = "agent" | "operator";

export interface AgentInfo {
  readonly id: string;
  readonly name: string;
  readonly kind: AgentKind;
  readonly description?: string;
  /** No token of it may reach further. */
  readonly scopes: readonly Scope[];
  /** Beginnings of paths, whole segments; a token stays within one of them. Empty: the scopes alone decide. */
  readonly namespaces: readonly string[];
  /** What a plain read answers its tokens; `placeholder` cannot be asked away. */
  readonly reads: TokenReads;
  /** `organization[/team[/workspace]]`: where its names of secrets are looked up. */
  readonly place?: string;
  /** First 14 characters of its key. */
  readonly keyPrefix: string;
  readonly createdAt: EpochMs;
  /** To the minute. */
  readonly lastActiveAt?: EpochMs;
  readonly revokedAt?: EpochMs;
}

const rowSchema = z.strictObject({
  name: z.string(),
  kind: z.enum(["agent", "operator"]),
  description: z.string().optional(),
  /** Space-separated; empty for none. */
  scope: z.string(),
  namespaces: z.array(z.string()),
  reads: z.enum(["value", "placeholder"]),
  place: z.string().optional(),
  keyPrefix: z.string(),
  createdAt: z.number(),
  lastActiveAt: z.number().optional(),
  revokedAt: z.number().optional(),
});

const pointerSchema = z.strictObject({ agent: z.string() });

/** Undefined when there is none. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const readAgent = (tx: ReadTx, barrier: Barrier, id: string): AgentInfo | undefined => {
  const sealed = tx.get(AGENT + id);
  return sealed === undefined ? undefined : openAgent(barrier, id, sealed);
};

export const openAgent = (barrier: Barrier, id: string, sealed: Buffer): AgentInfo => {
  const { scope, description, place, lastActiveAt, revokedAt, ...row } = recallJson(
    barrier,
    AGENT + id,
    sealed,
    rowSchema,
  );
  return {
    id,
    ...row,
    scopes: scope === "" ? [] : parseScopes(scope),
    ...(description !== undefined && { description }),
    ...(place !== undefined && { place }),
    ...(lastActiveAt !== undefined && { lastActiveAt }),
    ...(revokedAt !== undefined && { revokedAt }),
  };
};

export const putAgent = (tx: Tx, barrier: Barrier, { id, scopes, ...info }: AgentInfo): void =>
  tx.put(AGENT + id, sealJson(barrier, AGENT + id, { ...info, scope: formatScopes(scopes) }));

/** Which agent a row under `agentkey:`, `agentname:` or `operator:` leads to. */
export const readPointer = (tx: ReadTx, barrier: Barrier, key: string): string | undefined => {
  const sealed = tx.get(key);
  return sealed === undefined ? undefined : openPointer(barrier, key, sealed);
};

export const openPointer = (barrier: Barrier, key: string, sealed: Buffer): string =>
  recallJson(barrier, key, sealed, pointerSchema).agent;

export const putPointer = (tx: Tx, barrier: Barrier, key: string, agent: string): void =>
  tx.put(key, sealJson(barrier, key, { agent }));

/** By its id, revoked or not, or by the name that it bears now. Errors: IDENTITY_AGENT_UNKNOWN. */
export const requireAgent = (tx: ReadTx, barrier: Barrier, idOrName: string): AgentInfo => {
  if (!isRowPart(idOrName)) throw new SidekeyError("IDENTITY_AGENT_UNKNOWN");
  // An id first: nobody stands in for an agent by taking its id for a name.
  const named = (): string => readPointer(tx, barrier, AGENT_NAME + idOrName) ?? "";
  const found = readAgent(tx, barrier, idOrName) ?? readAgent(tx, barrier, named());
  if (found === undefined) throw new SidekeyError("IDENTITY_AGENT_UNKNOWN");
  return found;
};

/** In the transaction that gives it something: it may have been revoked since it was asked about. */
export const requireLiveAgent = (tx: ReadTx, barrier: Barrier, id: string): AgentInfo => {
  const found = readAgent(tx, barrier, id);
  if (found === undefined || found.revokedAt !== undefined) throw new SidekeyError("IDENTITY_AGENT_UNKNOWN");
  return found;
};

/** Names and ids share a grammar that has no `:`, and fit into a row's key. */
export const isRowPart = (text: string): boolean => /^[A-Za-z0-9._-]{1,64}$/.test(text);

/** Whether an agent may have a token of these. */
export const isAllowed = ({ scopes, namespaces }: AgentInfo, wanted: readonly Scope[]): boolean =>
  wanted.every((one) => scopesWithin([one], scopes) && isWithinNamespaces(one, namespaces));

/** Errors: IDENTITY_SCOPE_DENIED. */
export const checkAgentScopes = (agent: AgentInfo, wanted: readonly Scope[]): void => {
  const denied = wanted.find((one) => !isAllowed(agent, [one]));
  if (denied === undefined) return;
  throw new SidekeyError("IDENTITY_SCOPE_DENIED", {
    detail: `${denied.text} is outside what this agent may have.`,
    hint: "Ask for less, or let an operator widen the agent's scopes.",
  });
};

const isWithinNamespaces = (scope: Scope, namespaces: readonly string[]): boolean =>
  namespaces.length === 0 ||
  namespaces.some((namespace) => scopesWithin([scope], [parseScope(`secrets:${scope.action}:${namespace}/*`)]));
