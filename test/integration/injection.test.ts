/** Kinds of injection beside a header, and several of them in one route, as the upstream gets them. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type InjectionStage, type InjectionStageOptions, openInjectionStage } from "../support/injection-stage.ts";
import { leaksOf } from "../support/leaks.ts";
import { openConnection } from "../support/raw-client.ts";
import type { UpstreamHandler } from "../support/upstream.ts";

const ONE = "canary-one+/=&5d1f0c93b7e84a26";
const TWO = "canary-two%: 91ab6e72c0d35f48";
const OLD = "canary-old-70b1de3f9a6c4d28";
const NEW = "canary-new-2c77d0e19b5f4a83";
const ENCODED_ONE = encodeURIComponent(ONE);

const stages: InjectionStage[] = [];
afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.close();
});

const open = async (routes: Readonly<Record<string, string>>, more: Partial<InjectionStageOptions> = {}) => {
  const stage = await openInjectionStage({ secrets: { one: ONE, two: TWO }, routes, ...more });
  stages.push(stage);
  return stage;
};

/** Sends everything back that it got: in the body, and in headers that quote URLs. */
const echo: UpstreamHandler = async (request, response, { path, rawHeaders }) => {
  for await (const _ of request);
  response.writeHead(302, {
    location: `http://other.test${path}`,
    link: `<${path}>; rel=next`,
    refresh: `0; url=${path}`,
    "x-decoded": decodeURIComponent(path).replace(/[^ -~]/g, "?"),
  });
  response.end(`${path}\n${decodeURIComponent(path)}\n${encodeURIComponent(path)}\n${rawHeaders.join("\n")}\n`);
};

const QUERY = "secret: one, inject: { kind: query, name: api_key }";

describe("a query parameter", () => {
  it("leaves with the secret, once and encoded, and all else as the agent wrote it", async () => {
    const stage = await open({ "": QUERY });
    for (const [query, sent] of [
      ["", `?api_key=${ENCODED_ONE}`],
      ["?q=a%2fb+c&&x;y=%7E", `?q=a%2fb+c&&x;y=%7E&api_key=${ENCODED_ONE}`],
      ["?api_key=agent&q=1&API%5fKEY=agent;api.key=agent", `?q=1&api_key=${ENCODED_ONE}`],
    ]) {
      const { status, received } = await stage.ask(`/search${query}`);
      expect([status, received?.path]).toEqual([200, `/search${sent}`]);
    }
  });

  it("is in no audit record: neither it, nor the query", async () => {
    const stage = await open({ "": QUERY });
    await stage.ask("/search?api_key=agents-own&q=private");
    await expect.poll(async () => (await stage.audit()).map(({ type }) => type)).toEqual(["intent", "outcome"]);
    const [intent] = await stage.audit();
    expect(intent).toMatchObject({ secret: "files:one", path: "/search", decision: "inject" });
    expect(JSON.stringify(await stage.audit())).not.toMatch(/canary|agents-own|private/);
  });

  it("comes back in nothing that quotes the URL", async () => {
    const stage = await open({ "": QUERY }, { handler: echo });
    const answer = await stage.ask("/search?q=1");
    expect(answer.received?.path).toBe(`/search?q=1&api_key=${ENCODED_ONE}`);
    expect(leaksOf(answer.raw, Buffer.from(ONE), { fragment: 8 })).toEqual([]);
    expect(answer.headers.get("location")).toEqual([expect.stringContaining("/search?q=1&api_key=[redacted]")]);
  });

  it("leaves by the gateway too", async () => {
    const stage = await open({ "": QUERY });
    const connection = await openConnection(stage.sidecar.gatewayPort);
    connection.send(`GET /r0/search?API_KEY=x HTTP/1.1\r\nHost: 127.0.0.1:${stage.sidecar.gatewayPort}\r\n\r\n`);
    expect((await connection.receive()).status).toBe(200);
    expect(stage.upstream.requests[0]?.path).toBe(`/search?api_key=${ENCODED_ONE}`);
    connection.destroy();
  });

  it("counts for the limit of the request line", async () => {
    const stage = await open({ "": QUERY }, { secrets: { one: "k".repeat(8_000) } });
    const fits = await stage.ask(`/${"p".repeat(8_000)}`);
    expect(fits.received?.path).toHaveLength(8_001 + "?api_key=".length + 8_000);
    const refused = await stage.ask(`/${"p".repeat(16 * 1024 - 8_008)}`);
    expect([refused.status, refused.code, refused.received]).toEqual([414, "INGRESS_URI_TOO_LONG", undefined]);
  });
});

describe("a prefix of the path", () => {
  const PATH = 'secret: one, inject: { kind: path, format: "/bot{secret}" }';

  it("leaves with the secret; policy and audit see the agent's path", async () => {
    const stage = await open({ "": `${PATH}, deny: ["* /bot1/**"]` }, { secrets: { one: "canary:one-5d1f0c93b7" } });
    const { received } = await stage.ask("/getMe?offset=1");
    expect(received?.path).toBe("/botcanary:one-5d1f0c93b7/getMe?offset=1");
    expect((await stage.ask("/bot1/getMe")).code).toBe("POLICY_DENIED");
    await expect.poll(async () => (await stage.audit()).length).toBe(3);
    const [intent] = await stage.audit();
    expect(intent).toMatchObject({ path: "/getMe", secret: "files:one" });
    expect(JSON.stringify(await stage.audit())).not.toContain("canary");
  });

  it("comes back in nothing that quotes the URL", async () => {
    const stage = await open({ "": PATH }, { handler: echo });
    const answer = await stage.ask("/getMe");
    expect(answer.received?.path).toBe("/botcanary-one+/=&5d1f0c93b7e84a26/getMe");
    expect(leaksOf(answer.raw, Buffer.from(ONE), { fragment: 8 })).toEqual([]);
  });

  it("is not sent where the secret would lead elsewhere", async () => {
    const stage = await open({ "": PATH }, { secrets: { one: "5d1f0c93b7/../admin" } });
    const { status, code, received } = await stage.ask("/getMe");
    expect([status, code, received]).toEqual([503, "SOURCE_BAD_VALUE", undefined]);
  });
});

describe("a cookie", () => {
  const COOKIE = "secret: one, inject: { kind: cookie, name: session }";
  const VALUE = "canary-cookie-5d1f0c93b7e84a26";

  it("leaves with the secret beside the agent's others, in one header", async () => {
    const stage = await open({ "": COOKIE }, { secrets: { one: VALUE } });
    const { received } = await stage.ask("/x", ["Cookie: a=1; SESSION=x; b=2", "cookie: session=y", "COOKIE: c=3"]);
    expect(received?.header("cookie")).toEqual([`session=${VALUE}; a=1; b=2; c=3`]);
    const none = await stage.ask("/x", ["Cookie: a=1", "Connection: Cookie"]);
    expect(none.received?.header("cookie")).toEqual([`session=${VALUE}`]);
  });

  it("is not sent when no cookie can hold the secret", async () => {
    const stage = await open({ "": COOKIE }, { secrets: { one: `${VALUE}; admin=1` } });
    const { status, code, received } = await stage.ask("/x");
    expect([status, code, received]).toEqual([503, "SOURCE_BAD_VALUE", undefined]);
  });
});

describe("a placeholder", () => {
  const MINE = "placeholder-0123456789";
  const where = "[header:Authorization, basic, query:key, path]";
  const SWAP = `secret: one, inject: { kind: placeholder, placeholder: ${MINE}, in: ${where} }`;
  const base64 = (text: string): string => Buffer.from(text).toString("base64");

  it("stands in for a header with the same secret, and for nothing else", async () => {
    const swap = `{ kind: placeholder, placeholder: ${MINE}, in: ["query:key"] }`;
    const stage = await open({
      "": `secret: one, inject: [{ kind: header, name: X-Key }, { kind: header, name: X-Other, secret: two }, ${swap}]`,
    });
    const swapped = await stage.ask(`/x?key=${MINE}`, ["x-key: agents-own", "X-Key: agents-own"]);
    expect(swapped.received?.path).toBe(`/x?key=${ENCODED_ONE}`);
    expect(["x-key", "x-other"].map((name) => swapped.received?.header(name))).toEqual([[], [TWO]]);
    const set = await stage.ask("/x?key=other", ["x-key: agents-own"]);
    expect(set.received?.path).toBe("/x?key=other");
    expect(["x-key", "x-other"].map((name) => set.received?.header(name))).toEqual([[ONE], [TWO]]);
    await expect.poll(async () => (await stage.audit()).length).toBe(4);
    for (const { type, secret } of await stage.audit())
      if (type === "intent") expect(secret).toBe("files:one,files:two");
  });

  it("leaves no parameter of the agent's where ours belongs", async () => {
    const swap = `{ kind: placeholder, placeholder: ${MINE}, in: ["header:X-Key"] }`;
    const stage = await open({ "": `secret: one, inject: [{ kind: query, name: api_key }, ${swap}]` });
    const { received } = await stage.ask("/x?API_KEY=agents-own", [`X-Key: ${MINE}`]);
    expect([received?.path, received?.header("x-key")]).toEqual([`/x?api_key=${ENCODED_ONE}`, [ONE]]);
  });

  it("is swapped where the agent put it, and all else of the request stays", async () => {
    const stage = await open({ "": SWAP });
    const bearer = await stage.ask("/x?a=1", [`Authorization: Bearer ${MINE}`, "Cookie: a=1"]);
    expect(bearer.received?.header("authorization")).toEqual([`Bearer ${ONE}`]);
    expect(bearer.received?.header("cookie")).toEqual(["a=1"]);
    const basic = await stage.ask("/x", [`Authorization: Basic ${base64(`me:${MINE}`)}`]);
    expect(basic.received?.header("authorization")).toEqual([`Basic ${base64(`me:${ONE}`)}`]);
    expect((await stage.ask(`/x?key=${MINE}&b=%2f`)).received?.path).toBe(`/x?key=${ENCODED_ONE}&b=%2f`);
    await expect.poll(async () => (await stage.audit()).length).toBe(6);
    const audit = await stage.audit();
    expect(audit.filter(({ type }) => type === "intent").every(({ secret }) => secret === "files:one")).toBe(true);
    expect(JSON.stringify(audit)).not.toContain("canary");
  });

  it("is swapped in the path, which policy and audit see with the placeholder", async () => {
    const stage = await open({ "": SWAP }, { secrets: { one: NEW } });
    expect((await stage.ask(`/bot${MINE}/x`)).received?.path).toBe(`/bot${NEW}/x`);
    await expect.poll(async () => (await stage.audit()).length).toBe(2);
    expect((await stage.audit())[0]).toMatchObject({ path: `/bot${MINE}/x` });
    const slashed = await open({ "": SWAP });
    expect((await slashed.ask(`/bot${MINE}/x`)).code).toBe("SOURCE_BAD_VALUE");
  });

  it("that is not there puts nothing in: the request goes as it is, and its record names no secret", async () => {
    const stage = await open({ "": SWAP }, { handler: (_request, response) => void response.writeHead(401).end() });
    const { status, received } = await stage.ask("/x", ["Authorization: Bearer own"]);
    expect([status, received?.header("authorization")]).toEqual([401, ["Bearer own"]]);
    await expect.poll(async () => (await stage.audit()).map(({ type }) => type)).toEqual(["intent", "outcome"]);
    const [intent] = await stage.audit();
    expect(intent).toMatchObject({ decision: "inject", route: "r0" });
    expect(intent).not.toHaveProperty("secret");
    // And a 401 for what had no secret fetches none.
    stage.set("one", NEW);
    expect((await stage.ask("/x")).status).toBe(401);
    expect(stage.upstream.requests).toHaveLength(2);
  });

  it("in a body is not looked at", async () => {
    const stage = await open({ "": SWAP });
    const connection = await openConnection(stage.sidecar.port);
    const body = `{"${MINE}":"${MINE}"}`;
    connection.send(
      `POST ${stage.upstream.origin}/x HTTP/1.1\r\nHost: 127.0.0.1:${stage.upstream.port}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect((await connection.receive()).status).toBe(200);
    expect(stage.upstream.requests[0]?.body.toString()).toBe(body);
    connection.destroy();
  });

  it("of one route leaves by no other one, nor by what no route serves", async () => {
    const other = "secret: two, inject: { kind: header, name: X-Key }";
    const stage = await open({ "/mine": SWAP, "/other": other }, { more: "unmatched: tunnel\n" });
    const { status, code, received } = await stage.ask(`/other?q=${MINE}`);
    expect([status, code, received]).toEqual([403, "INJECT_PLACEHOLDER_MISPLACED", undefined]);
    // The injected header is ours: what the agent has there does not leave.
    expect((await stage.ask("/other", [`X-Key: ${MINE}`])).received?.header("x-key")).toEqual([TWO]);
    const connection = await openConnection(stage.sidecar.port);
    connection.send(`GET http://unrouted.test/?q=${MINE} HTTP/1.1\r\nHost: unrouted.test\r\n\r\n`);
    const refused = await connection.receive();
    expect(refused.headers.get("x-sidekey-error")).toEqual(["INJECT_PLACEHOLDER_MISPLACED"]);
    connection.destroy();
    await expect.poll(async () => (await stage.audit()).filter(({ type }) => type === "refusal")).toHaveLength(2);
  });

  it("is sent once more after a 401 with a newer secret", async () => {
    const stage = await open(
      { "": SWAP },
      {
        handler: (_request, response, { header }) => {
          response.writeHead(header("authorization")[0] === `Bearer ${NEW}` ? 200 : 401).end();
        },
      },
    );
    stage.set("one", OLD);
    expect((await stage.ask("/x", [`Authorization: Bearer ${MINE}`])).status).toBe(401);
    stage.set("one", NEW);
    await expect.poll(async () => (await stage.ask("/x", [`Authorization: Bearer ${MINE}`])).status).toBe(200);
  });
});

const SEVERAL =
  "secret: one, inject: [{ kind: header, name: X-Api-Key }, { kind: query, name: app, secret: two }, { kind: query, name: key }]";

describe("several injections of one route", () => {
  it("all leave, each with its secret, in one record", async () => {
    const stage = await open({ "": SEVERAL }, { secrets: { one: ONE, two: TWO } });
    const { status, received } = await stage.ask("/x?APP=a&q=1&key=b", ["x_api_key: agent"]);
    expect(status).toBe(200);
    expect(received?.path).toBe(`/x?q=1&app=${encodeURIComponent(TWO)}&key=${ENCODED_ONE}`);
    expect(received?.header("x-api-key")).toEqual([ONE]);
    expect(received?.header("x_api_key")).toEqual([]);
    await expect.poll(async () => (await stage.audit()).map(({ type }) => type)).toEqual(["intent", "outcome"]);
    expect((await stage.audit())[0]).toMatchObject({ secret: "files:one,files:two", decision: "inject" });
  });

  it("leave with none of them when one is missing", async () => {
    const stage = await open({ "": SEVERAL }, { secrets: { one: ONE } });
    const { status, code, received } = await stage.ask("/x");
    expect([status, code, received]).toEqual([503, "SOURCE_SECRET_MISSING", undefined]);
    await expect
      .poll(async () => (await stage.audit())[0])
      .toMatchObject({
        type: "refusal",
        secret: "files:one,files:two",
      });
  });

  it("are all looked for in what comes back", async () => {
    const stage = await open({ "": SEVERAL }, { handler: echo });
    const { raw, received } = await stage.ask("/x");
    expect(received?.path).toContain("canary-two");
    for (const secret of [ONE, TWO]) expect(leaksOf(raw, Buffer.from(secret), { fragment: 8 })).toEqual([]);
  });

  it("are sent once more after a 401 when any of their secrets has changed", async () => {
    for (const changed of ["one", "two"]) {
      const stage = await open(
        { "": SEVERAL },
        {
          handler: (_request, response, { path, header }) => {
            const isNew = `${path}${header("x-api-key")[0]}`.includes(NEW);
            response.writeHead(isNew ? 200 : 401).end(`${path} ${header("x-api-key")[0]} ${NEW}`);
          },
        },
      );
      expect((await stage.ask("/x")).status).toBe(401);
      // Renewed for a 401 at most once a second: by another 401 only after that.
      stage.set(changed, NEW);
      await expect.poll(async () => (await stage.ask("/x")).status, { interval: 100 }).toBe(200);
      const last = stage.upstream.requests.at(-1);
      expect(last?.path.includes(changed === "one" ? `key=${NEW}` : `app=${NEW}`)).toBe(true);
      expect(last?.header("x-api-key")).toEqual([changed === "one" ? NEW : ONE]);
      const intents = (await stage.audit()).filter(({ type, attempt }) => type === "intent" && attempt === 2);
      expect(intents).toMatchObject([{ secret: "files:one,files:two" }]);
      const { raw } = await stage.ask("/x");
      for (const secret of [ONE, TWO, NEW]) expect(leaksOf(raw, Buffer.from(secret), { fragment: 8 })).toEqual([]);
    }
  });

  it("end what is in flight when one of their secrets is removed", async () => {
    const stage = await open(
      { "": `${SEVERAL}, max_age: 100ms, stale_while_error: 0s` },
      {
        handler: (_request, response) => {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write("data: x\n\n");
        },
      },
    );
    const connection = await openConnection(stage.sidecar.port);
    connection.send(`GET ${stage.upstream.origin}/x HTTP/1.1\r\nHost: 127.0.0.1:${stage.upstream.port}\r\n\r\n`);
    await expect.poll(() => connection.buffered.toString()).toContain("data: x");
    rmSync(join(stage.sidecar.directory, "two"));
    await connection.closed();
    await expect
      .poll(async () => (await stage.audit()).find(({ type }) => type === "outcome"))
      .toMatchObject({ code: "SOURCE_SECRET_MISSING" });
  });
});
