import { describe, expect, it } from "vitest";
import { responseFraming } from "../../../../src/sidecar/upstream/response-framing.ts";

const framing = (...headers: string[]) => responseFraming(headers.map((text) => Buffer.from(text, "latin1")));

describe("the framing of a response", () => {
  it("is its length, its chunks, or the end of its connection", () => {
    expect(framing()).toBe("close");
    expect(framing("X-Of-14-Bytes-", "1", "Accept-Ranges-123", "x")).toBe("close");
    expect(framing("Content-Length", "5", "X", "y")).toBe("length");
    expect(framing("TRANSFER-encoding", "Chunked")).toBe("chunked");
  });

  it.each([
    [["Content-Length", "5", "content-length", "5"]],
    [["Content-Length", "5", "Transfer-Encoding", "chunked"]],
    [["Transfer-Encoding", "chunked", "Content-Length", "5"]],
    [["Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"]],
    [["Transfer-Encoding", "identity"]],
    [["Transfer-Encoding", "gzip, chunked"]],
    [["Transfer-Encoding", "chunked, chunked"]],
    [["Transfer-Encoding", "chunked "]],
    [["Transfer-Encoding", ""]],
  ])("is none in %j", (headers) => {
    expect(framing(...headers)).toBeUndefined();
  });
});
