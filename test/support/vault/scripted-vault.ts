/** A vault as a session sees it, that answers as it is told, and a clock and timers that move when told. */
import { parseAuthority } from "../../../src/core/authority.ts";
import type { Clock } from "../../../src/core/clock.ts";
import type { Log } from "../../../src/core/log.ts";
import { SecretValue } from "../../../src/core/secret-value.ts";
import type { RouteUse, SecretRef } from "../../../src/sidecar/secrets/source.ts";
import { createChangeCounts } from "../../../src/sidecar/secrets/vault-session/changes.ts";
import {
  type ApprovalState,
  type FaultKind,
  LinkFault,
  type RedeemRequest,
  type TokenRequest,
  type VaultLink,
  type VaultSignal,
} from "../../../src/sidecar/secrets/vault-session/link.ts";
import type { KeyPlace } from "../../../src/sidecar/secrets/vault-session/minted-source.ts";
import type { SessionParts } from "../../../src/sidecar/secrets/vault-session/session.ts";

export interface TestTimers {
  readonly clock: Clock;
  readonly after: (ms: number, act: () => void) => () => void;
  /** Runs what is due on the way, each at its time, and lets promises settle in between. */
  advance(ms: number): Promise<void>;
}

export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
};

const createTimers = (): TestTimers => {
  let now = 1_000_000;
  const due = new Set<{ readonly at: number; readonly act: () => void }>();
  return {
    clock: { now: () => 1_700_000_000_000 + now, monotonic: () => now },
    after(ms, act) {
      const timer = { at: now + ms, act };
      due.add(timer);
      return () => due.delete(timer);
    },
    async advance(ms) {
      const end = now + ms;
      await settle();
      for (;;) {
        const next = [...due].sort((a, b) => a.at - b.at)[0];
        if (next === undefined || next.at > end) break;
        due.delete(next);
        now = Math.max(now, next.at);
        next.act();
        await settle();
      }
      now = end;
      await settle();
    },
  };
};

export interface ScriptedVault {
  readonly link: VaultLink;
  readonly secrets: Map<string, { value: string; version: number; hosts?: readonly string[] }>;
  readonly names: Map<string, string>;
  /** What the agent may use; undefined: all. */
  allowed: ReadonlySet<string> | undefined;
  /** Every call fails so. */
  fault: LinkFault | undefined;
  /** Redemptions reach it once this has settled. */
  beforeRedemption: Promise<void> | undefined;
  /** Streams promise a sign of life so often. `ms` */
  beatMs: number | undefined;
  /** Gives one on the newest stream. */
  alive: () => void;
  /** Looking up whether a token was revoked fails so. */
  listFault: LinkFault | undefined;
  /** Redemptions alone fail so. */
  redeemFault: LinkFault | undefined;
  /** A token is given only when this is `approved`. */
  approval: ApprovalState | undefined;
  /** Tokens that are good. */
  readonly tokens: Map<string, { readonly scopes: ReadonlySet<string> }>;
  readonly asked: TokenRequest[];
  readonly redeemed: (RedeemRequest & { readonly token: string })[];
  readonly givenBack: string[];
  /** Agent keys that it does not take. */
  readonly badKeys: Set<string>;
  /** Ids that an operator revoked. */
  readonly takenBack: Set<string>;
  readonly calls: string[];
  /** To every stream that stands. */
  say(signal: VaultSignal): void;
  /** Cuts every stream. */
  cut(): void;
  readonly streams: number;
}

export const fault = (kind: FaultKind, retryAfter?: number): LinkFault =>
  new LinkFault(kind, `scripted ${kind}`, retryAfter === undefined ? {} : { retryAfter });

export const createScriptedVault = (): ScriptedVault => {
  let counter = 0;
  const streams = new Set<(signal: VaultSignal | "end") => void>();
  const state: Omit<ScriptedVault, "link" | "streams"> = {
    secrets: new Map(),
    names: new Map(),
    allowed: undefined,
    fault: undefined,
    beforeRedemption: undefined,
    beatMs: undefined,
    alive: () => {},
    listFault: undefined,
    redeemFault: undefined,
    approval: undefined,
    tokens: new Map(),
    asked: [],
    redeemed: [],
    givenBack: [],
    badKeys: new Set(),
    takenBack: new Set(),
    calls: [],
    say(signal) {
      for (const stream of streams) stream(signal);
    },
    cut() {
      for (const stream of [...streams]) stream("end");
    },
  };
  const called = async (name: string): Promise<void> => {
    state.calls.push(name);
    await Promise.resolve();
    if (state.fault !== undefined) throw state.fault;
  };
  const link: VaultLink = {
    address: "https://vault.test:7200",
    enrol: () => called("enrol"),
    async requestToken(request) {
      await called("token");
      state.asked.push(request);
      const paths = [
        ...request.scopes.map((scope) => scope.slice("secrets:use:".length)),
        ...request.names.flatMap((name) => state.names.get(name) ?? []),
      ];
      if (paths.length === 0) throw fault("missing");
      if (paths.some((path) => state.allowed?.has(path) === false)) throw fault("denied");
      if (state.approval !== undefined && state.approval !== "approved") return { approvalId: "apr_1" };
      counter += 1;
      const token = `token-${counter}`;
      state.tokens.set(token, { scopes: new Set(paths) });
      const names = new Map(
        request.names.flatMap((name) => {
          const path = state.names.get(name);
          return path === undefined ? [] : [[name, path] as const];
        }),
      );
      return { token, id: `id-${token}`, lifeMs: request.ttlMs, names };
    },
    async approval() {
      await called("approval");
      return state.approval ?? "approved";
    },
    async redeem(token, request) {
      state.redeemed.push({ ...request, token });
      await called("redeem");
      await state.beforeRedemption;
      if (state.redeemFault !== undefined) throw state.redeemFault;
      const held = state.tokens.get(token);
      if (held === undefined) throw fault("unauthorized");
      const path = request.path ?? state.names.get(request.name ?? "") ?? "";
      if (!held.scopes.has(path)) throw fault("denied");
      const secret = state.secrets.get(path);
      if (secret === undefined) throw fault("missing");
      const { value, version, hosts = [] } = secret;
      if (hosts.length > 0 && !hosts.includes(request.authority.split(":")[0] ?? "")) throw fault("host");
      if (request.ifVersion === version) return { unchanged: true, version };
      return { unchanged: false, value: SecretValue.fromText(value), version, path, hosts, replaced: [] };
    },
    async *events(token, signal, alive) {
      await called("events");
      state.alive = alive;
      if (!state.tokens.has(token)) throw fault("unauthorized");
      const waiting: (VaultSignal | "end")[] = [
        { type: "ready", ...(state.beatMs !== undefined && { beatMs: state.beatMs }) },
      ];
      let wake = (): void => {};
      const stream = (one: VaultSignal | "end"): void => {
        waiting.push(one);
        wake();
      };
      streams.add(stream);
      signal.addEventListener("abort", () => stream("end"), { once: true });
      try {
        for (;;) {
          const next = waiting.shift();
          if (next === "end") return;
          if (next !== undefined) yield next;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
        }
      } finally {
        streams.delete(stream);
      }
    },
    async isRevoked(id) {
      await called("tokens");
      if (state.listFault !== undefined) throw state.listFault;
      return state.takenBack.has(id);
    },
    async revoke(token) {
      await called("revoke");
      state.givenBack.push(token);
      state.tokens.delete(token);
    },
    async close() {},
  };
  return Object.defineProperty(Object.assign(state, { link }), "streams", { get: () => streams.size }) as ScriptedVault;
};

export const useOf = (path: string, route = "api", host = "api.test"): RouteUse => ({
  path,
  route,
  authority: parseAuthority(host, 443),
});

export const refOf = (path: string, more: Partial<SecretRef> = {}): SecretRef => ({
  source: "vault",
  path,
  field: [],
  version: undefined,
  text: `vault:${path}`,
  ...more,
});

export const createLogBook = () => {
  const lines: string[] = [];
  const write = (message: string, fields?: unknown): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: write, warn: write, info: write, debug: () => {} };
  return { log, lines };
};

/** All that a session is made of. */
export const createSessionStage = () => {
  const timers = createTimers();
  const vault = createScriptedVault();
  const { log, lines } = createLogBook();
  const parts: SessionParts = {
    link: vault.link,
    source: "vault",
    agent: "research",
    thumbprint: "our-thumbprint",
    changes: createChangeCounts(),
    clock: timers.clock,
    log,
    after: timers.after,
    random: () => 1,
  };
  let key = "ast_agent_first";
  const place: KeyPlace = {
    read: () => key,
    stamp: () => key,
    async open(asked) {
      return {
        ...vault.link,
        enrol: () => (vault.badKeys.has(asked) ? Promise.reject(fault("unauthorized")) : vault.link.enrol()),
      };
    },
  };
  const putKey = (next: string): void => {
    key = next;
  };
  return { ...timers, vault, lines, parts, place, putKey };
};
