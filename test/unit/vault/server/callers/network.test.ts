/** Whose an address is, in whatever way it is written. */
import { describe, expect, it } from "vitest";
import { networkOf } from "../../../../../src/vault/server/callers/network.ts";

describe("the network of an address", () => {
  it("is one for all addresses of a /64, and for all spellings of one", () => {
    const [first, ...others] = [
      "2001:db8:1:2::1",
      "2001:db8:1:2:ffff::9",
      "2001:DB8:1:2:0:0:0:1",
      "2001:db8:1:2::1%eth0",
    ];
    for (const other of others) expect([other, networkOf(other)]).toEqual([other, networkOf(first ?? "")]);
    expect(networkOf("2001:db8:1:3::1")).not.toBe(networkOf(first ?? ""));
    expect(networkOf("::ffff:192.0.2.7")).toBe(networkOf("192.0.2.7"));
    expect(networkOf("::ffff:c000:207")).toBe(networkOf("192.0.2.7"));
    expect(networkOf("192.0.2.8")).not.toBe(networkOf("192.0.2.7"));
  });

  it("is one for all that is no address", () => {
    for (const odd of ["", "x", "192.0.2.7:80", "192.0.2.07", "[::1]", "unknown"]) {
      expect([odd, networkOf(odd)]).toEqual([odd, "unknown"]);
    }
  });
});
