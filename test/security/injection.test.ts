/**
 * What an agent writes beside a credential in the query, in a cookie or in the path, so that a server takes the agent's for
 * it; where it takes its placeholder, so that the secret lands where it is echoed or stored. What left is judged as
 * servers would read it: by readers of the platform and of our own that share nothing with what set it.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failuresOf } from "../support/attack.ts";
import { type InjectionStage, openInjectionStage } from "../support/injection-stage.ts";
import { openConnection } from "../support/raw-client.ts";
import { COOKIE_READERS, QUERY_READERS } from "../support/servers.ts";

const KEY = "canary&=%+;5d1f0c93b7e84a26";
const SID = "canary-91ab6e72c0d35f48";
const OWN = "agents-own";
const MINE = "placeholder-0123456789";

let stage: InjectionStage;
beforeAll(async () => {
  stage = await openInjectionStage({
    secrets: { key: KEY, sid: SID },
    routes: {
      "/query": "secret: key, inject: { kind: query, name: api_key }",
      "/cookie": "secret: sid, inject: { kind: cookie, name: session_id }",
      "/path": 'secret: sid, inject: { kind: path, format: "/bot{secret}" }, deny: ["* /path/admin/**"]',
      "/swap": `secret: sid, inject: { kind: placeholder, placeholder: ${MINE}, in: ["header:X-Api-Key", basic, "query:key", path] }`,
      "/all": `inject: [{ kind: query, name: api_key, secret: key }, { kind: cookie, name: session_id, secret: sid }, { kind: header, name: X-Key, secret: sid }]`,
    },
  });
});
afterAll(() => stage.close());

/** So that what the upstream got is told from what it got for another case. */
const ONE_BY_ONE = 1;

const QUERIES: readonly string[] = [
  ...["api_key", "API_KEY", "Api_Key", "api%5fkey", "%61pi_key", "%61%70%69%5F%6B%65%79", "%2561pi_key", "api%255fkey"],
  ...["api.key", "api+key", "api%20key", "+api_key", "%20api_key", "%09api_key", "api_key%20", "api[key", "api%5bkey"],
  ...[
    "api_key[]",
    "api_key[0]",
    "api_key%5B%5D",
    "api_key[a][b]",
    "api_key%00",
    "api_key%00x",
    "?api_key",
    "%3fapi_key",
  ],
].flatMap((name) => [
  `?${name}=${OWN}`,
  `?${name}`,
  `?${name}=`,
  `?a=1&${name}=${OWN}&b=2`,
  `?${name}=${OWN}&${name}=${OWN}`,
  `?a=1;${name}=${OWN}`,
  `?&&${name}=${OWN}&`,
  `?${name}=${OWN}=${OWN}&api_key=${OWN};api_key=${OWN}`,
]);

describe("a parameter of the agent's own", () => {
  it(`is found by no server beside ours, in ${QUERIES.length} spellings`, async () => {
    const failures = await failuresOf(
      QUERIES,
      async (query) => {
        const { received, code } = await stage.ask(`/query/x${query}`);
        if (received === undefined) return `refused ${code}`;
        const sent = received.path.slice(received.path.indexOf("?") + 1);
        if (received.path.includes(OWN)) return received.path;
        for (const [name, read] of Object.entries(QUERY_READERS)) {
          const values = read(sent, "api_key");
          if (values.join() !== KEY) return `${name} reads ${JSON.stringify(values)} in ${sent}`;
        }
        return undefined;
      },
      ONE_BY_ONE,
    );
    expect(failures).toEqual([]);
  });

  it("of another name stays, byte for byte, and so does their order", async () => {
    const queries = [
      "?b=2&a=1",
      "?a=%e4+%20;&&=&=x&b",
      "?xapi_key=1&api_keyx=2",
      "?q=api_key%3Dx",
      "?a[api_key]=1",
      "?a=&a=",
    ];
    const failures = await failuresOf(
      queries,
      async (query) => {
        const { received } = await stage.ask(`/query/x${query}`);
        return received?.path.startsWith(`/query/x${query}&api_key=`) === true ? undefined : received?.path;
      },
      ONE_BY_ONE,
    );
    expect(failures).toEqual([]);
  });
});

const COOKIES: readonly string[] = [
  ...[
    "session_id",
    "SESSION_ID",
    "Session_Id",
    "%73ession_id",
    "session%5fid",
    "session.id",
    "session_id[]",
    "session_id[a]",
  ],
].flatMap((name) => [
  `${name}=${OWN}`,
  `${name}="${OWN}"`,
  `a=1; ${name}=${OWN}`,
  `a=1;${name}=${OWN};b=2`,
  `${name}=${OWN}; ${name}=${OWN}`,
  `a="x; ${name}=${OWN}"`,
  `a=x, ${name}=${OWN}`,
  `a=x ${name}=${OWN}`,
  `a=x\t${name}=${OWN}; b="`,
  ` ; ; ${name} =${OWN}`,
]);

describe("a cookie of the agent's own", () => {
  it(`is found by no server beside ours, in ${COOKIES.length} spellings`, async () => {
    const failures = await failuresOf(
      COOKIES,
      async (cookies) => {
        const { received, code } = await stage.ask("/cookie/x", [`Cookie: ${cookies}`, `cookie: ${cookies}`]);
        if (received === undefined) return `refused ${code}`;
        const headers = received.header("cookie");
        if (headers.length !== 1) return `${headers.length} headers`;
        const [sent = ""] = headers;
        for (const [name, read] of Object.entries(COOKIE_READERS)) {
          const values = read(sent, "session_id");
          if (values.join() !== SID) return `${name} reads ${JSON.stringify(values)} in ${sent}`;
        }
        return undefined;
      },
      ONE_BY_ONE,
    );
    expect(failures).toEqual([]);
  });

  it("does not take ours away by Connection, nor does a parameter or a header", async () => {
    for (const listed of ["Cookie", "cookie, X-Key", "X_KEY", "api_key"]) {
      const { received } = await stage.ask("/all/x", [`Connection: ${listed}`, "Cookie: a=1", `X_Key: ${OWN}`]);
      expect(received?.header("cookie").join()).toContain(`session_id=${SID}`);
      expect(received?.header("x-key")).toEqual([SID]);
      expect(received?.header("x_key")).toEqual([]);
      expect(received?.path).toBe(`/all/x?api_key=${encodeURIComponent(KEY)}`);
    }
  });
});

describe("a prefix of the path", () => {
  it("changes nothing about what policy refuses", async () => {
    const paths = [
      "/path/admin/x",
      "/path/%61dmin/x",
      "/path/admin;x/y",
      "/path/../admin",
      "/path//admin",
      "/bot/path/x",
    ];
    const failures = await failuresOf(
      [...paths, `/bot${OWN}/path/x`, "/path/..%2fadmin"],
      async (path) => {
        const { received, code } = await stage.ask(path);
        return received === undefined && code !== undefined ? undefined : received?.path;
      },
      ONE_BY_ONE,
    );
    expect(failures).toEqual([]);
  });

  it("stands before the very path that policy saw", async () => {
    for (const [path, seen] of [
      ["/path/x", "/path/x"],
      ["/path/%78%2D?a=1", "/path/x-?a=1"],
      [`/path/bot${SID.slice(0, 5)}`, "/path/botcanar"],
    ]) {
      expect((await stage.ask(path ?? "")).received?.path).toBe(`/bot${SID}${seen}`);
    }
  });
});

const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("a placeholder", () => {
  it.each<[string, string, readonly string[]]>([
    ["another header", "/swap/x", [`User-Agent: ${MINE}`]],
    ["a header that upstreams log", "/swap/x", [`Referer: https://a.test/?key=${MINE}`]],
    ["a cookie", "/swap/x", [`Cookie: key=${MINE}`]],
    ["a header's name", "/swap/x", [`${MINE}: x`]],
    ["Authorization as it is", "/swap/x", [`Authorization: Bearer ${MINE}`]],
    ["another parameter", `/swap/x?q=${MINE}`, []],
    ["a parameter's name", `/swap/x?${MINE}=1`, []],
    ["the parameter in another case", `/swap/x?KEY=${MINE}`, []],
    ["a nested parameter", `/swap/x?a[key]=${MINE}`, []],
    ["two places", `/swap/x?key=${MINE}`, [`X-Api-Key: ${MINE}`]],
    ["one place twice", "/swap/x", [`X-Api-Key: ${MINE} ${MINE}`]],
    ["two headers of one name", "/swap/x", [`X-Api-Key: ${MINE}`, `x_api_key: ${MINE}`]],
    ["both parts of Basic", "/swap/x", [`Authorization: Basic ${base64(`${MINE}:${MINE}`)}`]],
    ["two Basic headers", "/swap/x", Array(2).fill(`Authorization: Basic ${base64(`a:${MINE}`)}`)],
    ["a path and a header", `/swap/${MINE}`, [`X-Api-Key: ${MINE}`]],
    ["an escape of an escape", `/swap/x?key=%2570${MINE.slice(1)}`, []],
    ["another route", `/query/x?q=${MINE}`, []],
    ["a path of another route", `/query/${MINE}`, []],
    ["Basic on another route", "/query/x", [`Authorization: Basic ${base64(`a:${MINE}`)}`]],
  ])("in %s is refused, and nothing leaves", async (_place, target, lines) => {
    const before = stage.upstream.requests.length;
    const { status, code, body } = await stage.ask(target, lines);
    expect([status, code]).toEqual([403, "INJECT_PLACEHOLDER_MISPLACED"]);
    expect(body.toString()).not.toContain("canary");
    expect(stage.upstream.requests).toHaveLength(before);
  });

  it("moved by a header that is dropped is not moved at all", async () => {
    const lines = ["Connection: X-Hop", `X-Hop: ${MINE}`, `Proxy-Authorization: Basic ${base64(`a:${MINE}`)}`];
    const { received } = await stage.ask("/swap/x", [...lines, `X-Api-Key: ${MINE}`]);
    expect(received?.header("x-api-key")).toEqual([SID]);
    expect(stage.upstream.transcript()).not.toContain(MINE);
  });

  it("in a body is not the secret, in whatever framing", async () => {
    const connection = await openConnection(stage.sidecar.port);
    const body = `api_key=${MINE}&{"${MINE}":"${MINE}"}`;
    const head = `POST ${stage.upstream.origin}/swap/x HTTP/1.1\r\nHost: 127.0.0.1:${stage.upstream.port}\r\n`;
    connection.send(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
    expect((await connection.receive()).status).toBe(200);
    connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
    expect((await connection.receive()).status).toBe(200);
    connection.destroy();
    expect(stage.upstream.requests.slice(-2).map((request) => request.body.toString())).toEqual([body, body]);
  });
});

describe("what is left behind", () => {
  it("has no credential in it: neither the records, nor a refusal", async () => {
    const text = JSON.stringify(await stage.audit());
    expect(text).toContain("INJECT_PLACEHOLDER_MISPLACED");
    for (const secret of [KEY, SID, encodeURIComponent(KEY), base64(SID)]) expect(text).not.toContain(secret);
    expect(text).not.toContain(OWN.concat("&"));
  });
});
