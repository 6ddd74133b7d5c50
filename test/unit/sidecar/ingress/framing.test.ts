import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import { judgeFraming } from "../../../../src/sidecar/ingress/framing.ts";
import type { RequestHead } from "../../../../src/sidecar/ingress/request-parser.ts";

const request = (
  headers: readonly (readonly [string, string])[],
  options: { method?: string; minor?: number; target?: string } = {},
): RequestHead => ({
  method: options.method ?? "GET",
  target: options.target ?? "/",
  minor: options.minor ?? 1,
  headers: headers.flat(),
});

const codeOf = (message: RequestHead): string => {
  try {
    judgeFraming(message);
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
  return "accepted";
};

const host = ["Host", "a.test"] as const;

describe("framing that has one reading", () => {
  it("is taken with its body length", () => {
    expect(judgeFraming(request([host, ["Content-Length", "10"]])).bodyLength).toBe(10);
    expect(judgeFraming(request([host, ["Transfer-Encoding", "CHUNKED"]])).bodyLength).toBeUndefined();
    expect(judgeFraming(request([host])).bodyLength).toBe(0);
    expect(judgeFraming(request([], { minor: 0 })).host).toBeUndefined();
  });

  it("says whether the agent waits for 100", () => {
    expect(judgeFraming(request([host, ["Expect", "100-Continue"]])).expectsContinue).toBe(true);
    expect(judgeFraming(request([host])).expectsContinue).toBe(false);
  });

  it("says whether another request may follow", () => {
    const closes = (lines: readonly (readonly [string, string])[], minor = 1): boolean =>
      judgeFraming(request([host, ...lines], { minor })).closes;
    expect(closes([])).toBe(false);
    expect(closes([["Connection", "keep-alive, X-Closed"]])).toBe(false);
    expect(closes([["Connection", "X-A, CLOSE"]])).toBe(true);
    expect(closes([["Upgrade", "h2c"]])).toBe(true);
    expect(closes([["Connection", "keep-alive"]], 0)).toBe(true);
  });

  it("keeps the Connection header only when it lists names", () => {
    expect(judgeFraming(request([host, ["Connection", "close, Keep-Alive"]])).connection).toBeUndefined();
    expect(judgeFraming(request([host, ["Connection", "close"], ["connection", "X-A"]])).connection).toBe("close,X-A");
  });
});

describe("an agent's reason", () => {
  const reasonOf = (value: string): string | undefined =>
    judgeFraming(request([host, ["X-Sidekey-Reason", Buffer.from(value).toString("latin1")]])).reason;

  it("is its own words, at most 256 characters of UTF-8", () => {
    expect(reasonOf('the monthly réport: "日"')).toBe('the monthly réport: "日"');
    expect(reasonOf("é".repeat(256))).toBe("é".repeat(256));
    expect(reasonOf("")).toBeUndefined();
    expect(judgeFraming(request([host])).reason).toBeUndefined();
  });
});

describe("framing that has more than one reading", () => {
  const cases: readonly (readonly [string, RequestHead, string])[] = [
    ["no Host", request([]), "INGRESS_BAD_REQUEST"],
    ["two Hosts", request([host, ["HOST", "a.test"]]), "INGRESS_BAD_REQUEST"],
    ["two lengths", request([host, ["Content-Length", "1"], ["content-length", "1"]]), "INGRESS_BAD_REQUEST"],
    [
      "length and coding",
      request([host, ["Content-Length", "1"], ["Transfer-Encoding", "chunked"]]),
      "INGRESS_BAD_REQUEST",
    ],
    [
      "two codings",
      request([host, ["Transfer-Encoding", "chunked"], ["Transfer-Encoding", "chunked"]]),
      "INGRESS_BAD_REQUEST",
    ],
    ["coding in 1.0", request([host, ["Transfer-Encoding", "chunked"]], { minor: 0 }), "INGRESS_BAD_REQUEST"],
    ...[",chunked", "chunked,", "gzip, chunked", "identity", " chunked", "chunked;q=1", "xchunked", ""].map(
      (coding) =>
        [`coding '${coding}'`, request([host, ["Transfer-Encoding", coding]]), "INGRESS_BAD_REQUEST"] as const,
    ),
    ...["010", "+1", "-1", "0x10", "1,1", "1 ", "", "1e3", "99999999999999999", "9007199254740993"].map(
      (length) => [`length '${length}'`, request([host, ["Content-Length", length]]), "INGRESS_BAD_REQUEST"] as const,
    ),
    ...["Host", "content-length", "Transfer_Encoding"].map(
      (name) => [`Connection: ${name}`, request([host, ["Connection", `x, ${name}`]]), "INGRESS_BAD_REQUEST"] as const,
    ),
    ...["100-continue, x", "x 100-continue", "200-ok", ""].map(
      (value) => [`Expect: ${value}`, request([host, ["Expect", value]]), "INGRESS_EXPECTATION"] as const,
    ),
    ["Expect in 1.0", request([host, ["Expect", "100-continue"]], { minor: 0 }), "INGRESS_EXPECTATION"],
    ...["r".repeat(257), "a\tb", "a\xc2\x85b"].map(
      (value) =>
        [`reason ${value.length}`, request([host, ["x-sidekey-reason", value]]), "INGRESS_BAD_REQUEST"] as const,
    ),
    ["two reasons", request([host, ["X-Sidekey-Reason", ""], ["x-sidekey-reason", "a"]]), "INGRESS_BAD_REQUEST"],
    ["TRACE", request([host], { method: "TRACE" }), "INGRESS_METHOD_REFUSED"],
    ["websocket", request([host, ["Upgrade", "WebSocket"]]), "INGRESS_UPGRADE_UNSUPPORTED"],
    ["201 headers", request(Array.from({ length: 201 }, () => ["a", "b"] as const)), "INGRESS_HEADERS_TOO_LARGE"],
    ["a 17 KiB target", request([host], { target: `/${"a".repeat(17 * 1024)}` }), "INGRESS_URI_TOO_LONG"],
  ];

  it.each(cases)("%s is refused", (_name, message, code) => {
    expect(codeOf(message)).toBe(code);
  });
});
