/** Bytes that belong to no answer: they reach no agent, and the connection that carried them is never used again. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, HOST, type HostileStage, POISON } from "../support/hostile-stage.ts";
import type { RawPeer, RawScript } from "../support/raw-upstream.ts";

const SECOND = `HTTP/1.1 200 OK\r\nX-Poison: ${POISON}\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Name of the answer: method, its bytes, and what the agent gets. */
const DIRT: readonly (readonly [name: string, method: string, bytes: string, status: number, body: string])[] = [
  ["a second answer behind the first", "GET", OK + SECOND, 200, "ok"],
  ["ten more answers", "GET", OK + SECOND.repeat(10), 200, "ok"],
  ["a body beyond its length", "GET", OK + POISON, 200, "ok"],
  ["a body beyond length 0", "GET", `HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n${POISON}`, 200, ""],
  [
    "bytes behind the last chunk",
    "GET",
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${POISON}`,
    200,
    "ok",
  ],
  ["empty lines behind it", "GET", `${OK}\r\n\r\n${SECOND}`, 200, "ok"],
  ["a 100 behind it", "GET", `${OK}HTTP/1.1 100 Continue\r\n\r\n${SECOND}`, 200, "ok"],
  ["a 103 behind it", "GET", `${OK}HTTP/1.1 103 Early Hints\r\nLink: ${POISON}\r\n\r\n`, 200, "ok"],
  ["a 101 behind it", "GET", `${OK}HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n`, 200, "ok"],
  ["204 with a body", "GET", `HTTP/1.1 204 No Content\r\n\r\n${POISON}`, 204, ""],
  ["204 with a length and a body", "GET", `HTTP/1.1 204 No\r\nContent-Length: 11\r\n\r\n${POISON}`, 204, ""],
  ["204 with chunks", "GET", `HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n${POISON}`, 204, ""],
  ["204 and a second answer", "GET", `HTTP/1.1 204 No Content\r\n\r\n${SECOND}`, 204, ""],
  ["304 with a body", "GET", `HTTP/1.1 304 Not Modified\r\n\r\n${POISON}`, 304, ""],
  ["304 with a length and a body", "GET", `HTTP/1.1 304 Not\r\nContent-Length: 11\r\n\r\n${POISON}`, 304, ""],
  ["HEAD with a body", "HEAD", `HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n${POISON}`, 200, ""],
  [
    "HEAD with chunks",
    "HEAD",
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n${POISON}\r\n0\r\n\r\n`,
    200,
    "",
  ],
  ["HEAD with a body till the end", "HEAD", `HTTP/1.1 200 OK\r\n\r\n${POISON}`, 200, ""],
  ["HEAD and a second answer", "HEAD", `HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n${SECOND}`, 200, ""],
];

const answers: Record<string, RawScript> = {};
DIRT.forEach(([, , bytes], index) => {
  answers[`once${index}`] = (_request, peer) => peer.send(bytes);
  // In pieces: what belongs to nothing arrives a little later, on a connection that was kept.
  answers[`later${index}`] = async (_request, peer) => {
    const end = bytes.indexOf("\r\n\r\n") + 4;
    const clean = bytes.startsWith(OK) ? OK.length : end;
    await peer.send(bytes.slice(0, clean));
    setTimeout(() => void peer.send(bytes.slice(clean)), 30);
  };
});
answers["clean"] = (_request, peer) => peer.send(OK);
answers["clean-304"] = (_request, peer) => peer.send("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
answers["long-304"] = (_request, peer) =>
  peer.send("HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5000\r\n\r\n");
answers["trailers"] = (_request, peer) =>
  peer.send(
    `HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: ${POISON}\r\nSet-Cookie: a=${POISON}\r\nAuthorization: ${POISON}\r\nHost: ${POISON}\r\n\r\n`,
  );
answers["extension"] = (_request, peer) =>
  peer.send(
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=${POISON.repeat(100_000)}\r\nok\r\n0;${POISON}\r\n\r\n`,
  );
answers["old-chunks"] = (_request, peer) =>
  peer.send("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
answers["listed"] = (_request, peer) =>
  peer.send(
    `HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: ${POISON}\r\nKeep-Alive: timeout=5\r\nX-Sidekey-Error: ${POISON}\r\nAlt-Svc: h3=":443"\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok`,
  );

let stage: HostileStage;

beforeAll(async () => {
  stage = await createHostileStage({ answers });
});

afterAll(() => stage.close());

const request = (method: string, path: string): string => `${method} ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;

const gone = (peer: RawPeer | undefined) => expect.poll(() => peer?.closed).toBe(true);

describe.each(["once", "later"])("what comes with an answer or %s", (when) => {
  it.each(DIRT.map(([name], index) => [name, index] as const))("%s", async (_name, index) => {
    const [, method = "", , status, body] = DIRT[index] ?? [];
    const path = `/${when}${index}`;
    const { response, connection } = await stage.ask(request(method, path), method);
    expect([response.status, String(response.body)]).toEqual([status, body]);
    const dirty = stage.peerOf(path);
    if (when === "later") await gone(dirty);
    // The agent's own connection is sound: it goes on.
    expect(await stage.after(connection)).not.toBe(dirty?.number);
    await gone(dirty);
    expect(await stage.outcome(path)).toMatchObject({ outcome: "ok", status });
  });
});

describe("a clean answer", () => {
  it("leaves a connection for the next request", async () => {
    const { connection } = await stage.ask(get("/clean"));
    expect(await stage.after(connection)).toBe(stage.peerOf("/clean")?.number);
  });

  it("without a body does too", async () => {
    const { response, connection } = await stage.ask(get("/clean-304"));
    expect([response.status, response.headers.get("etag")]).toEqual([304, ["x"]]);
    expect(await stage.after(connection)).toBe(stage.peerOf("/clean-304")?.number);
  });

  it("304 may tell the length of what was not sent", async () => {
    const { response, connection } = await stage.ask(get("/long-304"));
    expect([response.status, response.headers.get("content-length")]).toEqual([304, ["5000"]]);
    await stage.after(connection);
  });
});

describe("what surrounds a body", () => {
  it.each(["trailers", "extension", "old-chunks", "listed"])("(%s) stays behind", async (name) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, String(response.body)]).toEqual([200, "ok"]);
    expect(connection.transcript.includes(POISON)).toBe(false);
    const names = [...response.headers.keys()];
    for (const dropped of ["trailer", "alt-svc", "x-hop", "x-sidekey-error", "proxy-authenticate", "keep-alive"]) {
      // Keep-Alive may be our own: the agent's connection is kept for two minutes.
      if (dropped === "keep-alive") expect(response.headers.get(dropped)).not.toEqual(["timeout=5"]);
      else expect(names).not.toContain(dropped);
    }
    await stage.after(connection);
  });

  it("of HTTP/1.0 ends its connection", async () => {
    await stage.ask(get("/old-chunks"));
    await gone(stage.peerOf("/old-chunks"));
  });
});
