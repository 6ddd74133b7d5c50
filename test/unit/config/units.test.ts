import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { authority, cidr, isLocalListener, listenAddress } from "../../../src/config/addresses.ts";
import {
  agentName,
  duration,
  parseDuration,
  parseSize,
  size,
  sourceName,
  variableName,
} from "../../../src/config/units.ts";

const accepts = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success;

describe("durations", () => {
  it.each([
    ["0s", 0],
    ["1ms", 1],
    ["60s", 60_000],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
  ])("reads %s as %d ms", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each([
    "",
    "5",
    "5 s",
    "5S",
    "1.5s",
    "-1s",
    "05s",
    "s",
    "1m30s",
    "1w",
    "99999999999999s",
    "9999999999999d",
    "1e3s",
    "١s",
  ])("refuses %j", (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it("keeps to bounds, and to what timers can wait", () => {
    expect(accepts(duration(), "24d")).toBe(true);
    expect(accepts(duration(), "25d")).toBe(false);
    expect(accepts(duration({ min: 1 }), "0s")).toBe(false);
    expect(accepts(duration(), 60)).toBe(false);
  });
});

describe("sizes", () => {
  it.each([
    ["1KiB", 1024],
    ["100MiB", 104_857_600],
    ["2GiB", 2_147_483_648],
  ])("reads %s as %d bytes", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(["100", "100MB", "1 MiB", "1mib", "1.5GiB", "9999999999999GiB"])("refuses %j", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it("keeps to bounds", () => {
    expect(accepts(size({ min: 65_536 }), "63KiB")).toBe(false);
    expect(accepts(size({ min: 65_536, max: 65_536 }), "64KiB")).toBe(true);
    expect(accepts(size({ max: 65_536 }), "65KiB")).toBe(false);
  });
});

describe("names", () => {
  it("keeps agents, sources and variables to their letters", () => {
    expect(["a", "A.b_c-1", "x".repeat(64)].every((name) => accepts(agentName, name))).toBe(true);
    expect(["", "a b", "a/b", "x".repeat(65), "a\n"].some((name) => accepts(agentName, name))).toBe(false);
    expect(["a", "aws-prod", "x".repeat(32)].every((name) => accepts(sourceName, name))).toBe(true);
    expect(["", "A", "1a", "a_b", "a.b", "x".repeat(33), "a\n"].some((name) => accepts(sourceName, name))).toBe(false);
    expect(["A", "_x1"].every((name) => accepts(variableName, name))).toBe(true);
    expect(["", "1A", "A-B", "A=B", "A\n"].some((name) => accepts(variableName, name))).toBe(false);
  });
});

describe("listenAddress", () => {
  it.each([
    ["127.0.0.1:7070", { kind: "tcp", host: "127.0.0.1", port: 7070 }],
    ["127.0.0.1:0", { kind: "tcp", host: "127.0.0.1", port: 0 }],
    ["[0::1]:7070", { kind: "tcp", host: "::1", port: 7070 }],
    ["localhost:7070", { kind: "tcp", host: "127.0.0.1", port: 7070 }],
    ["0.0.0.0:80", { kind: "tcp", host: "0.0.0.0", port: 80 }],
    ["unix:./a.sock", { kind: "unix", path: "./a.sock" }],
    ["off", undefined],
  ])("reads %s", (text, address) => {
    expect(listenAddress.parse(text)).toEqual(address);
  });

  it.each([
    "",
    "7070",
    ":7070",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:65536",
    "127.0.0.1:07",
    "::1:7070",
    "host.example:70",
    "unix:",
    "OFF",
    "127.1:70",
  ])("refuses %j", (text) => {
    expect(accepts(listenAddress, text)).toBe(false);
  });

  it("tells this machine's listeners from others", () => {
    const isLocal = (text: string): boolean => {
      const address = listenAddress.parse(text);
      return address !== undefined && isLocalListener(address);
    };
    expect(["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:x"].every(isLocal)).toBe(true);
    expect(["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1"].some(isLocal)).toBe(false);
  });
});

describe("ranges and authorities", () => {
  it("takes ranges of addresses", () => {
    expect(["10.0.0.0/8", "fd00::/8", "127.0.0.1"].every((text) => accepts(cidr, text))).toBe(true);
    expect(["10.0.0.1/8", "example.com", "", "10.0.0.0/33"].some((text) => accepts(cidr, text))).toBe(false);
  });

  it("takes host and port, both", () => {
    expect(authority.parse("A.example:443").key).toBe("a.example:443");
    expect(authority.parse("[::1]:443").key).toBe("[::1]:443");
    expect(
      ["a.example", "a.example:0", ":443", "a.example:x", "u@a.example:1"].some((text) => accepts(authority, text)),
    ).toBe(false);
  });
});
