/** What is left of an upstream's headers, for cases that need no upstream. */
import { describe, expect, it } from "vitest";
import {
  createResponseDrops,
  decodedHeaders,
  responseHead,
} from "../../../../src/sidecar/pipeline/response-headers.ts";
import { createRedaction } from "../../../../src/sidecar/scrub/redaction.ts";

const redaction = createRedaction([Buffer.from("canary-7be24c553f9a61d0")]);
const headOf = (headers: readonly string[], drops: { allowRange: boolean; passCookies: boolean }) => {
  const lines = headers.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join("");
  return responseHead(headers, Buffer.from(lines), redaction, createResponseDrops(drops));
};

describe("the head of a body that goes on decoded", () => {
  it("promises no ranges of the coded bytes, names no coding, and has no tag of equal bytes", () => {
    const headers = ["Accept-Ranges", "bytes", "Content-Encoding", "gzip", "ETag", '"a"', "Vary", "Accept-Encoding"];
    expect(decodedHeaders(headers)).toEqual(["ETag", 'W/"a"', "Vary", "Accept-Encoding"]);
    expect(decodedHeaders(["etag", 'W/"a"', "X-Other", '"a"'])).toEqual(["etag", 'W/"a"', "X-Other", '"a"']);
  });
});

describe("the head of a response that is searched", () => {
  it("loses ranges and cookies where the route allows none, and digests always", () => {
    const headers = ["Accept-Ranges", "bytes", "Set-Cookie", "a=b", "Repr-Digest", "x", "Content-MD5", "x", "X", "y"];
    expect(headOf(headers, { allowRange: false, passCookies: false })?.headers).toEqual(["X", "y"]);
    expect(headOf(headers, { allowRange: true, passCookies: true })?.headers).toEqual([
      ...headers.slice(0, 4),
      ...headers.slice(-2),
    ]);
  });

  it("is searched name by name and value by value, and the codings are known that Connection would hide", () => {
    const secret = "canary-7be24c553f9a61d0";
    const raw = [`X-${secret}`, "1", "X-A", `<${secret}>`, "Connection", "content-encoding", "Content-Encoding", "br"];
    const head = headOf(raw, { allowRange: false, passCookies: false });
    expect(head).toEqual({
      headers: ["X-A", `<${"[redacted]".padEnd(secret.length, "*")}>`],
      contentLength: undefined,
      codings: ["br"],
      isEvents: false,
      reflected: 2,
    });
  });
});
