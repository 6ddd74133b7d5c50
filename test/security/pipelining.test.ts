/**
 * Many requests on one connection (threat C6): judged and sent one by one, in order, each with its own record, and never
 * one that came behind the last.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersUntilClosed, everySplit, failuresOf, nextAnswer, sendPieces } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";
import { openConnection, openTunnel } from "../support/raw-client.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const get = (path: string, extra = ""): string => `GET ${path} HTTP/1.1\r\nHost: api.test\r\n${extra}\r\n`;
const pathsAt = (prefix: string): string[] =>
  stage.api.requests.filter(({ path }) => path.startsWith(prefix)).map(({ path }) => path);

describe("pipelined requests", () => {
  it("of fifty in one segment, allowed and denied by turns, each gets its own answer in its own place", async () => {
    const paths = Array.from({ length: 50 }, (_, i) => (i % 3 === 1 ? `/forbidden/${i}` : `/fifty/${i}`));
    const connection = await stage.tunnel();
    connection.send(paths.map((path) => get(path)).join(""));
    for (const path of paths) {
      const answer = await nextAnswer(connection);
      const denied = path.startsWith("/forbidden");
      expect([answer?.status, answer?.body.includes(`GET ${path} `)]).toEqual(denied ? [403, false] : [200, true]);
    }
    expect(pathsAt("/fifty/")).toEqual(paths.filter((path) => path.startsWith("/fifty")));
  });

  it("keep their bodies apart, wherever the segment is cut", async () => {
    const text =
      "POST /cut/a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nfirst" +
      "POST /forbidden/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 7\r\n\r\nGET / x" +
      "POST /cut/b HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";
    const failures = await failuresOf(everySplit(text, 3), async (pieces) => {
      const connection = await stage.tunnel();
      await sendPieces(connection, pieces);
      const statuses: unknown[] = [];
      for (let i = 0; i < 3; i++) statuses.push((await nextAnswer(connection))?.status);
      connection.destroy();
      return statuses.join() === "200,403,200" ? undefined : statuses.join();
    });
    expect(failures).toEqual([]);
    const bodies = new Set(
      stage.api.requests.filter(({ path }) => path.startsWith("/cut/")).map(({ body }) => `${body}`),
    );
    expect([...bodies].sort()).toEqual(["first", "second"]);
  });

  it("with a body that the refusal left unread do not turn into requests", async () => {
    const connection = await stage.tunnel();
    const inner = get("/unread");
    connection.send(`POST /forbidden/y HTTP/1.1\r\nHost: api.test\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`);
    expect((await nextAnswer(connection))?.status).toBe(403);
    connection.send(get("/read"));
    expect((await nextAnswer(connection))?.status).toBe(200);
    expect(pathsAt("/unread")).toEqual([]);
  });
});

describe("what comes behind the last request", () => {
  const cases = [
    ["Connection: close", get("/last/a", "Connection: close\r\n"), 200],
    ["Connection: keep-alive, close", get("/last/b", "Connection: keep-alive, close\r\n"), 200],
    ["Connection: X-A, CLOSE", get("/last/c", "Connection: X-A, CLOSE\r\n"), 200],
    ["HTTP/1.0", "GET /last/d HTTP/1.0\r\nHost: api.test\r\n\r\n", 200],
    ["a refused one", "GET /last//e HTTP/1.1\r\nHost: api.test\r\n\r\n", 400],
    ["another Host", "GET /last/f HTTP/1.1\r\nHost: other.test\r\n\r\n", 421],
    ["a denied one that closes", get("/forbidden/last", "Connection: close\r\n"), 403],
    ["a websocket", get("/last/g", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 501],
    ["a bad Expect", get("/last/h", "Expect: something\r\n"), 417],
  ] as const;

  it.each(cases)("%s is never read, in the same segment or a later one", async (_name, last, status) => {
    for (const pieces of [[last + get("/behind/1") + get("/behind/2")], [last, get("/behind/3"), get("/behind/4")]]) {
      const connection = await stage.tunnel();
      await sendPieces(connection, pieces);
      expect((await answersUntilClosed(connection)).map((answer) => answer.status)).toEqual([status]);
    }
    expect(pathsAt("/behind/")).toEqual([]);
  });

  it("bytes that are no request end the connection behind a whole answer, or cut it before", async () => {
    for (const garbage of ["\0\0\0\0", "GET\r\n\r\n", "0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\x16\x03\x01\x00\x05"]) {
      const connection = await stage.tunnel();
      connection.send(get("/garbage") + garbage);
      expect((await answersUntilClosed(connection)).length).toBeLessThanOrEqual(1);
    }
  });
});

describe("CONNECT where there is none to be had", () => {
  it("inside a tunnel is refused and on record", async () => {
    for (const target of ["api.test:443", "other.test:443", "127.0.0.1:22", `127.0.0.1:${stage.sidecar.port}`]) {
      const connection = await stage.tunnel();
      connection.send(`CONNECT ${target} HTTP/1.1\r\nHost: api.test\r\n\r\n${get("/inside")}`);
      const answers = await answersUntilClosed(connection);
      expect(answers.map((answer) => answer.headers.get("x-sidekey-error"))).toEqual([["INGRESS_BAD_REQUEST"]]);
    }
    const records = (await stage.sidecar.audit()).filter((record) => record["method"] === "CONNECT");
    // Past ten a second they are counted, not written one by one.
    expect(new Set(records.map((record) => record["code"]))).toEqual(new Set(["INGRESS_BAD_REQUEST"]));
  });

  it("behind a request that is still being answered opens no tunnel", async () => {
    const connection = await stage.connect();
    const host = "plain.test";
    connection.send(
      `GET http://${host}/busy HTTP/1.1\r\nHost: ${host}\r\n\r\nCONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n`,
    );
    const answers = await answersUntilClosed(connection);
    expect(answers.filter(({ reason }) => reason === "Connection Established")).toEqual([]);
  });

  it("behind one that was answered opens one like any other", async () => {
    const connection = await stage.connect();
    connection.send("GET http://plain.test/idle HTTP/1.1\r\nHost: plain.test\r\n\r\n");
    expect((await nextAnswer(connection))?.status).toBe(200);
    connection.send("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n");
    expect((await nextAnswer(connection, "CONNECT"))?.reason).toBe("Connection Established");
  });
});

describe("clients that leave with requests waiting", () => {
  it("do not use up the places of others", async () => {
    // More of them than `limits.streams`: one lost place each would end in 503 for everybody.
    const small = await openStage({ limits: "limits: { streams: 4 }" });
    try {
      for (let round = 0; round < 8; round++) {
        const connection = await small.tunnel();
        connection.send(get("/waiting", "Connection: close\r\n") + get("/waiting/2") + get("/waiting/3"));
        await answersUntilClosed(connection);
        const leaver = await small.tunnel();
        leaver.send(get("/leaving/1") + get("/leaving/2") + get("/leaving/3"));
        leaver.destroy();
      }
      const connection = await small.tunnel();
      connection.send(get("/still"));
      expect((await nextAnswer(connection))?.status).toBe(200);
      await small.check();
    } finally {
      await small.close();
    }
  });

  it("leave nothing open", async () => {
    for (let round = 0; round < 5; round++) {
      (await openConnection(stage.sidecar.port)).destroy();
      (await openTunnel(stage.sidecar.port, "api.test:443")).connection.destroy();
    }
  });
});
