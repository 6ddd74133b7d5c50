/** What becomes of a query in which we set a parameter: ours once, the agent's copies gone, every other byte as it was. */
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { query } from "../../../../src/sidecar/injection/kinds/query.ts";
import { foldParameterName } from "../../../../src/sidecar/injection/parameter-name.ts";
import { setParameter } from "../../../../src/sidecar/injection/query.ts";

const set = (text: string, name = "api_key"): string => setParameter(text, foldParameterName(name), "api_key=S");

describe("the query", () => {
  it.each([
    ["", "?api_key=S"],
    ["?", "?api_key=S"],
    ["?a=1", "?a=1&api_key=S"],
    ["?a=1&&b=%2f+%20&c", "?a=1&&b=%2f+%20&c&api_key=S"],
    ["?a=1&", "?a=1&&api_key=S"],
    ["?&", "?&&api_key=S"],
    ["?a;b=2;;c=%zz", "?a;b=2;;c=%zz&api_key=S"],
    ["?q=api_key=x", "?q=api_key=x&api_key=S"],
    ["?q=api_key", "?q=api_key&api_key=S"],
    ["?api_keys=1&my_api_key=2&apikey=3&key=4", "?api_keys=1&my_api_key=2&apikey=3&key=4&api_key=S"],
  ])("%j keeps what is the agent's: %j", (before, after) => {
    expect(set(before)).toBe(after);
  });

  it.each([
    "api_key=agent",
    "api_key",
    "api_key=",
    "api_key=a=b",
    "API_KEY=x",
    "Api_Key=x",
    "api%5Fkey=x",
    "api%5fkey=x",
    "%61pi_key=x",
    "%61%70%69%5F%6B%65%79=x",
    "%2561pi_key=x",
    "%u0061pi_key=x",
    "api-key=x",
    "api.key=x",
    "api+key=x",
    "api%20key=x",
    "+api_key=x",
    "%20api_key%20=x",
    "%09api_key=x",
    "?api_key=x",
    "api_key[]=x",
    "api_key[0]=x",
    "api_key%5Ba%5D=x",
    "api_key+[]=x",
    "api[key=x",
    "api_key%00=x",
    "api_key%00.x=x",
    "%00api_key=x",
    "api%00_key=x",
    "api_key%0d%0a=x",
  ])("loses the agent's %s, wherever it stands", (copy) => {
    expect(set(`?${copy}`)).toBe("?api_key=S");
    expect(set(`?${copy}&a=1`)).toBe("?a=1&api_key=S");
    expect(set(`?a=1&${copy}`)).toBe("?a=1&api_key=S");
    expect(set(`?a=1&${copy}&b=2`)).toBe("?a=1&b=2&api_key=S");
    expect(set(`?${copy}&${copy}&a=1&${copy};${copy}`)).toBe("?a=1&api_key=S");
    expect(set(`?a=1;${copy};b=2`)).toBe("?a=1;b=2&api_key=S");
  });

  it("takes a name with brackets of the file for that name alone", () => {
    expect(set("?auth[key]=x&auth%5Bkey%5D=y&auth[user]=z", "auth[key]")).toBe("?auth[user]=z&api_key=S");
  });
});

describe("the kind query", () => {
  const parameter = (name: string, secret: Buffer): string => {
    const injector = query.create(query.fields.parse({ kind: "query", name }));
    const patch = injector.plan({ method: "GET", path: "/", query: "" }, new SecretValue(secret));
    if (patch.to !== "query") throw new Error(patch.to);
    return patch.parameter;
  };

  it("lets every byte of a secret arrive", () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const [name = "", value = ""] = parameter("key", all).split("=");
    expect(name).toBe("key");
    expect(value).toMatch(/^[A-Za-z0-9\-._~%]*$/);
    const bytes = value.replace(/%(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
    expect(Buffer.from(bytes, "latin1").equals(all)).toBe(true);
  });

  it("writes the name encoded, as far as it must be", () => {
    expect(parameter("api_key", Buffer.from("a b"))).toBe("api_key=a%20b");
    expect(parameter("auth[key]", Buffer.from("x&y=z"))).toBe("auth%5Bkey%5D=x%26y%3Dz");
  });

  it("counts what goes over the wire as derived", () => {
    const injector = query.create(query.fields.parse({ kind: "query", name: "key" }));
    expect(injector.derived(SecretValue.fromText("a/b+c")).map(String)).toEqual(["a%2Fb%2Bc"]);
  });

  it.each(["", " ", "a b", "a\nb", "é", "a".repeat(129)])("refuses the name %j", (name) => {
    expect(query.fields.safeParse({ kind: "query", name }).success).toBe(false);
  });
});
