import type { LookupAddress } from "node:dns";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { guardedLookup, type Resolver } from "../../../../src/sidecar/net/lookup.ts";

const judge = (address: string) => (address.startsWith("10.") ? new SidekeyError("POLICY_ADDRESS") : undefined);

type Answered = readonly [error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number];

const look = (resolve: Resolver, all = true): Answered[] => {
  const answers: Answered[] = [];
  guardedLookup(resolve, judge, 5_000)("api.test", { all }, (error, address, family) => {
    answers.push(family === undefined ? [error, address] : [error, address, family]);
  });
  return answers;
};

const open: LookupAddress = { address: "203.0.113.1", family: 4 };
const closed: LookupAddress = { address: "10.0.0.1", family: 4 };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a guarded lookup", () => {
  it("hands over what was judged open, as a list or the first", () => {
    const resolve: Resolver = (_name, _options, done) => done(null, [closed, open]);
    expect(look(resolve)).toEqual([[null, [open]]]);
    expect(look(resolve, false)).toEqual([[null, open.address, 4]]);
  });

  it("says why nothing is open", () => {
    const [answer] = look((_name, _options, done) => done(null, [closed]));
    expect(answer?.[0]).toMatchObject({ code: "POLICY_ADDRESS" });
    const [nothing] = look((_name, _options, done) => done(null, []));
    expect(nothing?.[0]).toMatchObject({ code: "UPSTREAM_UNREACHABLE" });
  });

  it("passes the resolver's error on", () => {
    const failure = Object.assign(new Error("x"), { code: "ENOTFOUND" });
    expect(look((_name, _options, done) => done(failure, []))).toEqual([[failure, []]]);
  });

  it("waits no longer than it was told, answers once, and leaves no timer", () => {
    let late = (): void => undefined;
    const answers = look((_name, _options, done) => {
      late = () => done(null, [open]);
    });
    vi.advanceTimersByTime(4_999);
    expect(answers).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(answers[0]?.[0]).toMatchObject({ code: "UPSTREAM_TIMEOUT" });
    late();
    expect(answers).toHaveLength(1);
    look((_name, _options, done) => done(null, [open]));
    expect(vi.getTimerCount()).toBe(0);
  });
});
