/** The vault of a sidecar is no upstream (B7): not by its name, not by its address, not by another name for that. */
import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { createClosedPlaces } from "../../../../src/sidecar/net/closed-places.ts";
import { type ConnectRequest, createConnector } from "../../../../src/sidecar/net/connector.ts";
import type { Resolver } from "../../../../src/sidecar/net/lookup.ts";
import { createEgressGuard } from "../../../../src/sidecar/policy/egress.ts";

const authorityOf = (text: string) => {
  const authority = parseAuthority(text, 443);
  if (authority === undefined) throw new Error(text);
  return authority;
};

const resolverOf =
  (names: Readonly<Record<string, string>>): Resolver =>
  (name, _options, callback) => {
    const address = names[name];
    if (address === undefined) callback(Object.assign(new Error("none"), { code: "ENOTFOUND" }), []);
    else callback(null, [{ address, family: address.includes(":") ? 6 : 4 }]);
  };

describe("closed places", () => {
  it("know an address in every spelling, on its port alone", () => {
    const places = createClosedPlaces([authorityOf("192.0.2.1:7200")], resolverOf({}), () => 0);
    expect(places.holds("192.0.2.1", 7200)).toBe(true);
    expect(places.holds("::ffff:192.0.2.1", 7200)).toBe(true);
    expect(places.holds("192.0.2.1", 7201)).toBe(false);
    expect(places.holds("192.0.2.2", 7200)).toBe(false);
  });

  it.each(["127.0.0.1:7200", "localhost:7200", "[::1]:7200"])("take all of loopback for %s", (vault) => {
    const places = createClosedPlaces([authorityOf(vault)], resolverOf({}), () => 0);
    for (const address of ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]) {
      expect(places.holds(address, 7200)).toBe(true);
    }
    expect(places.holds("192.0.2.1", 7200)).toBe(false);
  });

  it("look a name up, hold everything on its port until they know, and ask again later", () => {
    const names: Record<string, string> = { "vault.test": "192.0.2.1" };
    let now = 0;
    const waiting: (() => void)[] = [];
    const slow: Resolver = (name, options, callback) =>
      void waiting.push(() => resolverOf(names)(name, options, callback));
    const places = createClosedPlaces([authorityOf("vault.test:7200")], slow, () => now);
    expect(places.holds("192.0.2.9", 7200)).toBe(true);
    waiting.pop()?.();
    expect([places.holds("192.0.2.9", 7200), places.holds("192.0.2.1", 7200)]).toEqual([false, true]);
    names["vault.test"] = "192.0.2.9";
    now = 30_000;
    places.holds("192.0.2.9", 7200);
    waiting.pop()?.();
    expect(places.holds("192.0.2.9", 7200)).toBe(true);
  });
});

describe("a connector with a vault", () => {
  const connect = createConnector({
    guard: createEgressGuard({ allow: [] }),
    redirects: new Map([["detour.test:443", { address: "192.0.2.1", port: 7200 }]]),
    extraCa: undefined,
    isOwnListener: () => false,
    resolve: resolverOf({ "alias.test": "192.0.2.1", "vault.test": "192.0.2.1" }),
    closed: createClosedPlaces([authorityOf("vault.test:7200")], resolverOf({ "vault.test": "192.0.2.1" }), () => 0),
  });
  const attempt = (target: string, more: Partial<ConnectRequest> = {}): Promise<string> =>
    new Promise((resolve) => {
      const base = { scheme: "https", cleartext: "never", timeoutMs: 500, written: false, watchEnd: false } as const;
      connect({ ...base, authority: authorityOf(target), ...more }, (error) => {
        resolve(error instanceof SidekeyError ? (error.detail ?? error.code) : "connected");
      });
    });
  const CLOSED = "the vault of this sidecar is closed to agents";

  it.each([
    ["its own name", "vault.test:7200", {}],
    ["its address", "192.0.2.1:7200", { written: true }],
    ["another name, in the clear", "alias.test:7200", { scheme: "http", cleartext: "opened" }],
    ["another name, unread", "alias.test:7200", { scheme: "http", cleartext: "uncredentialed" }],
    ["a detour that the file has", "detour.test:443", {}],
  ] as const)("opens nothing to it by %s", async (_, target, more) => {
    expect(await attempt(target, more)).toBe(CLOSED);
  });

  it("leaves another port of its host, and another name that TLS is verified for, to the other rules", async () => {
    expect(await attempt("vault.test:443")).not.toBe(CLOSED);
    expect(await attempt("alias.test:7200")).not.toBe(CLOSED);
  });
});
