import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import type { SidekeyError } from "../../../../src/core/errors.ts";
import type { ClientResponse, Outcome, Recorded } from "../../../../src/sidecar/pipeline/messages.ts";
import { Relay } from "../../../../src/sidecar/pipeline/stages/relay.ts";

/** A relay of an upload, with a client and an upstream that only write down what was done to them. */
const setUp = () => {
  const body = new PassThrough();
  const done: string[] = [];
  let started = false;
  let close = (): void => undefined;
  const client: ClientResponse = {
    get started() {
      return started;
    },
    open: true,
    continue: () => undefined,
    head: () => {
      started = true;
    },
    write: () => true,
    end: () => done.push("end"),
    abort: () => done.push("abort"),
    onClose: (listener) => {
      close = listener;
    },
    onDrain: () => undefined,
  };
  const request = { method: "POST", body: { length: undefined, stream: body } };
  const recorded = {
    injected: { redaction: undefined, resolved: { routed: { identified: { request } } } },
  } as unknown as Recorded;
  let settled: Outcome | SidekeyError | undefined;
  const settle = (result: Outcome | SidekeyError): void => {
    settled = result;
  };
  const relay = new Relay(recorded, client, systemClock, { resolve: settle, reject: settle });
  relay.begin({ pause: () => undefined, resume: () => undefined, abort: () => done.push("upstream aborted") });
  return { relay, body, done, close: () => close(), settled: () => settled };
};

describe("a request body that stops", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("is refused after 60 s of silence, counted from its last byte", () => {
    const t = setUp();
    t.body.resume();
    vi.advanceTimersByTime(59_000);
    t.body.emit("data", Buffer.from("x"));
    vi.advanceTimersByTime(59_000);
    expect(t.settled()).toBeUndefined();
    vi.advanceTimersByTime(1_000);
    expect(t.settled()).toMatchObject({ code: "INGRESS_TIMEOUT" });
    expect(t.done).toEqual(["upstream aborted"]);
  });

  it("is not blamed while it waits for a slow upstream", () => {
    const t = setUp();
    t.body.pause();
    vi.advanceTimersByTime(300_000);
    expect(t.settled()).toBeUndefined();
  });

  it("cuts both sides once an answer has begun", () => {
    const t = setUp();
    t.body.resume();
    t.relay.head(200, [], Buffer.alloc(0));
    vi.advanceTimersByTime(60_000);
    expect(t.done).toEqual(["upstream aborted", "abort"]);
    expect(t.settled()).toMatchObject({ outcome: "client_aborted" });
  });

  it("leaves no timer behind, however the exchange ends", () => {
    for (const end of ["end", "fail", "close", "body"] as const) {
      const t = setUp();
      if (end === "end") t.relay.end();
      else if (end === "close") t.close();
      else if (end === "body") t.body.emit("end");
      else t.relay.fail({ code: "UPSTREAM_RESET" } as SidekeyError);
      expect(vi.getTimerCount(), end).toBe(0);
    }
  });
});
