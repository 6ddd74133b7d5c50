/** Placeholders: swapped in the places that the route names, exactly and once; anywhere else they leave in no request. */
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { placeholder } from "../../../../src/sidecar/injection/kinds/placeholder.ts";
import type { Place } from "../../../../src/sidecar/injection/place.ts";
import {
  compilePlaceholders,
  type Placeholder,
  swapPlaceholders,
} from "../../../../src/sidecar/injection/placeholder.ts";

const MINE = "placeholder-0123456789";
const MORE = "placeholder-abcdefghij";
const OTHERS = "placeholder-of-another-route";
const ODD = "place holder+%&=/?;:9";

const places = (...texts: readonly string[]): readonly Place[] =>
  placeholder.fields.parse({ kind: "placeholder", in: texts }).in;

interface Sent {
  readonly headers: readonly string[];
  readonly path: string;
  readonly query: string;
  readonly used: readonly number[];
}

interface Asked {
  readonly headers?: readonly string[];
  readonly path?: string;
  readonly query?: string;
}

const all = compilePlaceholders([MINE, MORE, OTHERS, ODD]) ?? /never/g;

const swap = (
  where: readonly string[],
  { headers = [], path = "/", query = "" }: Asked,
  secret: string | Buffer = "canary-$&-S",
  own: ReadonlyMap<string, Placeholder> = new Map([
    [MINE, { places: places(...where), secret: 0 }],
    [ODD, { places: places(...where), secret: 0 }],
  ]),
): Sent => {
  const copy = [...headers];
  const secrets = [{ value: new SecretValue(Buffer.from(secret)) }, { value: SecretValue.fromText("second") }];
  const swapped = swapPlaceholders(copy, { method: "GET", path, query }, all, own, secrets);
  return { headers: copy, path: swapped.path, query: swapped.query, used: [...swapped.used] };
};

const MISPLACED = expect.objectContaining({ code: "INJECT_PLACEHOLDER_MISPLACED" });
const base64 = (text: string): string => Buffer.from(text, "latin1").toString("base64");
const escaped = (text: string): string =>
  Array.from(text, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");

describe("a placeholder where its route has it", () => {
  it.each([
    [
      ["Authorization", `Bearer ${MINE}`],
      ["Authorization", "Bearer canary-$&-S"],
    ],
    [
      ["AUTHORIZATION", MINE],
      ["AUTHORIZATION", "canary-$&-S"],
    ],
    [
      ["authorization", `x${MINE}y`],
      ["authorization", "xcanary-$&-Sy"],
    ],
  ])("is swapped in the header %j", (before, after) => {
    const others = ["Accept", "*/*", "X-Long", "a".repeat(100)];
    expect(swap(["header:authorization"], { headers: [...others, ...before] })).toEqual({
      headers: [...others, ...after],
      path: "/",
      query: "",
      used: [0],
    });
  });

  it.each([
    [`user:${MINE}`, "user:canary-$&-S"],
    [`${MINE}:`, "canary-$&-S:"],
    [`${MINE}:x-oauth-basic`, "canary-$&-S:x-oauth-basic"],
    [`\xfcser:\xe4${MINE}`, "\xfcser:\xe4canary-$&-S"],
  ])("is swapped inside Basic: %j", (before, after) => {
    for (const scheme of ["Basic", "basic", "BASIC"]) {
      const { headers } = swap(["basic"], { headers: ["Authorization", `${scheme}  ${base64(before)} `] });
      expect(headers).toEqual(["Authorization", `${scheme} ${base64(after)}`]);
    }
  });

  it.each([
    [`?key=${MINE}`, "?key=canary-%24%26-S"],
    [`?a=1&key=x%20${MINE}+y&b=%2f`, "?a=1&key=x%20canary-%24%26-S+y&b=%2f"],
    [`?key=${escaped(MINE)}&b`, "?key=canary-%24%26-S&b"],
    [`?%6bey=${MINE}`, "?%6bey=canary-%24%26-S"],
    [`?key=${escaped(ODD)}`, "?key=canary-%24%26-S"],
    [`?key=place+holder%2B%25%26%3D/?%3b:9`, "?key=canary-%24%26-S"],
  ])("is swapped in the query %j", (query, after) => {
    expect(swap(["query:key"], { query })).toMatchObject({ query: after, path: "/", used: [0] });
  });

  it.each([
    [`/bot${MINE}/getMe`, "/botcanary-$&-S/getMe"],
    [`/a/${MINE}`, "/a/canary-$&-S"],
    ["/place%20holder+%25&=%2F", undefined],
  ])("is swapped in the path %j", (path, after) => {
    const sent = swap(["path"], { path });
    expect(sent.path).toBe(after ?? path);
    expect(sent.used).toEqual(after === undefined ? [] : [0]);
  });

  it("may stand in any one of several places", () => {
    const where = ["header:x-api-key", "query:key", "path", "basic"];
    expect(swap(where, { headers: ["X_Api.Key", MINE] }).headers).toEqual(["X_Api.Key", "canary-$&-S"]);
    expect(swap(where, { query: `?key=${MINE}` }).query).toBe("?key=canary-%24%26-S");
  });

  it("may stand beside another one, each for its secret", () => {
    const own = new Map([
      [MINE, { places: places("basic", "query:a"), secret: 0 }],
      [MORE, { places: places("basic", "query:b"), secret: 1 }],
    ]);
    const asked = { headers: ["Authorization", `Basic ${base64(`${MORE}:${MINE}`)}`] };
    const { headers, used } = swap([], asked, "S", own);
    expect(headers).toEqual(["Authorization", `Basic ${base64("second:S")}`]);
    expect([...used].sort()).toEqual([0, 1]);
    expect(swap([], { query: `?b=${MORE}&a=${MINE}` }, "S", own).query).toBe("?b=second&a=S");
  });

  it("brings any byte of the secret where the place can hold it", () => {
    const bytes = Buffer.from([0x61, 0xff, 0x20, 0x80, 0x62]);
    expect(swap(["header:x"], { headers: ["X", MINE] }, bytes).headers[1]).toBe("a\xff \x80b");
    expect(swap(["query:x"], { query: `?x=${MINE}` }, bytes).query).toBe("?x=a%FF%20%80b");
    expect(swap(["path"], { path: `/${MINE}` }, bytes).path).toBe("/a%FF%20%80b");
    const { headers } = swap(["basic"], { headers: ["Authorization", `Basic ${base64(`u:${MINE}`)}`] }, bytes);
    expect(Buffer.from(headers[1]?.slice(6) ?? "", "base64").subarray(2)).toEqual(bytes);
  });

  it.each([
    ["path", { path: `/${MINE}/x` }, "a/b"],
    ["path", { path: `/${MINE}/x` }, ".."],
    ["path", { path: `/x${MINE}/x` }, "\\"],
    ["header:cookie", { headers: ["Cookie", `sid=${MINE}`] }, "a; admin=1"],
    ["header:x", { headers: ["X", MINE] }, " a"],
  ])("refuses what has no place in %s", (where, asked, secret) => {
    expect(() => swap([where], asked, secret)).toThrow(expect.objectContaining({ code: "SOURCE_BAD_VALUE" }));
  });

  it("is left out without harm", () => {
    const asked = { headers: ["Authorization", "Basic !!", "X", "y"], path: "/a", query: "?key=b" };
    expect(swap(["header:authorization", "query:key"], asked)).toEqual({ ...asked, used: [] });
    expect(swap(["query:key"], { query: "?key=%zz%e4+%&=&&;%" }).query).toBe("?key=%zz%e4+%&=&&;%");
  });
});

describe("a placeholder anywhere else is refused", () => {
  const where = ["header:x-api-key", "query:key"];

  it.each<[string, Asked]>([
    ["in another header", { headers: ["X-Other", MINE] }],
    ["in a header's name", { headers: [MINE, "x"] }],
    ["in the header of a longer name", { headers: ["X-Api-Keys", MINE] }],
    ["in the Authorization header", { headers: ["Authorization", `Bearer ${MINE}`] }],
    ["inside Basic", { headers: ["Authorization", `Basic ${base64(`u:${MINE}`)}`] }],
    ["inside Basic of another header", { headers: ["X-Api-Key", `Basic ${base64(`u:${MINE}`)}`] }],
    ["in a cookie", { headers: ["Cookie", `a=1; b=${MINE}`] }],
    ["in the path", { path: `/x/${MINE}` }],
    ["in another parameter", { query: `?other=${MINE}` }],
    ["in a parameter of another case", { query: `?KEY=${MINE}` }],
    ["in a parameter's name", { query: `?${MINE}=1` }],
    ["in a parameter without a value", { query: `?${MINE}` }],
    ["behind a semicolon", { query: `?a=1;key=${MINE}` }],
    ["behind a semicolon in its parameter", { query: `?key=1;other=${MINE}` }],
    ["twice in one header", { headers: ["X-Api-Key", `${MINE},${MINE}`] }],
    ["in two headers of the name", { headers: ["X-Api-Key", MINE, "x-api-key", MINE] }],
    ["twice in one parameter", { query: `?key=${MINE}${MINE}` }],
    ["in the parameter twice", { query: `?key=${MINE}&key=${MINE}` }],
    ["in both of its places", { headers: ["X-Api-Key", MINE], query: `?key=${MINE}` }],
    ["in its place and another", { headers: ["X-Api-Key", MINE, "X-Other", MINE] }],
    ["escaped in a header", { headers: ["X-Api-Key", escaped(MINE)] }],
    ["escaped in another header", { headers: ["Referer", `https://a.test/?key=${escaped(MINE)}`] }],
    ["escaped in the path", { path: `/x/${escaped(MINE)}` }],
    ["escaped twice in the query", { query: `?key=${escaped(MINE).replaceAll("%", "%25")}` }],
    ["escaped in the Unicode way", { query: `?key=%u0070${MINE.slice(1)}` }],
    ["of another route, in a place of this one", { headers: ["X-Api-Key", OTHERS] }],
    ["of another route, somewhere", { query: `?q=${OTHERS}` }],
  ])("%s", (_where, asked) => {
    expect(() => swap(where, asked)).toThrow(MISPLACED);
  });

  it("also where a route swaps nothing", () => {
    for (const asked of [{ headers: ["X", MINE] }, { query: `?a=${ODD.slice(0, 6)}${escaped(ODD.slice(6))}` }]) {
      expect(() => swap([], asked, "S", new Map())).toThrow(/PLACEHOLDER_MISPLACED|misplaced|placeholder/i);
    }
  });

  it("in a parameter that its own text would end", () => {
    expect(() =>
      swap(where, { query: `?key=${ODD.replaceAll("%", "%25").replaceAll("+", "%2b").replaceAll(" ", "+")}` }),
    ).toThrow(MISPLACED);
  });
});

describe("the kind placeholder", () => {
  const problem = (more: Readonly<Record<string, unknown>>): string | undefined =>
    placeholder.fields.safeParse({ kind: "placeholder", in: ["path"], ...more }).error?.issues[0]?.message;

  it.each([
    ["short", "a".repeat(15)],
    ["long", "a".repeat(257)],
    ["with a space at an end", ` ${"a".repeat(20)}`],
    ["not ASCII", `${"a".repeat(20)}ü`],
    ["with a control", `${"a".repeat(20)}\n`],
  ])("refuses a text that is %s", (_name, text) => {
    expect(problem({ placeholder: text })).toContain("16 to 256 printable ASCII");
  });

  it("takes 16 to 256 printable characters", () => {
    for (const text of ["a".repeat(16), "a".repeat(256), `<${" ~".repeat(20)}>`]) {
      expect(problem({ placeholder: text })).toBe(undefined);
    }
  });

  it.each([
    [[], "1 entr"],
    [["body"], "must be header:NAME, basic, query:NAME or path"],
    [["header:"], "must be header:NAME"],
    [["header"], "must be header:NAME"],
    [["cookie:a"], "must be header:NAME"],
    [["header:Host"], "its header is a header that frames"],
    [["header:a b"], "its header must be"],
    [["query:a b"], "its query must be"],
    [["path", "path"], "names a place twice"],
    [["header:X-A", "header:x_a"], "names a place twice"],
  ])("refuses the places %j", (list, message) => {
    const found = problem({ in: list });
    if (list.length > 0) expect(found).toContain(message);
    else expect(found).toBeDefined();
  });
});
