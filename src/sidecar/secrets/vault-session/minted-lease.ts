/**
 * A token that the sidecar asks for itself, with an agent's key: for exactly the paths of the routes, renewed at two
 * thirds of its life, given back at the end. What an operator revoked is not asked for again.
 */
import type { SidekeyError } from "../../../core/errors.ts";
import { sourceError } from "./failure.ts";
import { createGrant, type Grant } from "./grant.ts";
import { createTroubleLog, type Lease, type LeaseParts, revokedError, waitingFor } from "./lease.ts";
import { isOutageFault, LinkFault, toLinkFault } from "./link.ts";

export interface MintedLeaseOptions extends LeaseParts {
  /** Valid secret paths. */
  readonly paths: readonly string[];
  /** Of one segment: the vault knows what they lead to. */
  readonly names: readonly string[];
  readonly life: TokenLife;
}

/** How long a token is asked for. */
export interface TokenLife {
  /** `ms` */
  readonly ttlMs: number;
  /** In its place where a person has to approve it: each renewal is one more to approve. `ms` */
  readonly approvedTtlMs?: number;
}

const RENEW_AT = 2 / 3;
export const TOKEN_TTL_MS = 60 * 60 * 1000;
const BRIEF_TTL_MS = 10 * 60 * 1000;

/**
 * For a sidecar that may be killed with its program. What is left of a token at its renewal is a third; a vault that goes
 * away then must not end a route that may do without it for longer.
 */
export const briefLife = (staleMs: number): TokenLife => ({
  ttlMs: Math.min(Math.max(BRIEF_TTL_MS, Math.ceil(staleMs / (1 - RENEW_AT))), TOKEN_TTL_MS),
  approvedTtlMs: TOKEN_TTL_MS,
});

export interface MintedLease extends Lease {
  /**
   * The first attempt. `strict`: whatever keeps it from a token is an error; else only what waiting won't mend. Errors:
   * SOURCE_FORBIDDEN, IDENTITY_SCOPE_DENIED; strict: SOURCE_UNAVAILABLE, SOURCE_SECRET_MISSING too.
   */
  begin(strict: boolean): Promise<void>;
}

const FIRST_PAUSE_MS = 100;
/** Without a token nothing works: it must be there within 2 s of the vault's return (guarantees.md R1). `ms` */
const OUTAGE_PAUSE_MS = 1_500;
const LONGEST_PAUSE_MS = 30_000;
/** A name that leads nowhere may lead somewhere soon. `ms` */
const NAMES_PAUSE_MS = 15_000;
/** Between two tokens, however short the vault makes them. `ms` */
const LEAST_RENEWAL_MS = 1_000;
const APPROVAL_POLL_MS = 2_000;
/** Two renewals of a token that the vault did not take. `ms` */
const RENEW_EVERY_MS = 1_000;
/** What was asked with the old token is answered by then. `ms` */
export const RETIRE_AFTER_MS = 5_000;

/** Undefined: ask again later. Who may not even ask gets no token either, and hears why. */
const cannotTell = (thrown: unknown): false | undefined => (isOutageFault(toLinkFault(thrown)) ? undefined : false);

export const createMintedLease = (options: MintedLeaseOptions): MintedLease => {
  const { link, source, clock, log, after, random, changed, paths, names, life } = options;
  const { trouble, over } = createTroubleLog(options);
  const scopes = paths.map((path) => `secrets:use:${path}`);
  let grant: Grant | undefined;
  /** Why there is none, or none any more. */
  let problem: SidekeyError = waitingFor(`source ${source}: no token yet`);
  let isRevoked = false;
  let closed = false;
  let enrolled = false;
  /** A person said no. */
  let isStopped = false;
  let approvalId: string | undefined;
  /** In a row: with nobody there, and with somebody who asks for time. */
  let failures = { away: 0, busy: 0 };
  /** Tokens in a row that lack a name. */
  let unresolved = 0;
  let attempt: Promise<LinkFault | undefined> | undefined;
  let cancelNext = (): void => {};
  /** What is done about a token that the vault did not take, for all who met with that. */
  let recovery: Promise<void> | undefined;
  let refusedAt = Number.NEGATIVE_INFINITY;
  /** Replaced, and not given back yet. */
  const retiring = new Map<string, { readonly id: string | undefined; readonly cancel: () => void }>();

  const giveBack = async (token: string): Promise<void> => {
    retiring.get(token)?.cancel();
    retiring.delete(token);
    await link.revoke(token).catch((thrown: unknown) => {
      const { kind, message } = toLinkFault(thrown);
      // It has ended already, or somebody took it back.
      if (kind === "unauthorized") return;
      // It ends by itself, within the hour at the latest.
      log.warn("a token of the sidecar could not be given back", { source, address: link.address, reason: message });
    });
  };

  const retire = ({ token, id }: Grant): void => {
    retiring.set(token, { id, cancel: after(RETIRE_AFTER_MS, () => void giveBack(token)) });
  };

  const plan = (ms: number): void => {
    cancelNext();
    if (!closed && !isRevoked && !isStopped) cancelNext = after(ms, () => void renew());
  };

  const pauseAfter = (fault: LinkFault): number => {
    if (!isOutageFault(fault)) return LONGEST_PAUSE_MS;
    const isAway = fault.kind === "unreachable";
    const [count, longest] = isAway ? [failures.away, OUTAGE_PAUSE_MS] : [failures.busy, LONGEST_PAUSE_MS];
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(count - 1, 16), longest) * (0.5 + random() / 2);
    return Math.min(Math.max(pause, (fault.retryAfter ?? 0) * 1000), LONGEST_PAUSE_MS);
  };

  const take = (next: Grant): void => {
    const before = grant;
    grant = next;
    failures = { away: 0, busy: 0 };
    approvalId = undefined;
    over("the vault gave the sidecar its token");
    if (before !== undefined) retire(before);
    const isWhole = names.every((name) => next.names.has(name));
    unresolved = isWhole ? 0 : unresolved + 1;
    const renewIn = Math.max((next.expiresAt - clock.now()) * RENEW_AT, LEAST_RENEWAL_MS);
    plan(isWhole ? renewIn : Math.min(renewIn, NAMES_PAUSE_MS * 2 ** Math.min(unresolved - 1, 8)));
    changed();
  };

  const awaitDecision = (id: string): void => {
    problem = waitingFor(`source ${source}: approval ${id} is not decided yet`, APPROVAL_POLL_MS / 1000);
    plan(APPROVAL_POLL_MS);
  };

  const tellApproval = (id: string): void => {
    if (approvalId === id) return;
    approvalId = id;
    const hint = `sidekey approval approve ${id}`;
    log.warn("the sidecar's token waits for approval", { source, address: link.address, approval: id, hint });
  };

  /** False: nobody has decided yet. Throws what a person refused. */
  const isDecided = async (id: string): Promise<boolean> => {
    const state = await link.approval(id);
    if (state === "pending") return false;
    if (state === "approved") return true;
    approvalId = undefined;
    // Asking again would make one more request for a person to refuse.
    isStopped = state === "denied";
    throw new LinkFault("refused", `The approval ${id} was ${state}.`);
  };

  const mint = async (): Promise<void> => {
    if (!enrolled) {
      await link.enrol();
      enrolled = true;
    }
    if (approvalId !== undefined && !(await isDecided(approvalId))) return awaitDecision(approvalId);
    const askedAt = clock.now();
    const answer = await link.requestToken({ scopes, names, ...life, reason: `sidecar, source ${source}` });
    if ("approvalId" in answer) {
      tellApproval(answer.approvalId);
      return awaitDecision(answer.approvalId);
    }
    const { token, id, names: found, lifeMs } = answer;
    // By our clock, from before it was made: the vault's may go otherwise.
    const next = createGrant({ token, id, names: found, expiresAt: askedAt + lifeMs }, clock);
    if (closed || isRevoked) await giveBack(next.token);
    else take(next);
  };

  const failed = (fault: LinkFault): void => {
    // A vault that was away for long and comes back with a word that asks for time is not long away for that.
    if (fault.kind === "unreachable") failures.away += 1;
    else failures.busy += 1;
    problem = sourceError(fault, `source ${source}`);
    trouble(grant === undefined ? "the sidecar has no token" : "the sidecar's token could not be renewed", fault);
    plan(pauseAfter(fault));
  };

  /** One attempt, shared by all who want one. Why it failed. */
  const renew = (): Promise<LinkFault | undefined> => {
    attempt ??= mint()
      .then(
        () => undefined,
        (thrown: unknown) => {
          const fault = toLinkFault(thrown);
          if (!closed) failed(fault);
          return fault;
        },
      )
      .finally(() => {
        attempt = undefined;
      });
    return attempt;
  };

  const revoked = (tokenId = grant?.id): void => {
    if (isRevoked) return;
    isRevoked = true;
    cancelNext();
    // Who took back the one before means this sidecar, and had not seen this one yet.
    if (grant !== undefined && grant.id !== tokenId) void giveBack(grant.token);
    log.error("the sidecar's token was revoked", { source, address: link.address });
  };

  /** What an operator took back is not asked for again, also when nobody heard of it. */
  const recover = async (used: Grant): Promise<void> => {
    const wasTakenBack = used.id === undefined ? false : await link.isRevoked(used.id).catch(cannotTell);
    if (grant !== used || wasTakenBack === undefined) return;
    if (wasTakenBack) revoked();
    else await renew();
  };

  return {
    async begin(strict) {
      const fault = await renew();
      if (fault !== undefined && (strict || !isOutageFault(fault)) && fault.kind !== "missing") {
        throw sourceError(fault, `source ${source}`);
      }
      if (strict && grant === undefined) throw problem;
    },
    check() {
      if (isRevoked) throw revokedError(source);
      if (grant === undefined) throw problem;
      if (!grant.isOver()) return;
      // The vault was away for the last third of its life, or the machine slept: worth another try, not a refusal.
      void renew();
      throw waitingFor(`source ${source}: the sidecar's token is being renewed`);
    },
    current: () => (isRevoked || grant?.isOver() === true ? undefined : grant),
    pathOf: (name) => grant?.names.get(name),
    async refused(used, { kind }) {
      if (kind === "revoked") {
        if (grant === used) revoked();
        return false;
      }
      if (grant !== used) return grant !== undefined;
      if (recovery === undefined) {
        const now = clock.monotonic();
        if (now - refusedAt < RENEW_EVERY_MS) return false;
        refusedAt = now;
        recovery = recover(used).finally(() => {
          recovery = undefined;
        });
      }
      await recovery;
      return !isRevoked && grant !== used;
    },
    accepted() {},
    holds: (id) => id === grant?.id || [...retiring.values()].some((one) => one.id === id),
    revoked,
    isRevoked: () => isRevoked,
    describe: () => ({
      expiresAt: grant?.expiresAt,
      problem: isRevoked ? revokedError(source) : grant === undefined ? problem : undefined,
    }),
    async close() {
      closed = true;
      cancelNext();
      await attempt;
      const tokens = [...retiring.keys(), ...(grant === undefined || isRevoked ? [] : [grant.token])];
      grant = undefined;
      await Promise.all(tokens.map(giveBack));
    },
  };
};
