/** The timer of the way out: there while something can be in flight, and gone with what a reload has replaced. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import type { Connector } from "../../../../src/sidecar/net/connector.ts";
import { createHttpUpstream } from "../../../../src/sidecar/upstream/http.ts";
import type { ResponseSink } from "../../../../src/sidecar/upstream/upstream.ts";
import { REQUEST } from "../../../support/upstream-parts.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("ends once it is retired and nothing is in flight, and comes back with a request that began before", () => {
  let refuse = (): void => undefined;
  const connector: Connector = (_request, done) => {
    refuse = () => done(new SidekeyError("UPSTREAM_UNREACHABLE"), null);
    return refuse;
  };
  const failed: string[] = [];
  const sink: ResponseSink = {
    begin: () => undefined,
    head: () => undefined,
    data: () => undefined,
    end: () => undefined,
    fail: ({ code }) => void failed.push(code),
  };
  const upstream = createHttpUpstream(connector);
  for (let round = 1; round <= 2; round++) {
    upstream.send(REQUEST, sink);
    upstream.retire();
    vi.advanceTimersByTime(5_000);
    expect([upstream.busy, vi.getTimerCount()]).toEqual([true, 1]);
    refuse();
    vi.advanceTimersByTime(1_000);
    expect([upstream.busy, vi.getTimerCount(), failed.length]).toEqual([false, 0, round]);
  }
});
