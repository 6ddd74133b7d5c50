/** The errors of the client as a session knows them. */
import { describe, expect, it } from "vitest";
import {
  AuthError,
  NetworkError,
  RateLimitError,
  ScopeError,
  UnavailableError,
} from "../../../../../src/client/index.ts";
import { calling, faultOf } from "../../../../../src/sidecar/secrets/vault-session/client-faults.ts";
import { LinkFault } from "../../../../../src/sidecar/secrets/vault-session/link.ts";

describe("a call that failed", () => {
  it.each([
    ["no answer", new NetworkError({ sent: false }), "unreachable"],
    ["a balancer that has no vault", new UnavailableError({ httpStatus: 503 }), "unreachable"],
    ["a gateway that got no answer", new UnavailableError({ httpStatus: 504 }), "unreachable"],
    ["a gateway that got a bad one", new UnavailableError({ httpStatus: 502 }), "unreachable"],
    ["a balancer that asks for time", new UnavailableError({ httpStatus: 503, retryAfter: 5 }), "busy"],
    ["something else that failed on the way", new UnavailableError({ httpStatus: 500 }), "busy"],
    ["a vault that is stopping", new UnavailableError({ httpStatus: 503, vaultCode: "DRAINING" }), "busy"],
    ["a limit", new RateLimitError({ httpStatus: 429 }), "busy"],
    ["a key that is not taken", new AuthError({ httpStatus: 401 }), "unauthorized"],
    ["a scope", new ScopeError({ httpStatus: 403, vaultCode: "SCOPE_DENIED" }), "denied"],
    ["a host", new ScopeError({ httpStatus: 403, vaultCode: "SCOPE_DENIED", vaultReason: "hosts" }), "host"],
    ["its own end", Object.assign(new Error("aborted"), { name: "AbortError" }), "unreachable"],
    ["anything else", new TypeError("canary"), "garbage"],
  ] as const)("over %s", (_name, error, kind) => {
    const fault = faultOf(error);
    expect([fault.kind, fault.message.includes("canary")]).toEqual([kind, false]);
  });

  it("fails with nothing else, and keeps what the vault said about when", async () => {
    const fault = await calling(() => Promise.reject(new UnavailableError({ httpStatus: 503, retryAfter: 5 }))).catch(
      (thrown: unknown) => thrown,
    );
    expect(fault).toBeInstanceOf(LinkFault);
    expect(fault).toMatchObject({ kind: "busy", retryAfter: 5 });
    expect(faultOf(fault)).toBe(fault);
  });
});
