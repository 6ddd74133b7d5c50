/**
 * Exchanges in flight, and the look at them that ends what would be refused by now: a long answer, an upload or a
 * tunnel must not outlive its route, its secret or its token (ruling 10, E4). Costs nothing while nothing is in flight,
 * and one entry of a set while something is. A rotated secret ends nothing, and neither does a source that is down.
 */
import type { Authority } from "../../core/authority.ts";
import type { Clock } from "../../core/clock.ts";
import { type ErrorCode, SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { SecretMaterial, SecretRef } from "../secrets/source.ts";
import type { Routed, Stage } from "./messages.ts";
import type { Route } from "./route.ts";
import type { SecretCheck } from "./stages/resolve.ts";

/** Undefined: it may go on. */
export type Verdict = SidekeyError | undefined | Promise<SidekeyError | undefined>;

/** One look: the file as it is now, and each secret asked for once. */
export interface Judge {
  exchange(routed: Routed): Verdict;
  /** A tunnel that passes unread. */
  tunnel(authority: Authority): Verdict;
}

export interface Revocable {
  /** Where it is listed: for the list alone. */
  place?: number;
  judge(judge: Judge): Verdict;
  /** Ends it. Nothing happens when it has ended already. */
  revoke(error: SidekeyError): void;
}

export interface LiveExchanges {
  /** For one that had to wait before it could be sent: is it allowed now? */
  judge(): Judge;
  add(exchange: Revocable): void;
  delete(exchange: Revocable): void;
}

export interface LiveOptions {
  /** Called at each look. */
  readonly judge: () => Judge;
  /** Calls back every so many `ms` until what it returns is called; default a timer. */
  readonly every?: (ms: number, look: () => void) => () => void;
}

/** Two of these and a read of the store stay well under the 2 s of ruling 10. `ms` */
export const LOOK_EVERY_MS = 500;

export const createLiveExchanges = ({ judge, every = timer }: LiveOptions): LiveExchanges => {
  /**
   * In no order. Not a Set: where much comes and goes, each table that V8 replaced leads to the next one, for the sake of
   * iterators, and holds what was in it; once one of them is old, all later ones survive with it, and every request in them.
   */
  const live: Revocable[] = [];
  let stop: (() => void) | undefined;

  const look = (): void => {
    if (live.length === 0) {
      stop?.();
      stop = undefined;
      return;
    }
    const current = judge();
    for (const exchange of [...live]) {
      const verdict = exchange.judge(current);
      if (verdict === undefined) continue;
      if (verdict instanceof SidekeyError) exchange.revoke(verdict);
      else void verdict.then((error) => error !== undefined && exchange.revoke(error));
    }
  };

  return {
    judge,
    add(exchange) {
      exchange.place = live.length;
      live.push(exchange);
      stop ??= every(LOOK_EVERY_MS, look);
    },
    delete(exchange) {
      const { place } = exchange;
      if (place === undefined || live[place] !== exchange) return;
      const last = live.pop();
      if (last === undefined || last === exchange) return;
      live[place] = last;
      last.place = place;
    },
  };
};

const timer = (ms: number, look: () => void): (() => void) => {
  const interval = setInterval(look, ms).unref();
  return () => clearInterval(interval);
};

/** What is a word about this use. An outage or a fault of ours is none: it may be over in a moment. */
const REVOKING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "POLICY_NO_ROUTE",
  "POLICY_DENIED",
  "POLICY_SECRET_HOST",
  "IDENTITY_SCOPE_DENIED",
  "IDENTITY_TOKEN_EXPIRED",
  "IDENTITY_TOKEN_REVOKED",
  "SOURCE_SECRET_MISSING",
  "SOURCE_FORBIDDEN",
]);

export interface JudgeParts {
  readonly route: Stage<Routed["identified"], Routed>;
  /** Whether a secret that the file still names may be used. */
  readonly check: SecretCheck;
  /** The value of one that it does not name any more, cached or not. Errors: SOURCE_*. */
  readonly lookUp: (ref: SecretRef, agent: string, route: Route) => SecretMaterial | Promise<SecretMaterial>;
  /** Whether a CONNECT to it would pass unread. */
  readonly passesUnread: (authority: Authority) => boolean;
  readonly clock: Clock;
}

/** By the same checks that a new request goes through. */
export const createJudge = ({ route, check, lookUp, passesUnread, clock }: JudgeParts): Judge => {
  const ctx = { id: "revocation", startedAt: clock.monotonic() };
  /** By reference and authority: many streams use one secret. */
  const known = new Map<string, Verdict>();

  const judgeSecret = (ref: SecretRef, now: Routed, used: Route, current: Route): Verdict => {
    const { agent, request } = now.identified;
    const key = `${ref.text} ${current.name} ${request.authority.key}`;
    if (known.has(key)) return known.get(key);
    const isNamed = current.secrets.some(({ text }) => text === ref.text);
    const verdict = verdictOf(() =>
      // The file names another secret by now, which is a rotation; but the one in use may have been removed.
      isNamed ? check(ref, agent, current, request.authority) : lookUp(ref, agent, used),
    );
    known.set(key, verdict);
    return verdict;
  };

  /** Every one in use counts; what a route has come to use since then does not. */
  const judgeSecrets = (now: Routed, used: Route, current: Route): Verdict => {
    const waiting: Promise<SidekeyError | undefined>[] = [];
    for (const ref of used.secrets) {
      const verdict = judgeSecret(ref, now, used, current);
      if (verdict instanceof SidekeyError) return verdict;
      if (verdict !== undefined) waiting.push(verdict);
    }
    if (waiting.length === 0) return undefined;
    return Promise.all(waiting).then((errors) => errors.find((error) => error !== undefined));
  };

  return {
    exchange(routed) {
      let now: Routed;
      try {
        now = route(routed.identified, ctx);
      } catch (error) {
        return revoking(error);
      }
      if (now.route?.name !== routed.route?.name) {
        return new SidekeyError("POLICY_NO_ROUTE", { detail: "its route is gone" });
      }
      if (now.route === undefined || routed.route === undefined) return undefined;
      return judgeSecrets(now, routed.route, now.route);
    },
    tunnel(authority) {
      return passesUnread(authority) ? undefined : new SidekeyError("POLICY_NO_ROUTE");
    },
  };
};

const verdictOf = (ask: () => unknown): Verdict => {
  try {
    const answer = ask();
    return answer instanceof Promise ? answer.then(() => undefined, revoking) : undefined;
  } catch (error) {
    return revoking(error);
  }
};

const revoking = (thrown: unknown): SidekeyError | undefined => {
  const error = toSidekeyError(thrown);
  return REVOKING.has(error.code) ? error : undefined;
};
