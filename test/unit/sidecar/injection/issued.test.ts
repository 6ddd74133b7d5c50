/** Where placeholders of a vault are found in a request. */
import { describe, expect, it } from "vitest";
import { findIssued } from "../../../../src/sidecar/injection/issued.ts";

const MARK = "SKP0123456789abcdefABCDEFGH";
const ONE = `sk-proj-${MARK}`;
const OTHER = `tvly-${MARK}`;

const found = (parts: { headers?: string[]; path?: string; query?: string }): readonly string[] =>
  findIssued({ headers: [], path: "/", query: "", ...parts });

describe("a placeholder of a vault", () => {
  it.each<[string, Parameters<typeof found>[0]]>([
    ["after Bearer", { headers: ["Authorization", `Bearer ${ONE}`] }],
    ["as a header", { headers: ["x-api-key", ONE] }],
    [
      "as the password of Basic",
      { headers: ["Authorization", `Basic ${Buffer.from(`me:${ONE}`).toString("base64")}`] },
    ],
    ["as the user of Basic", { headers: ["authorization", `basic ${Buffer.from(`${ONE}:`).toString("base64")}`] }],
    ["in a query", { query: `?a=1&key=${ONE}` }],
    ["in an escaped query", { query: `?key=%73${ONE.slice(1)}` }],
    ["in a path", { path: `/bot/${ONE}/send` }],
    ["as a cookie", { headers: ["cookie", `a=1; key=${ONE}; b=2`] }],
  ])("is found %s", (_, parts) => {
    expect(found(parts)).toEqual([ONE]);
  });

  it("is found without a provider's prefix, and once where it stands twice", () => {
    expect(found({ headers: ["a", MARK, "b", MARK] })).toEqual([MARK]);
    expect(found({ headers: ["a", OTHER, "b", ONE] })).toEqual([ONE, OTHER]);
  });

  it.each(["SKP", "SKP0123456789abcdefABCDE", "skp0123456789abcdefABCDEFGH", "sk-proj-0123456789abcdefABCDEFGHIJKL"])(
    "is not %s",
    (text) => {
      expect(found({ headers: ["a", `Bearer ${text}`], query: `?k=${text}`, path: `/${text}` })).toEqual([]);
    },
  );

  it("comes with at most three others", () => {
    const headers = (count: number): string[] =>
      Array.from({ length: count }, (_, i) => [`h${i}`, `${MARK}${i}`]).flat();
    expect(found({ headers: headers(4) })).toHaveLength(4);
    expect(() => found({ headers: headers(5) })).toThrow(
      expect.objectContaining({ code: "INJECT_PLACEHOLDER_MISPLACED" }),
    );
  });

  it("is looked for once along a long word, however many marks are in it", () => {
    expect(found({ headers: ["a", "SKP_".repeat(100_000)] })).toEqual([]);
    expect(found({ headers: ["a", "a".repeat(400_000)], query: "SKP-".repeat(100_000) })).toEqual([]);
  });
});
