/** How a request ends that comes to nothing, by a mistake of ours or otherwise: on record, answered, nothing left behind. */
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { AuditBroker } from "../../../../src/audit/broker.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createLine, type LineStages } from "../../../../src/sidecar/pipeline/line.ts";
import type { ClientResponse, InboundRequest } from "../../../../src/sidecar/pipeline/messages.ts";
import { createReplayBudget } from "../../../../src/sidecar/pipeline/replay-buffer.ts";
import type { ResponseSink } from "../../../../src/sidecar/upstream/upstream.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const STAGES = ["identify", "route", "resolve", "inject", "dispatch"] as const;

it.each(STAGES)("a stage that throws (%s) is an answer and one ending, and lets everything go", (broken) => {
  const stored: string[] = [];
  const broker = {
    store(event: { readonly type: string; readonly code?: string }, waiter: { stored(receipt: unknown): void }) {
      stored.push(`${event.type} ${event.code}`);
      waiter.stored({});
    },
  } as unknown as AuditBroker;
  const live = new Set<unknown>();
  const done: string[] = [];
  const client = {
    started: false,
    open: true,
    continue: () => undefined,
    abort: () => done.push("abort"),
    onClose: () => undefined,
  } as unknown as ClientResponse;
  const request = { method: "POST", authority: { key: "a.test:443" }, body: { length: 3, stream: new PassThrough() } };
  const identified = { request, agent: "a" };
  const routed = { identified, route: undefined };
  const pass = (name: (typeof STAGES)[number], result: unknown) => () => {
    if (name === broken) throw new TypeError("a mistake");
    return result;
  };
  const stages = {
    identify: pass("identify", identified),
    route: pass("route", routed),
    resolve: pass("resolve", { routed, sourceMs: 0 }),
    inject: pass("inject", { resolved: { routed } }),
    record: (injected: unknown, _ctx: unknown, attempt: number, listener: { recorded(what: unknown): void }) =>
      listener.recorded({ injected, attempt }),
    dispatch: pass("dispatch", undefined),
  } as unknown as LineStages;
  const line = createLine(stages, {
    broker,
    clock: systemClock,
    log: silentLog,
    live: { judge: () => undefined as never, add: (one) => void live.add(one), delete: (one) => void live.delete(one) },
    replay: createReplayBudget(),
  });
  const ends: unknown[] = [];
  line(request as unknown as InboundRequest, client, { id: "1", startedAt: 0 }, (error) => ends.push(error?.code));
  expect(ends).toEqual(["INTERNAL"]);
  expect(stored).toEqual([broken === "dispatch" ? "outcome INTERNAL" : "refusal INTERNAL"]);
  expect(live.size).toBe(0);
  // Nobody may come for the connection later, when it carries another request.
  expect(vi.getTimerCount()).toBe(0);
  vi.advanceTimersByTime(120_000);
  expect(done).toEqual([]);
});

it("keeps nothing of a body whose request came to nothing", () => {
  const client = { started: false, open: true, continue: () => undefined, onClose: () => undefined };
  const stream = new PassThrough();
  const request = { method: "POST", authority: { key: "a.test:443" }, body: { length: 9, stream } };
  const routed = { identified: { request, agent: "a" }, route: { name: "r", isRenewable: true } };
  let held = 0;
  const seen: number[] = [];
  const stages = {
    identify: () => routed.identified,
    route: () => routed,
    resolve: () => ({ routed, sourceMs: 0 }),
    inject: () => ({ resolved: { routed }, sent: { secret: "s" } }),
    record: (injected: unknown, _ctx: unknown, attempt: number, listener: { recorded(what: unknown): void }) =>
      listener.recorded({ injected, attempt }),
    dispatch: (_recorded: unknown, sink: ResponseSink) => {
      stream.emit("data", Buffer.from("abc"));
      seen.push(held);
      sink.fail(new SidekeyError("UPSTREAM_RESET"));
    },
  } as unknown as LineStages;
  const line = createLine(stages, {
    broker: { store: (_event: unknown, waiter: { stored(): void }) => waiter.stored() } as unknown as AuditBroker,
    clock: systemClock,
    log: silentLog,
    live: { judge: () => undefined as never, add: () => undefined, delete: () => undefined },
    replay: {
      take(bytes) {
        held += bytes;
        return true;
      },
      giveBack(bytes) {
        held -= bytes;
      },
    },
  });
  const ends: unknown[] = [];
  line(request as never, client as never, { id: "1", startedAt: 0 }, (error) => ends.push(error?.code));
  expect([seen, held, ends]).toEqual([[3], 0, ["UPSTREAM_RESET"]]);
});
