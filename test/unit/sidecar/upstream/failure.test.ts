/** undici tells these apart by code, by name and, where it forces us, by its words: held here to the version we ship. */
import { type AddressInfo, createServer } from "node:net";
import { Client } from "undici";
import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { upstreamFailure } from "../../../../src/sidecar/upstream/failure.ts";

/** The client's own error for an answer. */
const errorOf = async (answer: string | undefined): Promise<unknown> => {
  const server = createServer((socket) => {
    socket
      .on("error", () => undefined)
      .once("data", () => {
        if (answer === undefined) socket.resetAndDestroy();
        else socket.end(answer);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { maxHeaderSize: 1024 });
  const error = await new Promise((resolve) => {
    client.dispatch(
      { path: "/", method: "GET" },
      {
        onRequestStart: () => undefined,
        onResponseStart: () => undefined,
        onResponseData: () => undefined,
        onResponseEnd: () => resolve(undefined),
        onResponseError: (_controller, failure) => resolve(failure),
      },
    );
  });
  await client.destroy();
  await new Promise((resolve) => server.close(resolve));
  return error;
};

describe("what the HTTP client reports", () => {
  it.each([
    ["nonsense\r\n\r\n", "UPSTREAM_BAD_RESPONSE"],
    ["HTTP/1.1 100 Continue\r\n\r\n", "UPSTREAM_BAD_RESPONSE"],
    ["HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "UPSTREAM_BAD_RESPONSE"],
    [`HTTP/1.1 200 OK\r\nX: ${"a".repeat(2000)}\r\n\r\n`, "UPSTREAM_BAD_RESPONSE"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "UPSTREAM_RESET"],
    ["", "UPSTREAM_RESET"],
    [undefined, "UPSTREAM_RESET"],
  ])("about %j is %s", async (answer, code) => {
    expect(upstreamFailure(await errorOf(answer)).code).toBe(code);
  });

  it.each([
    ["ECONNREFUSED", "UPSTREAM_UNREACHABLE"],
    ["ENOTFOUND", "UPSTREAM_UNREACHABLE"],
    ["UND_ERR_HEADERS_TIMEOUT", "UPSTREAM_TIMEOUT"],
    ["UND_ERR_BODY_TIMEOUT", "UPSTREAM_TIMEOUT"],
    ["ERR_INVALID_CHAR", "UPSTREAM_BAD_RESPONSE"],
    ["SOMETHING_ELSE", "INTERNAL"],
  ])("as %s is %s", (code, ours) => {
    expect(upstreamFailure(Object.assign(new Error("x"), { code })).code).toBe(ours);
  });

  it("of ours stays as it is, also as a cause", () => {
    const own = new SidekeyError("POLICY_ADDRESS");
    expect(upstreamFailure(own)).toBe(own);
    expect(upstreamFailure(new Error("x", { cause: own }))).toBe(own);
  });
});
