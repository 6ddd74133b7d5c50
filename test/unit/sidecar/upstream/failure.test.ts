import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { upstreamFailure } from "../../../../src/sidecar/upstream/failure.ts";

describe("what a connection reports", () => {
  it.each([
    ["ECONNRESET", "UPSTREAM_RESET"],
    ["EPIPE", "UPSTREAM_RESET"],
    ["ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "UPSTREAM_RESET"],
    ["ETIMEDOUT", "UPSTREAM_TIMEOUT"],
    ["ERR_INVALID_CHAR", "UPSTREAM_BAD_RESPONSE"],
  ])("as %s is %s", (code, ours) => {
    expect(upstreamFailure(Object.assign(new Error("x"), { code })).code).toBe(ours);
  });

  it("of ours stays as it is", () => {
    const own = new SidekeyError("POLICY_ADDRESS");
    expect(upstreamFailure(own)).toBe(own);
  });

  it("is a mistake of ours where it is one", () => {
    expect(upstreamFailure(new TypeError("x is not a function")).code).toBe("INTERNAL");
  });
});
