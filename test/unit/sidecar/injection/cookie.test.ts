/** What becomes of the agent's cookies where we set one: ours once and first, its copies gone, the others as they were. */
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { setCookie } from "../../../../src/sidecar/injection/cookie.ts";
import { cookie } from "../../../../src/sidecar/injection/kinds/cookie.ts";
import { foldParameterName } from "../../../../src/sidecar/injection/parameter-name.ts";

/** The headers afterwards. */
const set = (...cookies: readonly string[]): string[] => {
  const headers = ["Accept", "*/*", ...cookies.flatMap((value, i) => [i % 2 === 0 ? "Cookie" : "COOKIE", value])];
  setCookie(headers, foldParameterName("session"), "session=S");
  return headers;
};

const only = (value: string): string[] => ["Accept", "*/*", "Cookie", value];

describe("the cookies", () => {
  it("are ours alone where the agent has none", () => {
    expect(set()).toEqual(only("session=S"));
    expect(set("")).toEqual(only("session=S"));
  });

  it.each([
    "a=1",
    "a=1; b=2",
    "a=1;b=2;",
    ' a="x; y, z" ;;  b==',
    "sessions=1; my_session=2; ses-sion=3",
    "a=session; b=session=1",
    "a=hello session",
    "a=1, b=2 c",
    "\xfc=\xe4",
  ])("keep the agent's %j byte for byte", (value) => {
    expect(set(value)).toEqual(only(`session=S; ${value}`));
  });

  it("become one header, in their order", () => {
    expect(set("a=1", "b=2; session=x", "session=y", "c=3")).toEqual(only("session=S; a=1; b=2; c=3"));
  });

  it.each([
    "session=agent",
    "session",
    "session=",
    "SESSION=x",
    "Session=x=y",
    "%73ession=x",
    "ses%73ion=x",
    "session[]=x",
    "session[a]=x",
    "session%00=x",
    'session="x"',
    "session =x",
    "session= x y",
    " session\t = x",
  ])("lose the agent's %s, wherever it stands", (copy) => {
    expect(set(copy)).toEqual(only("session=S"));
    expect(set(`${copy}; a=1`)).toEqual(only("session=S; a=1"));
    expect(set(`a=1; ${copy}`)).toEqual(only("session=S; a=1"));
    expect(set(`a=1;${copy};b=2`)).toEqual(only("session=S; a=1;b=2"));
    expect(set(`a=1; ${copy}; ${copy}; b=2`, copy)).toEqual(only("session=S; a=1; b=2"));
  });

  it("lose what only old servers take for a cookie of that name", () => {
    expect(set("a=1, session=x")).toEqual(only("session=S; a=1"));
    expect(set("a=1 session=x b=2")).toEqual(only("session=S; a=1 b=2"));
    expect(set('a="1; session=x"; b=2')).toEqual(only('session=S; a="1; b=2'));
    expect(set("a=1\tsession=x")).toEqual(only("session=S; a=1"));
    expect(set("a=1, session \t=x, b=2")).toEqual(only("session=S; a=1, b=2"));
    expect(set("a, session =x")).toEqual(only("session=S; a"));
    expect(set("session,session=x; a")).toEqual(only("session=S; a"));
  });

  it("take no longer than their length allows, whatever they are made of", () => {
    const long = (piece: string): string => piece.repeat(60_000 / piece.length);
    const spaced = `a${long(" ")}b=1`;
    for (const cookies of [..." ,;a=%".split("").map(long), long("; "), long("= "), long(" ="), long("%73"), spaced]) {
      const before = process.cpuUsage();
      set(cookies);
      // Quadratic time is seconds, and other processes don't count.
      expect(process.cpuUsage(before).user / 1000, cookies.slice(0, 5)).toBeLessThan(500);
    }
  });
});

describe("the kind cookie", () => {
  const injector = cookie.create(cookie.fields.parse({ kind: "cookie", name: "session" }));
  const plan = (value: string | Buffer) =>
    injector.plan({ method: "GET", path: "/", query: "" }, new SecretValue(Buffer.from(value)));

  it("sends the secret as it is", () => {
    expect(plan("a.b-c=/+:'!~")).toEqual({ to: "cookie", name: "session", pair: "session=a.b-c=/+:'!~" });
  });

  it.each(["a b", " a", 'a"b', "a,b", "a;b=c", "a\\b", "ü", Buffer.from([0x61, 0xff])])(
    "refuses %j, which no cookie can hold, and says nothing of it",
    (value) => {
      expect(() => plan(value)).toThrow(expect.objectContaining({ code: "SOURCE_BAD_VALUE" }));
    },
  );

  it.each(["", "a b", "a=b", "a;b", "a,b", "ü", "a".repeat(129)])("refuses the name %j", (name) => {
    expect(cookie.fields.safeParse({ kind: "cookie", name }).success).toBe(false);
  });
});
