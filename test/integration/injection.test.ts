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
      await expect.poll(async () => (await stage.ask("/x")).status, { timeout: 10_000, interval: 100 }).toBe(200);
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
