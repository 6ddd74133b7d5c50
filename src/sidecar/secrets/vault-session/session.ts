/**
 * A sidecar's dealings with one vault: tokens, what the vault says of changes, and the redemption of references. Keeps no
 * value. Must never use a token for a secret that no route names.
 */
import type { Clock } from "../../../core/clock.ts";
import type { Closable } from "../../../core/closer.ts";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import type { After } from "../fetch.ts";
import type { FetchContext, RouteUse, SecretMaterial, SecretRef } from "../source.ts";
import { type ChangeCounts, pathIn } from "./changes.ts";
import { createEventStream, type EventStream } from "./event-stream.ts";
import { scopeDenied, sourceError } from "./failure.ts";
import type { Lease, LeaseParts, LeaseReport } from "./lease.ts";
import { isOutageFault, LinkFault, toLinkFault, type VaultLink, type VaultSignal } from "./link.ts";
import { redeemSecret } from "./redeem.ts";

export interface SessionParts {
  readonly link: VaultLink;
  /** Declared name of the source. */
  readonly source: string;
  readonly agent: string;
  /** Of this sidecar's key. */
  readonly thumbprint: string;
  /** Outlives this session: values that it fetched may be cached still. */
  readonly changes: ChangeCounts;
  readonly clock: Clock;
  readonly log: Log;
  readonly after: After;
  readonly random: () => number;
  /** It lasts as long as one program; its tokens should not outlive it by much when it is killed. Default: no. */
  readonly isBrief?: boolean;
}

/** One token, and how it is come by. */
export type OpenLease = (parts: LeaseParts) => Lease;

export interface VaultSession extends Closable {
  /** Errors: IDENTITY_*, SOURCE_UNAVAILABLE, SOURCE_FORBIDDEN. */
  authorize(ref: SecretRef): void;
  generation(ref?: SecretRef): number;
  isHeard(): boolean;
  lastHeard(): number;
  /** Errors: SOURCE_*, IDENTITY_*, POLICY_SECRET_HOST. */
  fetch(ref: SecretRef, context: FetchContext): Promise<SecretMaterial>;
  isRevoked(): boolean;
  leases(): readonly LeaseReport[];
}

interface Held {
  readonly lease: Lease;
  readonly stream: EventStream;
}

export interface SessionPlan {
  readonly uses: readonly RouteUse[];
  /** Which of the leases a path or name is under; undefined: none. */
  readonly leaseOf: (path: string) => number | undefined;
  readonly leases: readonly OpenLease[];
}

export const createVaultSession = (parts: SessionParts, plan: SessionPlan): VaultSession => {
  const { link, source, agent, thumbprint, changes, clock, log, after, random } = parts;
  let answeredAt = Number.NEGATIVE_INFINITY;

  const heard = (lease: Lease, signal: VaultSignal): void => {
    switch (signal.type) {
      case "reset":
        changes.everything();
        return;
      case "secret.updated":
      case "secret.deleted":
        changes.secret(signal.path);
        return;
      case "token.revoked":
        if (lease.holds(signal.id)) lease.revoked(signal.id);
        else changes.token();
        return;
      case "sidecar.revoked":
        if (signal.jkt === thumbprint) for (const one of held) one.lease.revoked();
        return;
      case "ready":
      case "lost":
    }
  };

  const open = (openLease: OpenLease): Held => {
    const lease = openLease({ link, source, clock, log, after, random, changed: () => stream.restart() });
    let hasStood = false;
    const stream = createEventStream({
      open(signal, alive) {
        const grant = lease.current();
        if (grant === undefined) throw new LinkFault("unauthorized", "There is no token to listen with.");
        hasStood = false;
        return link.events(grant.token, signal, alive);
      },
      heard(signal) {
        // What was fetched before there was anybody to listen may have changed since.
        if (signal.type === "ready" && !hasStood) changes.everything();
        hasStood ||= signal.type === "ready";
        heard(lease, signal);
      },
      failed: (fault) => void streamFailed(lease, fault),
      clock,
      after,
      random,
    });
    return { lease, stream };
  };

  /** A token that is not good enough to listen is none to redeem with either; who redeems would hear of it too late. */
  const streamFailed = async (lease: Lease, fault: LinkFault): Promise<void> => {
    log.debug("the vault's events are not heard", { source, address: link.address, reason: fault.message });
    const grant = lease.current();
    if (grant === undefined) return;
    if (fault.kind === "revoked" || fault.kind === "unauthorized") await lease.refused(grant, fault);
  };

  const held: readonly Held[] = plan.leases.map(open);

  const leaseFor = (ref: SecretRef): Lease | undefined => {
    // The vault knows what it stands for; any token of this sidecar will do.
    if (ref.issued !== undefined) return held[0]?.lease;
    return held[plan.leaseOf(ref.path) ?? -1]?.lease;
  };

  const pathOf = (ref: SecretRef): string | undefined => pathIn(ref, (name) => leaseFor(ref)?.pathOf(name));

  /** With the token, and once more with another one when the vault does not take it. */
  const withToken = async <T>(ref: SecretRef, act: (token: string) => Promise<T>): Promise<T> => {
    const lease = leaseFor(ref);
    // `authorize` has the better words for it, and is asked before.
    if (lease === undefined) throw new SidekeyError("SOURCE_FORBIDDEN", { detail: `${ref.text}: no route names it.` });
    for (let attempts = 1; ; attempts += 1) {
      lease.check(ref);
      const grant = lease.current();
      if (grant === undefined) throw sourceError(toLinkFault(undefined), ref.text);
      try {
        const result = await act(grant.token);
        answeredAt = clock.monotonic();
        lease.accepted();
        return result;
      } catch (thrown) {
        if (isSidekeyError(thrown)) throw thrown;
        const fault = toLinkFault(thrown);
        if (!isOutageFault(fault)) answeredAt = clock.monotonic();
        if (!isAboutToken(fault)) throw sourceError(fault, ref.text);
        if (attempts > 1 || !(await lease.refused(grant, fault))) {
          // Found out just now: the word for all who come later is the word for this one.
          if (lease.isRevoked()) lease.check(ref);
          throw sourceError(fault, ref.text);
        }
      }
    }
  };

  const authorities = new Map(plan.uses.map(({ path, authority }) => [path, authority] as const));

  return {
    authorize(ref) {
      const lease = leaseFor(ref);
      if (lease === undefined) throw scopeDenied(ref);
      lease.check(ref);
    },
    generation: (ref) => changes.count(ref === undefined ? undefined : pathOf(ref)),
    isHeard: () => held.length > 0 && held.every(({ stream }) => stream.isHeard()),
    lastHeard: () => Math.max(answeredAt, Math.min(...held.map(({ stream }) => stream.lastHeard()))),
    fetch: (ref, context) =>
      withToken(ref, (token) =>
        redeemSecret({
          link,
          token,
          agent,
          ref,
          context,
          clock,
          path: pathOf(ref) ?? ref.path,
          fallback: authorities.get(ref.path),
        }),
      ),
    isRevoked: () => held.some(({ lease }) => lease.isRevoked()),
    leases: () => held.map(({ lease }) => lease.describe()),
    async close() {
      for (const { stream } of held) await stream.close();
      await Promise.all(held.map(({ lease }) => lease.close()));
    },
  };
};

const isAboutToken = ({ kind }: LinkFault): boolean =>
  kind === "unauthorized" || kind === "revoked" || kind === "expired";
