import { describe, expect, it } from "vitest";
import { bodyFraming, keepAliveMs } from "../../../../src/sidecar/upstream/response-framing.ts";

const framing = (headers: readonly string[], status = 200, method = "GET") => bodyFraming(status, headers, method);

describe("the framing of a response", () => {
  it("is its length, its chunks, or the end of its connection", () => {
    expect(framing([])).toEqual({ kind: "close" });
    expect(framing(["X-Of-14-Bytes-", "1", "Accept-Ranges-123", "x"])).toEqual({ kind: "close" });
    expect(framing(["Content-Length", "5", "X", "y"])).toEqual({ kind: "length", length: 5 });
    expect(framing(["TRANSFER-encoding", "Chunked"])).toEqual({ kind: "chunked" });
  });

  it.each([
    [200, "HEAD"],
    [204, "GET"],
    [304, "GET"],
    [103, "GET"],
  ])("is nothing for %i to %s, whatever the headers tell", (status, method) => {
    expect(framing(["Content-Length", "5"], status, method)).toEqual({ kind: "none" });
    expect(framing([], status, method)).toEqual({ kind: "none" });
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
    [["Content-Length", ""]],
    [["Content-Length", "+5"]],
    [["Content-Length", "05"]],
    [["Content-Length", "9999999999999999"]],
  ])("is none in %j", (headers) => {
    expect(framing(headers)).toBeUndefined();
  });
});

describe("a connection", () => {
  const keep = (headers: readonly string[], { minor = 1, status = 200, method = "GET" } = {}): number => {
    const body = bodyFraming(status, headers, method);
    if (body === undefined) throw new Error("ambiguous");
    return keepAliveMs({ minor, headers, framing: body }, method, 15_000);
  };

  it("is kept behind a body that was framed", () => {
    expect(keep(["Content-Length", "5"])).toBe(15_000);
    expect(keep(["Transfer-Encoding", "chunked", "Connection", "keep-alive"])).toBe(15_000);
    expect(keep([], { status: 204 })).toBe(15_000);
    expect(keep(["Content-Length", "0"], { status: 304 })).toBe(15_000);
    expect(keep(["Content-Length", "5", "Xonnection", "close"])).toBe(15_000);
  });

  it.each([
    [["Content-Length", "5", "Connection", "close"], {}],
    [["Content-Length", "5", "connection", "x-hop, Close"], {}],
    [["Content-Length", "5"], { minor: 0 }],
    [["Content-Length", "5"], { method: "HEAD" }],
    [["Content-Length", "5"], { status: 304 }],
    [["Transfer-Encoding", "chunked"], { status: 204 }],
    [["Content-Length", "5", "Keep-Alive", "timeout=1"], {}],
    [["Content-Length", "5", "Keep-Alive", "timeout=0, max=5"], {}],
    [[], {}],
  ])("is not with %j, %j", (headers, options) => {
    expect(keep(headers, options)).toBe(0);
  });

  it("is kept a second less than the upstream keeps it, and never for longer than we want", () => {
    expect(keep(["Content-Length", "5", "Keep-Alive", "max=100, timeout=5"])).toBe(4_000);
    expect(keep(["Content-Length", "5", "Keep-Alive", "timeout=600"])).toBe(15_000);
    expect(keep(["Content-Length", "5", "Keep-Alive", "notimeout=1"])).toBe(15_000);
  });
});
