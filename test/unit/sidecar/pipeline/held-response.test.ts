import { describe, expect, it } from "vitest";
import { HeldResponse } from "../../../../src/sidecar/pipeline/held-response.ts";
import type { ClientResponse } from "../../../../src/sidecar/pipeline/messages.ts";

const setUp = (limit: number) => {
  const log: string[] = [];
  const sent: Buffer[] = [];
  const client = {
    head: (status: number) => void log.push(`head ${status}`),
    write: (chunk: Buffer) => {
      sent.push(chunk);
      return false;
    },
  } as unknown as ClientResponse;
  const held = new HeldResponse(client, limit);
  held.head(200, [], undefined);
  return { held, log, sent, text: () => Buffer.concat(sent).toString() };
};

describe("a held response", () => {
  it("keeps head and body until it is released, and then holds nothing", () => {
    const { held, log, text } = setUp(10);
    expect(held.write(Buffer.from("12345"))).toBe(true);
    expect(held.write(Buffer.from("67890"))).toBe(true);
    expect([log, text()]).toEqual([[], ""]);
    held.release();
    held.release();
    expect([log, text()]).toEqual([["head 200"], "1234567890"]);
    expect(held.write(Buffer.from("!"))).toBe(false);
    expect(text()).toBe("1234567890!");
  });

  it("goes in order past its limit, with 0 at the first byte", () => {
    for (const limit of [0, 2, 3]) {
      const { held, log, text } = setUp(limit);
      for (const piece of ["a", "b", "c", "d"]) held.write(Buffer.from(piece));
      expect([log, text()]).toEqual([["head 200"], "abcd"]);
    }
  });

  it("joins what comes in tiny pieces, each of which would cost more than it holds", () => {
    const { held, sent, text } = setUp(100_000);
    for (let n = 0; n < 100_000; n++) held.write(Buffer.from([0x61 + (n % 26)]));
    held.release();
    expect(sent.length).toBeLessThan(400);
    // As they come: joined at the end alone, all pieces would have been held until then.
    expect(Math.max(...sent.map(({ length }) => length))).toBeLessThan(1000);
    expect(text()).toBe("abcdefghijklmnopqrstuvwxyz".repeat(4_000).slice(0, 100_000));
  });
});
