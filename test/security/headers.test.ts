/**
 * What an agent writes into headers to get around the credential or the policy: spellings of the injected name (D1), our
 * own and the proxy's headers (D4), names listed in Connection (C5), headers that stand for another method, host or path
 * (B16), and parts or codings of an answer that could not be scrubbed (A6, A7).
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, failuresOf } from "../support/attack.ts";
import { CANARIES, openStage, type Stage } from "../support/oracles.ts";
import type { StrictRequest } from "../support/strict-upstream.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

let count = 0;

/** Sends these lines and returns what arrived, or what became of it instead. */
const send = async (lines: string, authority = "api.test", method = "GET"): Promise<StrictRequest | string> => {
  const path = `/headers/${++count}`;
  const connection = await stage.tunnel(`${authority}:443`);
  const host = `Host: ${authority}\r\n`;
  const fate = await attack(connection, [`${method} ${path} HTTP/1.1\r\n${host}${lines}\r\n`], {
    method,
    followUp: `GET /after HTTP/1.1\r\n${host}\r\n`,
  });
  if (fate !== "forwarded") return fate;
  const { requests } = authority === "api.test" ? stage.api : stage.other;
  return requests.find((request) => request.path === path) ?? "forwarded, and not got";
};

/** Sends each and expects that it arrives with nothing of it but what `allowed` names. */
const expectDropped = async (cases: readonly string[], authority = "api.test"): Promise<void> => {
  const failures = await failuresOf(cases, async (lines) => {
    const received = await send(lines, authority);
    if (typeof received === "string") return received;
    const names = received.headers.map(([name]) => name.toLowerCase());
    const key = authority === "api.test" ? "authorization" : "x-api-key";
    const left = names.filter((name) => !["host", "connection", "accept-encoding", key].includes(name));
    return left.length === 0 && new Set(names).size === names.length ? undefined : received.head;
  });
  expect(failures).toEqual([]);
};

const spellings = (...names: readonly string[]): string[] => names.map((name) => `${name}: agent\r\n`);

describe("the injected header", () => {
  const AUTHORIZATION = [
    ...spellings("authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION", "AuThOrIzAtIoN"),
    "Authorization: Bearer agent\r\nAuthorization: Bearer second\r\nauthorization: third\r\n",
    "Authorization:\r\n",
    "Authorization: \r\nauthorization: x\r\n",
    `Authorization: ${"x".repeat(8_000)}\r\n`,
    "Authorization: Bearer agent, Bearer more\r\n",
    "Connection: authorization\r\nAuthorization: x\r\n",
    "Connection: AUTHORIZATION, accept-encoding\r\n",
  ];
  const API_KEY = [
    ...spellings(
      "X-Api-Key",
      "x-api-key",
      "X-API-KEY",
      "X_Api_Key",
      "x_api-key",
      "X-Api_Key",
      "x_api_key",
      "X_API_KEY",
    ),
    ...spellings(
      "X.Api.Key",
      "X~Api~Key",
      "X!Api!Key",
      "X*Api-Key",
      "X'Api'Key",
      "X+Api+Key",
      "X|Api|Key",
      "X^Api-Key",
      "X`Api`Key",
    ),
    ...spellings("X#Api#Key", "X$Api$Key", "X%Api%Key", "X&Api&Key"),
    "X_Api_Key: a\r\nX-Api-Key: b\r\nx-API-key: c\r\n",
    "Connection: X-Api-Key\r\nX-Api-Key: a\r\n",
    "Connection: x_api_key\r\n",
  ];

  it("is in 30 ways the agent's, and leaves once, as ours", async () => {
    expect(new Set([...AUTHORIZATION, ...API_KEY]).size).toBeGreaterThan(30);
    await expectDropped(AUTHORIZATION);
    await expectDropped(API_KEY, "other.test");
  });

  it("is not made by names that are no spelling of it: they leave as they are", async () => {
    for (const name of ["X-Api-Keys", "XApiKey", "X-Api--Key", "Api-Key", "X-Authorization"]) {
      const received = await send(`${name}: agent\r\n`, "other.test");
      expect(typeof received === "string" ? received : received.header(name)).toEqual(["agent"]);
    }
  });

  it("cannot be written with a broken line", async () => {
    const broken = [
      "Authorization : x",
      " Authorization: x",
      "Authorization\t: x",
      "Author\x00ization: x",
      "Authorization",
      "Authorization\x0b: x",
    ];
    const more = [
      "X: a\nAuthorization: x",
      "X: a\rAuthorization: x",
      "X: a\r\n Authorization: x",
      "Authorization: a\x00b",
      ": x",
      "Authorization: a\r\n b",
    ];
    const failures = await failuresOf([...broken, ...more], async (line) => {
      const fate = await send(`${line}\r\n`);
      return fate === "refused INGRESS_BAD_REQUEST" ? undefined : JSON.stringify(fate);
    });
    expect(failures).toEqual([]);
  });
});

describe("headers that end at the proxy", () => {
  it("do not leave: the proxy's own, ours, the connection's", () =>
    expectDropped([
      ...spellings(
        "Proxy-Authorization",
        "proxy-authorization",
        "Proxy_Authorization",
        "Proxy-Connection",
        "Proxy-Authenticate",
      ),
      ...spellings(
        "X-Sidekey-Agent",
        "x-sidekey-token",
        "X_Sidekey_Route",
        "X-SIDEKEY-ERROR",
        "x-sidekey_x",
        "X.Sidekey.Agent",
      ),
      ...spellings("TE", "Trailer", "Keep-Alive", "HTTP2-Settings", "Proxy"),
      "TE: trailers\r\nConnection: TE\r\n",
      "Connection: close, X-Sidekey-Agent\r\nX-Sidekey-Agent: x\r\n".replace("close, ", ""),
    ]));

  it("are the agent's reason, which goes on record alone", async () => {
    const reason = "the monthly report <b> ^[31m";
    const received = await send(`X-Sidekey-Reason: ${reason}\r\n`);
    expect(typeof received === "string" ? received : received.head.toLowerCase()).not.toMatch(/reason|monthly/);
    const connection = await stage.tunnel();
    connection.send(`GET /forbidden/it HTTP/1.1\r\nHost: api.test\r\nx-sidekey-reason: ${reason}\r\n\r\n`);
    expect((await connection.receive()).status).toBe(403);
    const told = async (): Promise<unknown[]> =>
      (await stage.sidecar.audit())
        .filter((record) => record["reason"] === reason)
        .map(({ type, path }) => [type, path]);
    await expect.poll(told).toEqual([
      ["intent", `/headers/${count}`],
      ["refusal", "/forbidden/it"],
    ]);
  });

  it("are those that Connection lists, in every spelling, and none that frames or routes", async () => {
    await expectDropped([
      "Connection: X-One\r\nX-One: a\r\n",
      "Connection: x-one\r\nX-ONE: a\r\nX_One: b\r\nX.One: c\r\n",
      "Connection: X_One\r\nX-One: a\r\n",
      "Connection: X-One, X-Two ,X-Three\r\nX-One: a\r\nX-Two: b\r\nX-Three: c\r\n",
      "Connection: X-One\r\nConnection: X-Two\r\nX-One: a\r\nX-Two: b\r\n",
      "Connection: ,,X-One,,\r\nX-One: a\r\n",
      "Connection: keep-alive, User-Agent, Cookie\r\nUser-Agent: a\r\nCookie: b\r\n",
    ]);
    const refused = [
      "Host",
      "host",
      "HOST",
      "Content-Length",
      "content_length",
      "Transfer-Encoding",
      "Transfer.Encoding",
      "x, Host",
      "close, Host ,y",
    ];
    const failures = await failuresOf(refused, async (listed) => {
      const fate = await send(`Connection: ${listed}\r\n`);
      return fate === "refused INGRESS_BAD_REQUEST" ? undefined : JSON.stringify(fate);
    });
    expect(failures).toEqual([]);
  });

  it("are what speaks for another method, host or path than policy saw", () =>
    expectDropped([
      ...spellings(
        "X-HTTP-Method-Override",
        "x-http-method-override",
        "X_HTTP_Method_Override",
        "X-HTTP-Method",
        "X-Method-Override",
      ),
      ...spellings(
        "X-Original-URL",
        "X_Original_URL",
        "X-Rewrite-URL",
        "X-Original-URI",
        "X-Original-Host",
        "X-Original-Method",
      ),
      ...spellings(
        "X-Forwarded-Host",
        "X_Forwarded_Host",
        "X-Forwarded-Server",
        "X-Host",
        "X-HTTP-Host-Override",
        "X-Forwarded-URI",
      ),
      ...spellings(
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Forwarded-Scheme",
      ),
      ...spellings(
        "X-Envoy-Original-Path",
        "X-Script-Name",
        "Front-End-Https",
        "X-URL-Scheme",
        "Forwarded",
        "FORWARDED",
        "Alt-Used",
      ),
      "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /forbidden/x\r\nX-Forwarded-Host: evil.test\r\n",
    ]));

  it("are what could make an answer that cannot be scrubbed", async () => {
    for (const [lines, offered] of [
      // What we offer is ours, never the agent's bytes.
      ["Accept-Encoding: br, zstd\r\n", "gzip, deflate, br"],
      ["accept_encoding: gzip\r\n", "gzip, deflate, br"],
      ["Accept-Encoding: zstd, dcb, compress\r\n", "identity"],
      ["Range: bytes=0-9\r\n", "identity"],
      ["If-Range: x\r\n", "identity"],
      ["A-IM: feed\r\n", "identity"],
      ["Range_: x\r\n", "identity"],
    ] as const) {
      const received = await send(lines);
      const encodings = typeof received === "string" ? received : received.header("accept-encoding");
      expect(encodings).toEqual([offered]);
      expect(typeof received === "string" || received.header("range").length + received.header("if-range").length).toBe(
        0,
      );
    }
  });
});

describe("a HEAD or an OPTIONS", () => {
  it("carries the credential like any other, and its answer no more of it", async () => {
    for (const method of ["HEAD", "OPTIONS", "PROPFIND", "SEARCH", "QUERY"]) {
      const received = await send("Authorization: mine\r\n", "api.test", method);
      expect(typeof received === "string" ? received : received.header("authorization")).toEqual([
        `Bearer ${CANARIES.api}`,
      ]);
    }
  });

  it("is no TRACE: that one is refused, whatever Max-Forwards says", async () => {
    for (const lines of ["", "Max-Forwards: 0\r\n", "Max-Forwards: 1\r\n"]) {
      expect(await send(lines, "api.test", "TRACE")).toBe("refused INGRESS_METHOD_REFUSED");
    }
  });
});
