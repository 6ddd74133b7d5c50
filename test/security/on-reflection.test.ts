/**
 * Attack: an agent that learns from echoes what the credential is, by having guesses confirmed, by putting it together
 * from parts, by cookies (guarantees A5, A7, A8; ruling 5). What a route does about it, by its keys.
 */
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAX_REFLECTIONS } from "../../src/sidecar/pipeline/reflection.ts";
import { CANARY, createHostileStage, get, type HostileStage } from "../support/hostile-stage.ts";
import type { RawScript } from "../support/raw-upstream.ts";

const send =
  (body: Buffer | string, head = "", status = "200 OK"): RawScript =>
  (_request, peer) => {
    const bytes = Buffer.from(body);
    const start = `HTTP/1.1 ${status}\r\n${head}Content-Length: ${bytes.length}\r\n\r\n`;
    return peer.send(Buffer.concat([Buffer.from(start), bytes]));
  };

const ECHO = `{"you":"${CANARY}"}`;
const FILLER = `${"-".repeat(99)}\n`.repeat(12_000);

const answers: Record<string, RawScript> = {
  clean: send('{"ok":true}'),
  echo: send(ECHO),
  "echo-gzip": send(gzipSync(ECHO), "Content-Encoding: gzip\r\n"),
  "echo-br": send(brotliCompressSync(ECHO), "Content-Encoding: br\r\n"),
  "echo-error": send(ECHO, "", "401 Unauthorized"),
  "echo-hex": send(Buffer.from(CANARY).toString("hex")),
  "in-header": send("fine", `X-Echo: ${CANARY}\r\n`),
  "in-name": send("fine", `X-${CANARY}: x\r\n`),
  large: send(FILLER),
  "large-gzip": send(gzipSync(FILLER), "Content-Encoding: gzip\r\n"),
  late: send(`${FILLER}${CANARY}\nand more`),
  "late-gzip": send(gzipSync(`${FILLER}${CANARY}\nand more`), "Content-Encoding: gzip\r\n"),
  chunks: async (_request, peer) => {
    await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await peer.send(`${CANARY.length.toString(16)}\r\n${CANARY}\r\n0\r\n\r\n`);
  },
  half: async (_request, peer) => {
    await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf\n");
    peer.reset();
  },
};

/** The last record of this type. */
const lastRecord = async (stage: HostileStage, type: string): Promise<Record<string, unknown> | undefined> =>
  (await stage.sidecar.audit()).filter((record) => record["type"] === type).at(-1);

describe("on_reflection: withhold", () => {
  let stage: HostileStage;
  beforeAll(async () => {
    stage = await createHostileStage({ answers, route: ["on_reflection: withhold"] });
  });
  afterAll(() => stage.close());

  it.each(["echo", "echo-gzip", "echo-br", "echo-error", "echo-hex", "in-header", "in-name", "chunks"])(
    "answers %s with a refusal, and counts it",
    async (name) => {
      expect(await stage.refusal(`/${name}`)).toEqual([502, "UPSTREAM_REFLECTED"]);
      expect(await stage.outcome(`/${name}`)).toMatchObject({ code: "UPSTREAM_REFLECTED", status: 502, reflected: 1 });
      await stage.after();
    },
  );

  it("refuses an echo in the head of an answer to HEAD", async () => {
    const { response } = await stage.ask(get("/in-header").replace("GET", "HEAD"), "HEAD");
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_REFLECTED"]]);
  });

  it.each([
    ["clean", '{"ok":true}', 11],
    ["large", FILLER, FILLER.length],
    ["large-gzip", FILLER, undefined],
  ])("leaves %s as it is", async (name, body, length) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, response.body.toString() === body]).toEqual([200, true]);
    expect(response.headers.get("content-length")?.[0]).toBe(length?.toString());
    await stage.after(connection);
  });

  it.each(["late", "late-gzip"])("cuts %s, where the first MiB has been sent", async (name) => {
    const received = await stage.cut(get(`/${name}`));
    expect(received.length).toBeGreaterThan(1024 * 1024);
    expect(received).not.toContain("and more");
    expect(received).not.toContain("[redacted]");
    expect(await stage.outcome(`/${name}`)).toMatchObject({ code: "UPSTREAM_REFLECTED", outcome: "upstream_aborted" });
  });

  it("sends nothing of a body that breaks off while it is held", async () => {
    expect(await stage.refusal("/half")).toEqual([502, "UPSTREAM_RESET"]);
  });
});

describe("on_reflection: close", () => {
  it("redacts ten answers, and then refuses before anything is sent", async () => {
    const stage = await createHostileStage({ answers, route: ["on_reflection: close"] });
    const paths = ["/echo", "/echo-gzip", "/in-header", "/echo-error", "/echo-hex"];
    for (let n = 0; n < MAX_REFLECTIONS; n++) {
      await stage.after();
      const { response } = await stage.ask(get(paths[n % paths.length] ?? ""));
      expect(response.status).not.toBe(502);
    }
    const sent = stage.upstream.requests.length;
    for (const path of ["/clean", "/echo"]) {
      expect(await stage.refusal(path)).toEqual([502, "UPSTREAM_REFLECTED"]);
    }
    expect(stage.upstream.requests.length).toBe(sent);
    expect(await lastRecord(stage, "refusal")).toMatchObject({ code: "UPSTREAM_REFLECTED", route: "evil" });
    await stage.close();
  });

  it("delivers no eleventh, however many are under way at once", async () => {
    let waiting = 0;
    let open = (): void => undefined;
    const all = new Promise<void>((resolve) => {
      open = resolve;
    });
    const stage = await createHostileStage({
      answers: {
        race: async (_request, peer) => {
          if (++waiting === 20) open();
          await all;
          await peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${ECHO.length}\r\n\r\n${ECHO}`);
        },
      },
      route: ["on_reflection: close"],
    });
    const fates = await Promise.all(
      Array.from({ length: 20 }, () =>
        stage.ask(get("/race")).then(
          ({ response }) => response.status,
          () => "cut",
        ),
      ),
    );
    expect(fates.filter((fate) => fate === 200)).toHaveLength(MAX_REFLECTIONS);
    expect(await stage.refusal("/race")).toEqual([502, "UPSTREAM_REFLECTED"]);
    await stage.close();
  });

  it("is what a secret gets that can be guessed, and no other", async () => {
    const echo: RawScript = ({ head }, peer) => {
      const [, key = ""] = /^authorization: bearer (.*)$/im.exec(head) ?? [];
      return peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${key.length}\r\n\r\n${key}`);
    };
    for (const [key, last] of [
      ["Tr0ub4dor", 502],
      ["sk-9f8a7c6e5d4b3a291807", 200],
    ] as const) {
      const stage = await createHostileStage({ answers: { echo }, key });
      for (let n = 0; n < MAX_REFLECTIONS; n++) {
        const { response } = await stage.ask(get("/echo"));
        expect([response.status, String(response.body)]).toEqual([200, mark(key.length)]);
      }
      expect((await stage.ask(get("/echo"))).response.status).toBe(last);
      await stage.close();
    }
  });

  it("is not what `redact` does", async () => {
    const stage = await createHostileStage({ answers, key: "hunter2", route: ["on_reflection: redact"] });
    for (let n = 0; n < MAX_REFLECTIONS + 2; n++) {
      expect((await stage.ask(get("/clean"))).response.status).toBe(200);
    }
    await stage.close();
  });
});

const mark = (length: number): string => "[redacted]".slice(0, length).padEnd(length, "*");

describe("cookies", () => {
  const cookies: Record<string, RawScript> = {
    cookies: send("", `Set-Cookie: a=${CANARY}; Path=/\r\nSet-Cookie: b=2\r\nSet-Cookie2: c=3\r\n`),
  };

  it.each([
    [[], undefined, undefined],
    [["cookies: strip"], undefined, undefined],
    [["cookies: pass"], [`a=${mark(CANARY.length)}; Path=/`, "b=2"], ["c=3"]],
  ])("with %j reach the agent as %j", async (route, expected, old) => {
    const stage = await createHostileStage({ answers: cookies, route });
    const { response } = await stage.ask(get("/cookies"));
    expect(response.headers.get("set-cookie")).toEqual(expected);
    expect(response.headers.get("set-cookie2")).toEqual(old);
    await stage.close();
  });
});

describe("ranges", () => {
  const part: Record<string, RawScript> = {
    part: send(ECHO, "Content-Range: bytes 0-99/100\r\nAccept-Ranges: bytes\r\n", "206 Partial Content"),
    "part-gzip": send(
      gzipSync(ECHO),
      "Content-Encoding: gzip\r\nContent-Range: bytes 0-99/100\r\n",
      "206 Partial Content",
    ),
  };
  const RANGE = 'Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: "x"\r\n';

  it("are asked for by no agent", async () => {
    const stage = await createHostileStage({ answers: part });
    const { response } = await stage.ask(get("/part", RANGE));
    expect([response.status, response.headers.get("accept-ranges")]).toEqual([206, undefined]);
    const [request] = stage.upstream.requests;
    expect(request?.head).not.toMatch(/range/i);
    expect(request?.head).toMatch(/^accept-encoding: gzip, deflate, br\r?$/im);
    await stage.close();
  });

  it("with allow_range are passed on, never coded, and searched", async () => {
    const stage = await createHostileStage({ answers: part, route: ["allow_range: true"] });
    const { response } = await stage.ask(get("/part", RANGE));
    expect([response.status, String(response.body)]).toEqual([206, `{"you":"${mark(CANARY.length)}"}`]);
    expect(response.headers.get("content-range")).toEqual(["bytes 0-99/100"]);
    expect(response.headers.get("accept-ranges")).toEqual(["bytes"]);
    const [request] = stage.upstream.requests;
    expect(request?.head).toMatch(/^range: bytes=0-9\r?$/im);
    expect(request?.head).toMatch(/^if-range: "x"\r?$/im);
    expect(request?.head).toMatch(/^accept-encoding: identity\r?$/im);
    expect(await stage.refusal("/part-gzip")).toEqual([502, "UPSTREAM_UNDECODABLE"]);
    await stage.close();
  });
});
