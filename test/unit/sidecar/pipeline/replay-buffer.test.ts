import { once } from "node:events";
import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { createReplayBudget, keepBody, REPLAY_REQUEST_BYTES } from "../../../../src/sidecar/pipeline/replay-buffer.ts";

const paused = (): PassThrough => {
  const stream = new PassThrough({ highWaterMark: 1024 * 1024 });
  stream.pause();
  return stream;
};

const flow = async (stream: PassThrough, chunks: readonly Buffer[], ends = true): Promise<void> => {
  for (const chunk of chunks) stream.write(chunk);
  stream.resume();
  if (ends) {
    stream.end();
    await once(stream, "end");
  } else await new Promise((resolve) => setImmediate(resolve));
};

const read = async (stream: AsyncIterable<Buffer>): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
};

describe("the body that is kept", () => {
  it("comes back whole, framed as it came", async () => {
    const stream = paused();
    const kept = keepBody({ stream, length: undefined }, createReplayBudget());
    await flow(stream, [Buffer.from("one "), Buffer.from("two")]);
    expect([kept.isWhole, kept.bytes]).toEqual([true, 7]);
    const body = kept.body();
    expect(body?.length).toBeUndefined();
    expect(String(await read(body?.stream ?? new PassThrough()))).toBe("one two");
  });

  it("comes back whole from pieces of every size, and from thousands of a byte in few", async () => {
    const stream = paused();
    const kept = keepBody({ stream, length: undefined }, createReplayBudget());
    const sizes = Array.from({ length: 400 }, (_, i) => (i * 7_919) % (i % 9 === 0 ? 3_000 : 300));
    const mixed = sizes.map((size, i) => Buffer.alloc(size, i));
    await flow(stream, mixed);
    expect(await read(kept.body()?.stream ?? new PassThrough())).toEqual(Buffer.concat(mixed));

    const bytes = new PassThrough({ highWaterMark: 1024 * 1024 });
    bytes.pause();
    const ofBytes = keepBody({ stream: bytes, length: undefined }, createReplayBudget());
    const all = Buffer.from("0123456789".repeat(2_000));
    await flow(
      bytes,
      Array.from(all, (_, i) => all.subarray(i, i + 1)),
    );
    expect([ofBytes.isWhole, ofBytes.bytes]).toEqual([true, all.length]);
    const pieces: Buffer[] = [];
    for await (const piece of ofBytes.body()?.stream ?? new PassThrough()) pieces.push(piece);
    expect(Buffer.concat(pieces)).toEqual(all);
    // Each costs a hundred bytes or so beside what it holds.
    expect(pieces.length).toBeLessThan(100);
  });

  it("may be empty, and is not the same as none", async () => {
    const stream = paused();
    const kept = keepBody({ stream, length: undefined }, createReplayBudget());
    await flow(stream, []);
    expect(kept.isWhole).toBe(true);
    expect(String(await read(kept.body()?.stream ?? new PassThrough()))).toBe("");
    const none = keepBody(undefined, createReplayBudget());
    expect([none.isWhole, none.body()]).toEqual([true, undefined]);
  });

  it("is not whole before its end, or before its length is reached", async () => {
    const budget = createReplayBudget();
    const [chunked, counted] = [paused(), paused()];
    const ofChunks = keepBody({ stream: chunked, length: undefined }, budget);
    const ofLength = keepBody({ stream: counted, length: 3 }, budget);
    await flow(chunked, [Buffer.from("ab")], false);
    await flow(counted, [Buffer.from("ab")], false);
    expect([ofChunks.isWhole, ofLength.isWhole]).toEqual([false, false]);
    await flow(counted, [Buffer.from("c")], false);
    expect(ofLength.isWhole).toBe(true);
  });

  it("is let go when it grows too large, and nothing of it counts any more", async () => {
    const budget = createReplayBudget(REPLAY_REQUEST_BYTES + 1);
    const stream = paused();
    const kept = keepBody({ stream, length: undefined }, budget);
    await flow(stream, [Buffer.alloc(REPLAY_REQUEST_BYTES), Buffer.alloc(1)]);
    expect([kept.isWhole, kept.bytes]).toEqual([false, 0]);
    expect(budget.take(REPLAY_REQUEST_BYTES + 1)).toBe(true);
    expect(keepBody({ stream: paused(), length: REPLAY_REQUEST_BYTES + 1 }, budget).isWhole).toBe(false);
  });

  it("shares 32 MiB with all others of the process", () => {
    const budget = createReplayBudget();
    expect([budget.take(32 * 1024 * 1024), budget.take(1)]).toEqual([true, false]);
    budget.giveBack(1);
    expect(budget.take(1)).toBe(true);
  });

  it("is let go when all requests together hold too much, and makes room when it is released, once", async () => {
    const budget = createReplayBudget(10);
    const [one, two, three] = [paused(), paused(), paused()];
    const first = keepBody({ stream: one, length: undefined }, budget);
    const second = keepBody({ stream: two, length: undefined }, budget);
    await flow(one, [Buffer.alloc(6)]);
    await flow(two, [Buffer.alloc(6)]);
    expect([first.isWhole, second.isWhole]).toEqual([true, false]);
    first.release();
    first.release();
    second.release();
    const third = keepBody({ stream: three, length: undefined }, budget);
    await flow(three, [Buffer.alloc(10)]);
    expect(third.isWhole).toBe(true);
    expect(budget.take(1)).toBe(false);
  });

  it("keeps no large buffer alive for the sake of a little piece", async () => {
    const stream = paused();
    const kept = keepBody({ stream, length: undefined }, createReplayBudget());
    const large = Buffer.from("x".repeat(100_000));
    await flow(stream, [large.subarray(0, 1), large.subarray(5, 6)]);
    const body = kept.body();
    large.fill("y");
    expect(String(await read(body?.stream ?? new PassThrough()))).toBe("xx");
  });
});
