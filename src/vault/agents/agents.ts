/**
 * Agents, which ask for tokens, and operators, who may do everything: each known by one key that is shown once and kept
 * only as a hash. Taking one back takes back what it was given, in the same transaction. Must never hand a key out twice
 * or say why one is refused.
 */
import { createHash, randomBytes } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { formatScopes, parseScopes, type Scope } from "../../identity/scope.ts";
import type { TokenReads } from "../../identity/token.ts";
import { endApprovalsOf } from "../approvals/rows.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { recordChanges } from "../changes.ts";
import { createOrderedIds } from "../ordered-id.ts";
import type { ReadTx, VaultStorage } from "../storage/storage.ts";
import { revokeTokensOf } from "../tokens/rows.ts";
import {
  AGENT,
  AGENT_KEY,
  AGENT_NAME,
  type AgentInfo,
  type AgentKind,
  isAllowed,
  isRowPart,
  OPERATOR,
  openAgent,
  putAgent,
  putPointer,
  readAgent,
  readPointer,
  requireAgent,
  requireLiveAgent,
} from "./rows.ts";
import { revokeSidecarsOf } from "./sidecar-rows.ts";

export interface AgentRequest {
  /** 1 to 64 of `A-Z a-z 0-9 . _ -`; no other live agent's. */
  readonly name: string;
  /** Default: agent. */
  readonly kind?: AgentKind;
  readonly description?: string;
  /** Of an agent: at least one. An operator holds secrets:*:*, and says nothing here. */
  readonly scopes?: readonly Scope[];
  readonly namespaces?: readonly string[];
  readonly reads?: TokenReads;
  readonly place?: string;
}

/** What is not said stays as it is; null: none any more. */
export interface AgentUpdate extends Pick<AgentRequest, "scopes" | "namespaces" | "reads"> {
  readonly description?: string | null;
  readonly place?: string | null;
}

export interface UpdatedAgent {
  readonly info: AgentInfo;
  /** Ids of its tokens that reached further than it may now. */
  readonly revokedTokens: readonly string[];
}

export interface CreatedAgent {
  readonly info: AgentInfo;
  /** Nowhere else from now on. */
  readonly key: string;
}

export interface VaultAgents {
  /** Errors: IDENTITY_AGENT_EXISTS, IDENTITY_BAD_SCOPE, CONFIG_USAGE. */
  create(request: AgentRequest): Promise<CreatedAgent>;
  /** Errors: IDENTITY_KEY_INVALID, whatever is wrong with it. */
  authenticate(key: string): Promise<AgentInfo>;
  /** Revoked ones too, by time of creation. */
  list(): Promise<readonly AgentInfo[]>;
  /** By its id, revoked or not, or by the name of a live one. Errors: IDENTITY_AGENT_UNKNOWN. */
  find(idOrName: string): Promise<AgentInfo>;
  /**
   * With its tokens, sidecars and open approvals. Once more changes nothing.
   * Errors: IDENTITY_AGENT_UNKNOWN, IDENTITY_LAST_OPERATOR.
   */
  revoke(idOrName: string): Promise<AgentInfo>;
  /**
   * Of a live one; its key and name stay. Tokens that reach further than it may from now on are revoked with it, and all of
   * them when its tokens are to read no values any more.
   * Errors: IDENTITY_AGENT_UNKNOWN, IDENTITY_BAD_SCOPE, CONFIG_USAGE.
   */
  update(idOrName: string, update: AgentUpdate): Promise<UpdatedAgent>;
  hasOperator(): Promise<boolean>;
}

const PREFIXES: Readonly<Record<AgentKind, string>> = { agent: "ast_agent_", operator: "ask_op_" };
const KEY = /^(?:ast_agent_|ask_op_)[A-Za-z0-9_-]{43}$/;
const KEY_BYTES = 32;
const SHOWN_CHARACTERS = 14;
/** A write for each call of an agent would be too much. `ms` */
const ACTIVE_EVERY_MS = 60_000;
const OPERATOR_SCOPES = "secrets:*:*";
const MAX_NAMESPACES = 64;
const SEGMENTS = /^[A-Za-z0-9._-]{1,128}(?:\/[A-Za-z0-9._-]{1,128})*$/;
const MAX_NAMESPACE_LENGTH = 512;
const MAX_PLACE_SEGMENTS = 3;
const LINE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,256}$/u;

export const createVaultAgents = (storage: VaultStorage, barrier: Barrier, clock: Clock): VaultAgents => {
  const newId = createOrderedIds(clock);

  /**
   * The same steps for a key that is there and one that isn't: a row is found and opened, and so is an agent. What tells
   * them apart is looked at last.
   */
  const lookUp = (tx: ReadTx, key: string): AgentInfo | undefined => {
    const name = AGENT_KEY + hashOf(key);
    const isKnown = tx.get(name) !== undefined;
    const row = isKnown ? name : tx.range(AGENT_KEY, { limit: 1 })[0]?.key;
    const id = row === undefined ? undefined : readPointer(tx, barrier, row);
    const info = id === undefined ? undefined : readAgent(tx, barrier, id);
    return isKnown && KEY.test(key) && info?.revokedAt === undefined ? info : undefined;
  };

  const isStale = ({ lastActiveAt = 0 }: AgentInfo): boolean => clock.now() - lastActiveAt >= ACTIVE_EVERY_MS;

  return {
    async create(request) {
      const { name, kind = "agent" } = request;
      const key = PREFIXES[kind] + randomBytes(KEY_BYTES).toString("base64url");
      const info: AgentInfo = {
        ...checked(request, kind),
        id: newId(),
        keyPrefix: key.slice(0, SHOWN_CHARACTERS),
        createdAt: clock.now(),
      };
      await storage.write((tx) => {
        if (tx.get(AGENT_NAME + name) !== undefined) throw new SidekeyError("IDENTITY_AGENT_EXISTS");
        putAgent(tx, barrier, info);
        putPointer(tx, barrier, AGENT_KEY + hashOf(key), info.id);
        putPointer(tx, barrier, AGENT_NAME + name, info.id);
        if (kind === "operator") putPointer(tx, barrier, OPERATOR + info.id, info.id);
      });
      return { info, key };
    },

    async authenticate(key) {
      const info = await storage.read((tx) => lookUp(tx, key));
      if (info === undefined) throw new SidekeyError("IDENTITY_KEY_INVALID");
      if (!isStale(info)) return info;
      return storage.write((tx) => {
        const now = readAgent(tx, barrier, info.id);
        if (now === undefined || now.revokedAt !== undefined) throw new SidekeyError("IDENTITY_KEY_INVALID");
        if (!isStale(now)) return now;
        const active = { ...now, lastActiveAt: clock.now() };
        putAgent(tx, barrier, active);
        return active;
      });
    },

    list: () =>
      storage.read((tx) => tx.range(AGENT).map(({ key, value }) => openAgent(barrier, key.slice(AGENT.length), value))),

    find: (idOrName) => storage.read((tx) => requireAgent(tx, barrier, idOrName)),

    revoke: (idOrName) =>
      storage.write((tx) => {
        const info = requireAgent(tx, barrier, idOrName);
        if (info.revokedAt !== undefined) return info;
        if (info.kind === "operator") {
          if (tx.range(OPERATOR, { limit: 2 }).length < 2) throw new SidekeyError("IDENTITY_LAST_OPERATOR");
          tx.remove(OPERATOR + info.id);
        }
        const now = clock.now();
        const revoked = { ...info, revokedAt: now };
        putAgent(tx, barrier, revoked);
        tx.remove(AGENT_NAME + info.name);
        const tokens = revokeTokensOf(tx, barrier, info.id, { now });
        const sidecars = revokeSidecarsOf(tx, barrier, info.id, now);
        endApprovalsOf(tx, barrier, info.id, now);
        recordChanges(tx, barrier, [
          ...tokens.map((id) => ({ type: "token.revoked" as const, id })),
          ...sidecars.map((jkt) => ({ type: "sidecar.revoked" as const, jkt })),
        ]);
        return revoked;
      }),

    update: (idOrName, update) =>
      storage.write((tx) => {
        const { id } = requireAgent(tx, barrier, idOrName);
        const before = requireLiveAgent(tx, barrier, id);
        const { description = before.description, place = before.place } = update;
        const request: AgentRequest = {
          name: before.name,
          scopes: update.scopes ?? (before.kind === "operator" ? [] : before.scopes),
          namespaces: update.namespaces ?? before.namespaces,
          reads: update.reads ?? before.reads,
          ...(description != null && { description }),
          ...(place != null && { place }),
        };
        const { keyPrefix, createdAt, lastActiveAt } = before;
        const info: AgentInfo = {
          ...checked(request, before.kind),
          id,
          keyPrefix,
          createdAt,
          ...(lastActiveAt !== undefined && { lastActiveAt }),
        };
        putAgent(tx, barrier, info);
        const readNoMore = before.reads === "value" && info.reads === "placeholder";
        const revokedTokens = revokeTokensOf(tx, barrier, id, {
          now: clock.now(),
          which: ({ scope }) => readNoMore || !isAllowed(info, parseScopes(scope)),
        });
        recordChanges(
          tx,
          barrier,
          revokedTokens.map((token) => ({ type: "token.revoked", id: token })),
        );
        return { info, revokedTokens };
      }),

    hasOperator: () => storage.read((tx) => tx.range(OPERATOR, { limit: 1 }).length > 0),
  };
};

const checked = (
  { name, description, scopes = [], namespaces = [], reads = "value", place }: AgentRequest,
  kind: AgentKind,
): Omit<AgentInfo, "id" | "keyPrefix" | "createdAt"> => {
  if (!isRowPart(name)) throw usage("An agent's name is 1 to 64 of A-Z a-z 0-9 . _ -");
  if (description !== undefined && !LINE.test(description)) {
    throw usage("A description is one line of 1 to 256 characters.");
  }
  if (kind === "agent" && scopes.length === 0) {
    throw new SidekeyError("IDENTITY_BAD_SCOPE", { detail: "An agent needs at least one scope." });
  }
  if (kind === "operator" && scopes.length > 0) throw usage("An operator's scope is secrets:*:*, and no other.");
  if (namespaces.length > MAX_NAMESPACES) throw usage(`An agent has at most ${MAX_NAMESPACES} namespaces.`);
  for (const namespace of namespaces)
    if (!isPlace(namespace)) throw usage("A namespace is segments like production/x.");
  if (place !== undefined && !(isPlace(place) && place.split("/").length <= MAX_PLACE_SEGMENTS)) {
    throw usage("A place is organization, organization/team or organization/team/workspace.");
  }
  return {
    name,
    kind,
    // Parsed again: a scope built by hand must not get a sign past the grammar.
    scopes: parseScopes(kind === "operator" ? OPERATOR_SCOPES : formatScopes(scopes)),
    namespaces: [...new Set(namespaces)],
    reads,
    ...(description !== undefined && { description }),
    ...(place !== undefined && { place }),
  };
};

const isPlace = (text: string): boolean =>
  text.length <= MAX_NAMESPACE_LENGTH &&
  SEGMENTS.test(text) &&
  text.split("/").every((segment) => segment !== "." && segment !== "..");

/** Of 32 random bytes: nothing that a slower hash would make safer. */
const hashOf = (key: string): string => createHash("sha256").update(key).digest("hex");

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
