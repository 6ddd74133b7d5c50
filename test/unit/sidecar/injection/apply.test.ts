import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import {
  applyInjections,
  buildHeaders,
  createInjectionRules,
  type HeaderRules,
  passthroughRules,
} from "../../../../src/sidecar/injection/apply.ts";
import type { SetInjector } from "../../../../src/sidecar/injection/injector.ts";
import { basic } from "../../../../src/sidecar/injection/kinds/basic.ts";
import { bearer } from "../../../../src/sidecar/injection/kinds/bearer.ts";
import { header } from "../../../../src/sidecar/injection/kinds/header.ts";

const target = { method: "GET", path: "/", query: "" };
const secret = SecretValue.fromText("canary-$&-value");

const pairs = (flat: readonly string[]): [string, string][] => {
  const list: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i] as string, flat[i + 1] as string]);
  return list;
};

/** The headers of a request with one injection. */
const withCredential = (
  sent: readonly string[],
  rules: HeaderRules,
  connection: string | undefined,
  injector: SetInjector,
): string[] => {
  const headers = buildHeaders(sent, rules, connection);
  applyInjections(headers, target, [{ injector, secret: 0 }], [{ value: SecretValue.fromText("S") }]);
  return headers;
};

/** Of the header that a kind sets. */
const headerValue = (injector: SetInjector, value: SecretValue): string => {
  const patch = injector.plan(target, value);
  if (patch.to !== "header") throw new Error(`writes to the ${patch.to}`);
  return patch.value;
};

describe("what leaves on an injected route", () => {
  it("has exactly one credential header, whatever spellings the agent sent", () => {
    const rules = createInjectionRules(["x-api-key"]);
    const sent = [
      ["x-api-key", "a"],
      ["X-Api-Key", "b"],
      ["X_Api_Key", "c"],
      ["x_api-key", "d"],
      ["X-API_KEY", "e"],
      ["api-key", "kept"],
    ].flat();
    const built = pairs(
      withCredential(sent, rules, undefined, header.create(header.fields.parse({ kind: "header", name: "X-Api-Key" }))),
    );
    expect(built.filter(([name]) => name.toLowerCase().replaceAll("_", "-") === "x-api-key")).toEqual([
      ["X-Api-Key", "S"],
    ]);
    expect(built).toContainEqual(["api-key", "kept"]);
  });

  it("holds no hop-by-hop, framing, override or sidekey header, nor a coding we cannot read", () => {
    const sent = [
      "Proxy-Authorization",
      "Proxy-Connection",
      "Connection",
      "Keep-Alive",
      "TE",
      "Trailer",
      "Upgrade",
      "Transfer-Encoding",
      "Content-Length",
      "Host",
      "Expect",
      "Range",
      "If-Range",
      "Accept-Encoding",
      "X-HTTP-Method-Override",
      "X_Http_Method_Override",
      "X-Original-URL",
      "X-Forwarded-Host",
      "Forwarded",
      "x-sidekey-anything",
      "X_Sidekey_Other",
      "HTTP2-Settings",
    ].flatMap((name) => [name, "v"]);
    expect(buildHeaders(sent, createInjectionRules(["authorization"]), undefined)).toEqual([
      "accept-encoding",
      "identity",
    ]);
  });

  it("drops what Connection lists before the credential is set, so that the credential cannot be listed away", () => {
    const built = pairs(
      withCredential(
        ["X-Trace", "1", "Accept", "*/*"],
        createInjectionRules(["authorization"]),
        "x-trace, Authorization",
        bearer.create(bearer.fields.parse({ kind: "bearer" })),
      ),
    );
    expect(built).toEqual([
      ["Accept", "*/*"],
      ["accept-encoding", "identity"],
      ["Authorization", "Bearer S"],
    ]);
  });
});

describe("Accept-Encoding on an injected route", () => {
  const sends = (sent: readonly string[], allowRange = false): string | undefined => {
    const built = pairs(buildHeaders(sent, createInjectionRules(["authorization"], allowRange), undefined));
    expect(built.filter(([name]) => name === "accept-encoding")).toHaveLength(1);
    return built.find(([name]) => name === "accept-encoding")?.[1];
  };

  it.each(["gzip", "deflate, zstd", "br;q=0.001", "*", "identity;q=0, X-GZIP", "zstd , gzip ;q=1.0"])(
    "offers what we decode to an agent that says %j",
    (value) => {
      expect(sends(["Accept-Encoding", value])).toBe("gzip, deflate, br");
    },
  );

  it.each(["", "identity", "zstd", "gzip;q=0", "br; Q=0.000, gzip ; q = 0", "gzipped", "compress, x-foo"])(
    "is identity for an agent that says %j",
    (value) => {
      expect(sends(["Accept-Encoding", value])).toBe("identity");
    },
  );

  it("is identity without a word from the agent, and with allow_range where it asks for a part", () => {
    expect(sends([])).toBe("identity");
    expect(sends(["Accept-Encoding", "gzip", "Range", "bytes=0-1"], true)).toBe("identity");
    expect(sends(["Accept-Encoding", "gzip", "Range", "bytes=0-1"], false)).toBe("gzip, deflate, br");
  });

  it("leaves Range and If-Range with allow_range alone", () => {
    const sent = ["Range", "bytes=0-1", "If-Range", '"a"', "RANGE_", "x"];
    const names = (allowRange: boolean): string[] =>
      pairs(buildHeaders(sent, createInjectionRules([], allowRange), undefined)).map(([name]) => name);
    expect(names(false)).toEqual(["RANGE_", "accept-encoding"]);
    expect(names(true)).toEqual(["Range", "If-Range", "RANGE_", "accept-encoding"]);
  });
});

describe("what leaves without a credential", () => {
  it("keeps the agent's own Authorization, Range and Accept-Encoding", () => {
    const sent = ["Authorization", "own", "Range", "bytes=0-1", "Accept-Encoding", "gzip", "Proxy-Authorization", "x"];
    expect(buildHeaders(sent, passthroughRules, undefined)).toEqual(sent.slice(0, 6));
  });
});

describe("injection kinds", () => {
  it("bearer sends the secret's bytes literally", () => {
    const injector = bearer.create(bearer.fields.parse({ kind: "bearer" }));
    expect(injector.plan(target, secret)).toEqual({
      to: "header",
      name: "Authorization",
      value: "Bearer canary-$&-value",
    });
    expect(injector.places).toEqual([{ in: "header", name: "Authorization" }]);
  });

  it("basic sends username and secret, and counts the blob as derived", () => {
    const injector = basic.create(basic.fields.parse({ kind: "basic", username: "x-access-token" }));
    const blob = Buffer.from("x-access-token:canary-$&-value").toString("base64");
    expect(headerValue(injector, secret)).toBe(`Basic ${blob}`);
    expect(injector.derived(secret).map(String)).toEqual([blob]);
  });

  it("basic without username takes the secret as user:password and guards the password alone too", () => {
    const injector = basic.create(basic.fields.parse({ kind: "basic" }));
    const pair = SecretValue.fromText("user:pass:word");
    expect(headerValue(injector, pair)).toBe(`Basic ${Buffer.from("user:pass:word").toString("base64")}`);
    expect(injector.derived(pair).map(String)).toContain("pass:word");
  });

  it("header puts the secret into its format once, as it is", () => {
    const injector = header.create(header.fields.parse({ kind: "header", name: "X-Api-Key", format: "key={secret};" }));
    expect(injector.plan(target, secret)).toEqual({ to: "header", name: "X-Api-Key", value: "key=canary-$&-value;" });
  });

  it("bytes beyond ASCII reach the header one char per byte", () => {
    const injector = bearer.create(bearer.fields.parse({ kind: "bearer" }));
    const value = headerValue(injector, SecretValue.fromText("schlüssel"));
    expect(Buffer.from(value, "latin1").toString("utf8")).toBe("Bearer schlüssel");
  });

  it.each([
    ["header", { kind: "header", name: "Host" }],
    ["header", { kind: "header", name: "content-length" }],
    ["header", { kind: "header", name: "Proxy-Authorization" }],
    ["header", { kind: "header", name: "X-Sidekey-Error" }],
    ["header", { kind: "header", name: "bad name" }],
    ["header", { kind: "header", name: "X", format: "no place" }],
    ["header", { kind: "header", name: "X", format: "{secret}{secret}" }],
    ["header", { kind: "header", name: "X", format: "{secret}\n" }],
    ["basic", { kind: "basic", username: "a:b" }],
    ["bearer", { kind: "bearer", nmae: "x" }],
  ])("%s refuses %j", (kind, fields) => {
    const schema = { header, basic, bearer }[kind]?.fields;
    expect(schema?.safeParse(fields).success).toBe(false);
  });
});
