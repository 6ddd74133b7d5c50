/** The look at what is in flight, with a clock of the test's own; and the line, for what waited before it was sent. */

import { describe, expect, it } from "vitest";
import type { AuditReceipt, AuditWaiter } from "../../../../src/audit/broker.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createLine, type LineStages } from "../../../../src/sidecar/pipeline/line.ts";
import { createReplayBudget } from "../../../../src/sidecar/pipeline/replay-buffer.ts";
import {
  createJudge,
  createLiveExchanges,
  type Judge,
  type Revocable,
  type Verdict,
} from "../../../../src/sidecar/pipeline/revocation.ts";

const revoked = new SidekeyError("POLICY_NO_ROUTE");

/** A timer that the test moves. */
const createTicks = () => {
  let look: (() => void) | undefined;
  return {
    every: (_ms: number, act: () => void) => {
      look = act;
      return () => {
        look = undefined;
      };
    },
    tick: () => look?.(),
    get running() {
      return look !== undefined;
    },
  };
};

const exchange = (verdict: () => Verdict): Revocable & { readonly ended: SidekeyError[] } => {
  const ended: SidekeyError[] = [];
  return { ended, judge: verdict, revoke: (error) => void ended.push(error) };
};

const judge = {} as Judge;

describe("live exchanges", () => {
  it("are looked at only while there are any", () => {
    const ticks = createTicks();
    const live = createLiveExchanges({ judge: () => judge, every: ticks.every });
    expect(ticks.running).toBe(false);
    const one = exchange(() => undefined);
    live.add(one);
    ticks.tick();
    expect(ticks.running).toBe(true);
    live.delete(one);
    ticks.tick();
    expect(ticks.running).toBe(false);
    live.add(one);
    expect(ticks.running).toBe(true);
  });

  it("are looked at once each, whichever have come and gone", () => {
    const ticks = createTicks();
    const live = createLiveExchanges({ judge: () => judge, every: ticks.every });
    const looks: number[] = [];
    const all = Array.from({ length: 6 }, (_, number) =>
      exchange(() => {
        looks.push(number);
        return undefined;
      }),
    );
    for (const one of all) live.add(one);
    for (const number of [5, 0, 2, 2]) live.delete(all[number] as Revocable);
    live.add(all[0] as Revocable);
    ticks.tick();
    expect(looks.sort()).toEqual([0, 1, 3, 4]);
    for (const one of all) live.delete(one);
    ticks.tick();
    expect(ticks.running).toBe(false);
  });

  it("that end during a look are ended once, and the others too", () => {
    const ticks = createTicks();
    const live = createLiveExchanges({ judge: () => judge, every: ticks.every });
    const all = [0, 1, 2].map(() => {
      const one = exchange(() => revoked);
      const end = one.revoke;
      one.revoke = (error) => {
        end(error);
        live.delete(one);
      };
      return one;
    });
    for (const one of all) live.add(one);
    ticks.tick();
    expect(all.map(({ ended }) => ended.length)).toEqual([1, 1, 1]);
  });

  it("are ended one by one, by a verdict that is there or still to come", async () => {
    const ticks = createTicks();
    const live = createLiveExchanges({ judge: () => judge, every: ticks.every });
    const stays = exchange(() => undefined);
    const now = exchange(() => revoked);
    const soon = exchange(() => Promise.resolve(revoked));
    const waits = exchange(() => Promise.resolve(undefined));
    for (const one of [stays, now, soon, waits]) live.add(one);
    ticks.tick();
    await Promise.resolve();
    expect([stays, now, soon, waits].map(({ ended }) => ended)).toEqual([[], [revoked], [revoked], []]);
  });
});

describe("a look", () => {
  const routed = (name: string | undefined, ...texts: readonly string[]) =>
    ({
      identified: { agent: "a", request: { authority: { key: "x:443" } } },
      route:
        name === undefined
          ? undefined
          : { name, secrets: (texts.length === 0 ? ["env:KEY"] : texts).map((text) => ({ text, source: "env" })) },
    }) as never;
  const parts = {
    route: () => routed("r"),
    check: () => undefined,
    lookUp: () => ({}) as never,
    passesUnread: () => true,
    clock: systemClock,
  };
  const thrown = (code: ConstructorParameters<typeof SidekeyError>[0]) => (): never => {
    throw new SidekeyError(code);
  };
  const codeOf = async (verdict: Verdict) => (await verdict)?.code;

  it("lets go on what would be served by the same route", () => {
    expect(createJudge(parts).exchange(routed("r"))).toBe(undefined);
  });

  it("ends what another route, or none, would serve", async () => {
    expect(await codeOf(createJudge(parts).exchange(routed("other")))).toBe("POLICY_NO_ROUTE");
    expect(await codeOf(createJudge(parts).exchange(routed(undefined)))).toBe("POLICY_NO_ROUTE");
  });

  it.each(["IDENTITY_TOKEN_REVOKED", "IDENTITY_TOKEN_EXPIRED", "SOURCE_SECRET_MISSING", "SOURCE_FORBIDDEN"] as const)(
    "ends what %s would meet, at once or after a wait",
    async (code) => {
      expect(await codeOf(createJudge({ ...parts, check: thrown(code) }).exchange(routed("r")))).toBe(code);
      const later = createJudge({ ...parts, check: async () => thrown(code)() });
      expect(await codeOf(later.exchange(routed("r")))).toBe(code);
    },
  );

  it.each(["SOURCE_UNAVAILABLE", "SOURCE_BAD_VALUE", "AUDIT_UNAVAILABLE", "INTERNAL"] as const)(
    "lets go on through %s, which is no word about the use",
    async (code) => {
      const later = createJudge({ ...parts, check: async () => thrown(code)() });
      expect(await codeOf(later.exchange(routed("r")))).toBe(undefined);
      expect(await codeOf(createJudge({ ...parts, check: thrown(code) }).exchange(routed("r")))).toBe(undefined);
    },
  );

  it("asks once for many exchanges with one secret", async () => {
    let asked = 0;
    const one = createJudge({
      ...parts,
      check: async () => {
        asked += 1;
      },
    });
    for (let i = 0; i < 100; i += 1) one.exchange(routed("r"));
    expect(asked).toBe(1);
  });

  it("asks about the secret in use where the file names another by now", async () => {
    const asked: string[] = [];
    const lookUp = ({ text }: { readonly text: string }): never => {
      asked.push(text);
      throw new SidekeyError("SOURCE_SECRET_MISSING");
    };
    const verdict = createJudge({ ...parts, lookUp }).exchange(routed("r", "env:OLD"));
    expect([await codeOf(verdict), asked]).toEqual(["SOURCE_SECRET_MISSING", ["env:OLD"]]);
  });

  it("asks about each of several in use, and not about what the route has come to use since", async () => {
    const asked: string[] = [];
    const both = { ...parts, route: () => routed("r", "env:ONE", "env:TWO", "env:NEW") };
    const check = async ({ text }: { readonly text: string }): Promise<void> => {
      asked.push(text);
      if (text === "env:TWO") throw new SidekeyError("SOURCE_SECRET_MISSING");
    };
    const used = routed("r", "env:ONE", "env:TWO");
    expect(await codeOf(createJudge({ ...both, check }).exchange(used))).toBe("SOURCE_SECRET_MISSING");
    expect(asked).toEqual(["env:ONE", "env:TWO"]);
    const fine = createJudge({ ...both, check: async () => undefined });
    expect(await codeOf(fine.exchange(used))).toBe(undefined);
  });

  it("ends at once for the one of several that is refused without a wait", () => {
    const check = ({ text }: { readonly text: string }) =>
      text === "env:TWO" ? thrown("IDENTITY_TOKEN_REVOKED")() : new Promise<void>(() => undefined);
    const judged = createJudge({ ...parts, route: () => routed("r", "env:ONE", "env:TWO"), check });
    expect(judged.exchange(routed("r", "env:ONE", "env:TWO"))).toMatchObject({ code: "IDENTITY_TOKEN_REVOKED" });
  });
});

describe("a request that waited for its secret", () => {
  const send = async (sourceMs: number, verdict: Verdict) => {
    const dispatched: unknown[] = [];
    const stages = {
      identify: (request: unknown) => ({ request, agent: "a" }),
      route: (identified: unknown) => ({ identified, route: undefined }),
      resolve: async (routed: unknown) => ({ routed, sourceMs }),
      inject: () => {
        dispatched.push("inject");
        throw new SidekeyError("INTERNAL");
      },
    } as unknown as LineStages;
    const live = { add() {}, delete() {}, judge: () => ({ exchange: () => verdict }) as unknown as Judge };
    const broker = { store: (_: unknown, waiter: AuditWaiter) => waiter.stored({} as AuditReceipt) } as never;
    const line = createLine(stages, { broker, clock: systemClock, log: silentLog, live, replay: createReplayBudget() });
    const request = { authority: { key: "x:443" } } as never;
    const error = await new Promise<SidekeyError | undefined>((end) =>
      line(request, {} as never, { id: "1", startedAt: 0 }, end),
    );
    return [error?.code, dispatched.length];
  };

  it("is refused when it was revoked meanwhile, and nothing is sent", async () => {
    expect(await send(900, revoked)).toEqual(["POLICY_NO_ROUTE", 0]);
    expect(await send(900, Promise.resolve(revoked))).toEqual(["POLICY_NO_ROUTE", 0]);
  });

  it("goes on when it was not", async () => {
    expect(await send(900, undefined)).toEqual(["INTERNAL", 1]);
  });
});
