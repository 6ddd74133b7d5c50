/**
 * Properties over texts put together at random from what parsers stumble over: whatever an agent writes, every server finds
 * our value and no other under the name, and a placeholder is swapped once or the request refused.
 */
import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { setCookie } from "../../../../src/sidecar/injection/cookie.ts";
import { placeholder } from "../../../../src/sidecar/injection/kinds/placeholder.ts";
import { foldParameterName } from "../../../../src/sidecar/injection/parameter-name.ts";
import { compilePlaceholders, swapPlaceholders } from "../../../../src/sidecar/injection/placeholder.ts";
import { setParameter } from "../../../../src/sidecar/injection/query.ts";
import { COOKIE_READERS, QUERY_READERS, type Reader } from "../../../support/servers.ts";

/** The same on every run. */
const createRandom = () => {
  let state = 0x2545f491;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % limit;
  };
  const pick = <T>(list: readonly [T, ...T[]]): T => list[below(list.length)] ?? list[0];
  const text = (parts: readonly [string, ...string[]], most: number): string =>
    Array.from({ length: below(most) }, () => pick(parts)).join("");
  return { below, pick, text };
};

const RUNS = 5_000;
/** Readers that find something else than our value, with what they find. */
const misled = (readers: Readonly<Record<string, Reader>>, text: string, name: string): readonly string[] =>
  Object.entries(readers)
    .map(([reader, read]) => [reader, read(text, name)] as const)
    .filter(([, values]) => values.join() !== "S")
    .map(([reader, values]) => `${reader} finds ${JSON.stringify(values)} in ${text}`);

describe("whatever the agent writes", () => {
  it("every server finds our parameter, and no other of its name", () => {
    const { text } = createRandom();
    const names = ["api_key", "API_KEY", "api%5fkey", "%61pi_key", "%2561pi_key", "api.key", "api", "_key"] as const;
    const marks = [
      "=",
      "=",
      "&",
      "&",
      ";",
      "%26",
      "%3d",
      "+",
      "%20",
      "[",
      "]",
      "[]",
      "%00",
      "%",
      "%2",
      "?",
      "/",
      ",",
    ] as const;
    const failures: unknown[] = [];
    for (let i = 0; i < RUNS; i++) {
      const query = `?${text([...names, ...marks, "x", "own"], 9)}`;
      const sent = setParameter(query, foldParameterName("api_key"), "api_key=S");
      failures.push(...misled(QUERY_READERS, sent.slice(1), "api_key").map((found) => [query, found]));
    }
    expect(failures.slice(0, 10)).toEqual([]);
  });

  it("every server finds our cookie, and no other of its name", () => {
    const { text } = createRandom();
    const names = ["sid", "SID", "%73id", "sid[a]", "sid[]", "sid"] as const;
    const marks = ["=", "=", ";", "; ", ",", " ", "\t", '"', "%00", "\\", "$Version"] as const;
    const failures: unknown[] = [];
    for (let i = 0; i < RUNS; i++) {
      const headers = ["Cookie", text([...names, ...marks, "x", "own"], 10).trim()];
      const before = headers[1];
      setCookie(headers, "sid", "sid=S");
      expect(headers).toHaveLength(2);
      failures.push(...misled(COOKIE_READERS, headers[1] ?? "", "sid").map((found) => [before, found]));
    }
    expect(failures.slice(0, 10)).toEqual([]);
  });

  it("a placeholder is swapped once, or the request refused, or left as it is", () => {
    const { below, pick, text } = createRandom();
    const mine = "placeholder-0123456789";
    const others = "other-placeholder-xyz";
    const places = placeholder.fields.parse({
      kind: "placeholder",
      in: ["header:X-A", "basic", "query:key", "path"],
    }).in;
    const all = compilePlaceholders([mine, others]) ?? /never/g;
    const own = new Map([[mine, { places, secret: 0 }]]);
    const escaped = Array.from(mine, (c) => `%${c.charCodeAt(0).toString(16)}`).join("");
    const parts = [mine, mine, escaped, mine.slice(0, 5), mine.slice(5), others, `%2570${mine.slice(1)}`] as const;
    const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString("base64")}`;
    const counts = { swapped: 0, refused: 0, left: 0 };
    for (let i = 0; i < RUNS; i++) {
      const query = below(2) === 0 ? "" : `?${text([...parts, "key", "key=", "=", "&", ";", "+", "%20", "%", "x"], 6)}`;
      const path = below(3) === 0 ? `/${pick([mine, `a${mine}`, escaped, "x"])}` : "/";
      const value = pick([mine, basic(mine), basic(`u:${mine}`), basic(`${mine}:${mine}`), basic("x:y"), "x"]);
      const headers = below(2) === 0 ? [] : [pick(["X-A", "x_a", "X-B", "Authorization"]), value];
      const copy = [...headers];
      try {
        const secrets = [{ value: SecretValue.fromText("S3CRET") }];
        const sent = swapPlaceholders(copy, { method: "GET", path, query }, all, own, secrets);
        const pair = Buffer.from(copy[1]?.replace("Basic ", "") ?? "", "base64").toString("latin1");
        const read = [sent.path, sent.query, ...copy, pair].join("\n");
        const decoded = decodeTwice(read);
        expect([decoded.includes(mine), decoded.includes(others)], decoded).toEqual([false, false]);
        const times = read.split("S3CRET").length - 1;
        expect([times, sent.used.size]).toEqual(times === 0 ? [0, 0] : [1, 1]);
        if (times === 0) expect([sent.path, sent.query, ...copy]).toEqual([path, query, ...headers]);
        counts[times === 0 ? "left" : "swapped"] += 1;
      } catch (error) {
        if (!(error instanceof SidekeyError)) throw error;
        expect(error.code).toBe("INJECT_PLACEHOLDER_MISPLACED");
        counts.refused += 1;
      }
    }
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(RUNS / 20);
  });
});

const decodeTwice = (text: string): string => {
  const decode = (from: string): string =>
    from.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  return decode(decode(text));
};
