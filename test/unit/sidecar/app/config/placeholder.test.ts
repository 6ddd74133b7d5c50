import { describe, expect, it } from "vitest";
import { placeholderOf } from "../../../../../src/sidecar/app/config/placeholder.ts";

describe("placeholderOf", () => {
  it("says what it is and whose it is", () => {
    expect(placeholderOf("openai", "/state")).toMatch(/^sidekey-placeholder-openai-[0-9a-f]{12}$/);
  });

  it("stays the same for one route and state directory, and differs between either", () => {
    const one = placeholderOf("openai", "/state");
    expect(placeholderOf("openai", "/state")).toBe(one);
    expect(placeholderOf("openai", "/other")).not.toBe(one);
    expect(placeholderOf("openai2", "/state")).not.toBe(one);
  });

  it.each(["*.example.com:8443", "a b", "[::1]:443", "x".repeat(63)])(
    "is 16 to 256 plain characters for %s",
    (route) => {
      expect(placeholderOf(route, "/state")).toMatch(/^[A-Za-z0-9._-]{16,256}$/);
    },
  );

  it("keeps two routes apart that read alike", () => {
    expect(placeholderOf("a:b", "/state")).not.toBe(placeholderOf("a;b", "/state"));
  });
});
