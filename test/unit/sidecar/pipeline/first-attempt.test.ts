import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { type AnswerSink, FirstAttempt } from "../../../../src/sidecar/pipeline/first-attempt.ts";
import type { Recorded } from "../../../../src/sidecar/pipeline/messages.ts";
import type { ReplayBuffer } from "../../../../src/sidecar/pipeline/replay-buffer.ts";

const SECOND = { attempt: 2 } as unknown as Recorded;

/** An answer that is written down, and a second attempt that the test decides on. */
const setUp = (isWhole = true) => {
  const done: string[] = [];
  let over = false;
  let decide = (_recorded: Recorded | undefined): void => undefined;
  const note = (what: string) => (): void => void done.push(what);
  const answer: AnswerSink = {
    get over() {
      return over;
    },
    repeat: note("repeat"),
    begin: note("begin"),
    head: (status) => done.push(`head ${status}`),
    data: (chunk) => done.push(`data ${chunk}`),
    end: note("end"),
    fail: ({ code }) => done.push(`fail ${code}`),
  };
  const replay: ReplayBuffer = { isWhole, bytes: 0, body: () => undefined, release: note("release") };
  const first = new FirstAttempt(answer, replay, () => ({
    prepare: () => {
      done.push("prepare");
      return new Promise((resolve) => {
        decide = resolve;
      });
    },
    begin: (_recorded, bytesDown) => done.push(`begun after ${bytesDown}`),
    abandon: note("abandoned"),
    send: (_recorded, _body, sink) => {
      done.push("sent");
      expect(sink).toBe(answer);
    },
  }));
  first.begin({ pause: note("pause"), resume: note("resume"), abort: note("abort") });
  done.length = 0;
  return {
    first,
    done,
    leave: () => {
      over = true;
    },
    async decide(recorded?: Recorded) {
      decide(recorded);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
};

describe("the answer to a first attempt", () => {
  it("goes straight on when it is no 401", () => {
    const { first, done } = setUp();
    first.head(200, [], Buffer.alloc(0));
    first.data(Buffer.from("x"));
    first.end();
    expect(done).toEqual(["release", "head 200", "data x", "end"]);
  });

  it("goes straight on when the request's body is not whole", () => {
    const { first, done } = setUp(false);
    first.head(401, [], Buffer.alloc(0));
    first.end();
    expect(done).toEqual(["release", "head 401", "end"]);
  });

  it("is held back while the secret is asked for, and goes on in its order when there is no other", async () => {
    const { first, done, decide } = setUp();
    first.head(401, [], Buffer.alloc(0));
    first.data(Buffer.from("a"));
    first.data(Buffer.from("b"));
    first.end();
    expect(done).toEqual(["pause", "prepare"]);
    await decide();
    expect(done.slice(2)).toEqual(["release", "resume", "head 401", "data a", "data b", "end"]);
  });

  it("tells of a failure in the middle after what came before it", async () => {
    const { first, done, decide } = setUp();
    first.head(401, [], Buffer.alloc(0));
    first.data(Buffer.from("a"));
    first.fail(new SidekeyError("UPSTREAM_RESET"));
    await decide();
    expect(done.slice(2)).toEqual(["release", "resume", "head 401", "data a", "fail UPSTREAM_RESET"]);
  });

  it("is dropped when there is another secret, and its connection with it", async () => {
    const { first, done, decide } = setUp();
    first.head(401, [], Buffer.alloc(0));
    first.data(Buffer.from("four"));
    await decide(SECOND);
    expect(done.slice(2)).toEqual(["abort", "begun after 4", "repeat", "sent"]);
  });

  it("is nobody's when the agent left while the secret was asked for", async () => {
    const { first, done, decide, leave } = setUp();
    first.head(401, [], Buffer.alloc(0));
    leave();
    await decide();
    expect(done.slice(2)).toEqual(["release"]);
  });

  it("leads to no second attempt when the agent left while that was put on record, which is said", async () => {
    const { first, done, decide, leave } = setUp();
    first.head(401, [], Buffer.alloc(0));
    leave();
    await decide(SECOND);
    expect(done.slice(2)).toEqual(["abandoned"]);
  });

  it("is told of a mistake in what decides, which nobody else would hear of", async () => {
    const failed: string[] = [];
    const answer = { over: false, head: () => undefined, fail: ({ code }: SidekeyError) => failed.push(code) };
    const replay: ReplayBuffer = { isWhole: true, bytes: 0, body: () => undefined, release: () => undefined };
    const first = new FirstAttempt(answer as unknown as AnswerSink, replay, () => ({
      prepare: async () => SECOND,
      begin: () => {
        throw new TypeError("a mistake");
      },
      abandon: () => undefined,
      send: () => undefined,
    }));
    first.head(401, [], Buffer.alloc(0));
    await expect.poll(() => failed).toEqual(["INTERNAL"]);
  });
});
