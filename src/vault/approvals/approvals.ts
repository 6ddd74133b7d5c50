/**
 * What an agent wants and a person has to allow: a token that reaches a sensitive secret. A request waits until enough
 * operators said yes, one said no, or its time is over; an approved one makes one token, on the terms it was asked for.
 * Must never let a request approve itself, be claimed twice, or be decided twice.
 */
import { createHash } from "node:crypto";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { formatScopes, parseScopes, type Scope } from "../../identity/scope.ts";
import type { AccessTier } from "../../identity/tier.ts";
import { requireLiveAgent } from "../agents/rows.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { createOrderedIds } from "../ordered-id.ts";
import type { ReadTx, Tx, VaultStorage } from "../storage/storage.ts";
import { type ApprovalNewsType, addNews } from "./news.ts";
import {
  type ApprovalRow,
  addApproval,
  approvalIds,
  purgeApprovals,
  putApproval,
  readOpen,
  requireApproval,
  waitingIds,
} from "./rows.ts";
import { createUnrecorded, leaveUnrecorded, type Unrecorded } from "./unrecorded.ts";

export type ApprovalStatus = ApprovalRow["status"];

export interface ApprovalInfo {
  readonly id: string;
  readonly agentId: string;
  /** Name. */
  readonly agent: string;
  readonly status: ApprovalStatus;
  /** The highest of the secrets asked for. */
  readonly tier: AccessTier;
  readonly scopes: readonly Scope[];
  /** The agent's words: never to be believed, nor printed unescaped. */
  readonly reason: string | undefined;
  readonly createdAt: EpochMs;
  /** Waiting until then; when approved, to be claimed until then. */
  readonly expiresAt: EpochMs;
  readonly needed: number;
  /** Ids of the operators who said yes. */
  readonly approvedBy: readonly string[];
  /** Id of the operator whose word decided. */
  readonly decidedBy: string | undefined;
  readonly decidedAt: EpochMs | undefined;
  readonly decisionReason: string | undefined;
  /** Approved, and its token was made. */
  readonly usedAt: EpochMs | undefined;
}

export interface ApprovalRequest {
  readonly agent: { readonly id: string };
  readonly scopes: readonly Scope[];
  readonly tier: AccessTier;
  /** One line of at most 512 characters. */
  readonly reason?: string;
  /** Everything that the token was asked for with, as one text that is the same for the same request. */
  readonly terms: string;
}

export interface ApprovalOptions {
  /** How long a request waits. `ms` */
  readonly expireMs: number;
  /** How many different operators must say yes; 0 = none, and no approval is needed. */
  readonly sensitive: number;
  readonly critical: number;
  /** Requests of one agent that may be open at once, or were denied within the hour. */
  readonly perAgent: number;
  /** Somebody is told of them: what happens is kept for him, too. */
  readonly tells: boolean;
}

export const DEFAULT_APPROVALS: ApprovalOptions = {
  expireMs: 24 * 60 * 60 * 1000,
  sensitive: 1,
  critical: 1,
  perAgent: 20,
  tells: false,
};

export interface ApprovalDecision {
  readonly by: string;
  /** It is made beside the servers, and one of them is to put it on its record. */
  readonly isUnrecorded?: boolean;
}

export interface VaultApprovals {
  /** How many operators must say yes to a token that reaches this tier; 0 = none. */
  needed(tier: AccessTier): number;
  /** The highest tier that a token reaches without anybody's word. */
  freeTier(): AccessTier;
  /**
   * The same request that is open already is returned again, whatever reason comes with it; `isNew` tells.
   * Errors: IDENTITY_AGENT_UNKNOWN (or revoked), IDENTITY_APPROVAL_LIMIT, CONFIG_USAGE (reason).
   */
  request(request: ApprovalRequest): Promise<ApprovalInfo & { readonly isNew: boolean }>;
  /** Newest first. */
  list(of?: { readonly status?: ApprovalStatus; readonly agentId?: string }): Promise<readonly ApprovalInfo[]>;
  /** Errors: VAULT_APPROVAL_UNKNOWN. */
  get(id: string): Promise<ApprovalInfo>;
  /**
   * Still pending when more operators are needed. `by`: the operator's id.
   * Errors: VAULT_APPROVAL_UNKNOWN, IDENTITY_APPROVAL_DECIDED (or over, or by the same operator before), CONFIG_USAGE.
   */
  approve(id: string, decision: ApprovalDecision & { readonly reason?: string }): Promise<ApprovalInfo>;
  /** One no is enough. Errors: as `approve`. */
  deny(id: string, decision: ApprovalDecision & { readonly reason: string }): Promise<ApprovalInfo>;
  /** Decisions that a server has to put on record still. */
  readonly unrecorded: Unrecorded;
  /** Those whose time is over since the last call, of whatever process: each is told once. */
  expire(): Promise<readonly ApprovalInfo[]>;
  /** Marks an approved, unused one of these terms as used; of several at once, one gets it. Undefined: there is none. */
  claim(agentId: string, terms: string): Promise<ApprovalInfo | undefined>;
}

/** An approval that comes at the last moment can still be used. `ms` */
const CLAIM_MS = 60 * 60 * 1000;
const DENIED_COUNTS_MS = 60 * 60 * 1000;
/** One line without control characters, also in other scripts. */
const LINE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,512}$/u;

export const createVaultApprovals = (
  { storage, barrier, clock }: { readonly storage: VaultStorage; readonly barrier: Barrier; readonly clock: Clock },
  options: ApprovalOptions = DEFAULT_APPROVALS,
): VaultApprovals => {
  const newId = createOrderedIds(clock);

  const needed = (tier: AccessTier): number => (tier === "standard" ? 0 : options[tier]);

  /** Also what nobody has marked yet. */
  const infoOf = (id: string, row: ApprovalRow): ApprovalInfo => approvalInfo(id, row, clock.now());

  const keep = (tx: Tx, type: ApprovalNewsType, id: string, row: ApprovalRow): void => {
    if (options.tells) addNews(tx, barrier, { id, type, at: clock.now(), row });
  };

  const infosOf = (tx: ReadTx, ids: readonly string[]): readonly ApprovalInfo[] =>
    ids.map((id) => infoOf(id, requireApproval(tx, barrier, id)));

  const isOpen = (row: ApprovalRow): boolean => row.expiresAt > clock.now();

  const requirePending = (tx: ReadTx, id: string): ApprovalRow => {
    const row = requireApproval(tx, barrier, id);
    if (row.status === "pending" && isOpen(row)) return row;
    const { status } = infoOf(id, row);
    throw new SidekeyError("IDENTITY_APPROVAL_DECIDED", { detail: `It is ${status} already.` });
  };

  const counts = (row: ApprovalRow): boolean => {
    if (row.status === "denied") return (row.decided?.at ?? 0) + DENIED_COUNTS_MS > clock.now();
    return row.status !== "expired" && row.usedAt === undefined && isOpen(row);
  };

  /** What counts is not older than this, so that only the newest rows of an agent are looked at. */
  const countedMs = options.expireMs + Math.max(CLAIM_MS, DENIED_COUNTS_MS);

  const checkRoom = (tx: ReadTx, agentId: string): void => {
    let open = 0;
    for (const id of approvalIds(tx, agentId).toReversed()) {
      const row = requireApproval(tx, barrier, id);
      if (row.createdAt + countedMs <= clock.now()) break;
      if (counts(row)) open += 1;
    }
    if (open >= options.perAgent) throw new SidekeyError("IDENTITY_APPROVAL_LIMIT");
  };

  const leaveWord = (
    tx: Tx,
    approvalId: string,
    word: Omit<Parameters<typeof leaveUnrecorded>[3], "approvalId">,
  ): void => leaveUnrecorded(tx, barrier, newId(), { approvalId, ...word });

  return {
    needed,

    freeTier() {
      if (needed("sensitive") > 0) return "standard";
      return needed("critical") > 0 ? "sensitive" : "critical";
    },

    async request({ agent, scopes, tier, reason, terms }) {
      if (reason !== undefined) checkReason(reason);
      const of = { agentId: agent.id, terms: sha256(terms) };
      const id = newId();
      return storage.write((tx) => {
        const live = requireLiveAgent(tx, barrier, agent.id);
        const open = readOpen(tx, barrier, of);
        if (open !== undefined) {
          const row = requireApproval(tx, barrier, open);
          if (isOpen(row)) return { ...infoOf(open, row), isNew: false };
        }
        purgeApprovals(tx, barrier, clock.now());
        checkRoom(tx, agent.id);
        const row: ApprovalRow = {
          ...of,
          agent: live.name,
          scope: formatScopes(scopes),
          tier,
          ...(reason !== undefined && { reason }),
          createdAt: clock.now(),
          expiresAt: clock.now() + options.expireMs,
          status: "pending",
          needed: Math.max(1, needed(tier)),
          approvedBy: [],
        };
        addApproval(tx, barrier, id, row);
        keep(tx, "approval.requested", id, row);
        return { ...infoOf(id, row), isNew: true };
      });
    },

    list: ({ status, agentId } = {}) =>
      storage.read((tx) =>
        infosOf(tx, approvalIds(tx, agentId).toReversed()).filter(
          (one) => status === undefined || one.status === status,
        ),
      ),

    get: (id) => storage.read((tx) => infoOf(id, requireApproval(tx, barrier, id))),

    unrecorded: createUnrecorded({
      ...{ storage, barrier, clock },
      recorded(tx, { approvalId, verdict, row }) {
        if (row.status !== "pending") keep(tx, `approval.${verdict}`, approvalId, row);
      },
    }),

    async approve(id, { by, reason, isUnrecorded = false }) {
      if (reason !== undefined) checkReason(reason);
      return storage.write((tx) => {
        const row = requirePending(tx, id);
        if (row.approvedBy.some((one) => one.by === by)) {
          throw new SidekeyError("IDENTITY_APPROVAL_DECIDED", {
            detail: "This operator has approved it already; another one has to as well.",
          });
        }
        const now = clock.now();
        const word = { by, at: now, ...(reason !== undefined && { reason }) };
        const approvedBy = [...row.approvedBy, word];
        const isDecided = approvedBy.length >= row.needed;
        const next: ApprovalRow = isDecided
          ? {
              ...row,
              approvedBy,
              status: "approved",
              decided: word,
              expiresAt: Math.max(row.expiresAt, now + CLAIM_MS),
            }
          : { ...row, approvedBy };
        putApproval(tx, barrier, id, next);
        // A yes that is one of two leaves it waiting, and is no news.
        if (isDecided) keep(tx, "approval.granted", id, next);
        if (isUnrecorded) leaveWord(tx, id, { verdict: "granted", ...word, row: next });
        return infoOf(id, next);
      });
    },

    async deny(id, { by, reason, isUnrecorded = false }) {
      checkReason(reason);
      return storage.write((tx) => {
        const row = requirePending(tx, id);
        const word = { by, at: clock.now(), reason };
        const next: ApprovalRow = { ...row, status: "denied", decided: word };
        putApproval(tx, barrier, id, next);
        keep(tx, "approval.denied", id, next);
        if (isUnrecorded) leaveWord(tx, id, { verdict: "denied", ...word, row: next });
        return infoOf(id, next);
      });
    },

    async expire() {
      const overdue = (tx: ReadTx): readonly string[] =>
        waitingIds(tx).filter((id) => !isOpen(requireApproval(tx, barrier, id)));
      if ((await storage.read(overdue)).length === 0) return [];
      return storage.write((tx) =>
        overdue(tx).map((id) => {
          const next: ApprovalRow = { ...requireApproval(tx, barrier, id), status: "expired" };
          putApproval(tx, barrier, id, next);
          keep(tx, "approval.timed_out", id, next);
          return infoOf(id, next);
        }),
      );
    },

    async claim(agentId, terms) {
      const of = { agentId, terms: sha256(terms) };
      const isThere = await storage.read((tx) => readOpen(tx, barrier, of) !== undefined);
      if (!isThere) return undefined;
      return storage.write((tx) => {
        const id = readOpen(tx, barrier, of);
        const row = id === undefined ? undefined : requireApproval(tx, barrier, id);
        if (id === undefined || row === undefined || row.status !== "approved" || !isOpen(row)) return undefined;
        const next: ApprovalRow = { ...row, usedAt: clock.now() };
        putApproval(tx, barrier, id, next);
        return infoOf(id, next);
      });
    },
  };
};

const approvalInfo = (id: string, row: ApprovalRow, now: EpochMs): ApprovalInfo => {
  const isOver = row.expiresAt <= now && row.usedAt === undefined;
  const status = isOver && (row.status === "pending" || row.status === "approved") ? "expired" : row.status;
  return {
    id,
    agentId: row.agentId,
    agent: row.agent,
    status,
    tier: row.tier,
    scopes: parseScopes(row.scope),
    reason: row.reason,
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    needed: row.needed,
    approvedBy: row.approvedBy.map(({ by }) => by),
    decidedBy: row.decided?.by,
    decidedAt: row.decided?.at,
    decisionReason: row.decided?.reason,
    usedAt: row.usedAt,
  };
};

const checkReason = (reason: string): void => {
  if (LINE.test(reason)) return;
  throw new SidekeyError("CONFIG_USAGE", { detail: "A reason is one line of 1 to 512 characters." });
};

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
