/** Answers that are not HTTP, or that two parsers could read in two ways: refused with a code, and the connection is gone. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, type HostileStage, POISON } from "../support/hostile-stage.ts";
import type { RawScript } from "../support/raw-upstream.ts";

const ok = (headers: string, body = "x"): string => `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n${body}`;
const CHUNKED = "Transfer-Encoding: chunked";
const body = `5\r\n${POISON.slice(0, 5)}\r\n0\r\n\r\n`;

/** Status lines and headers: all of it is judged before anything reaches the agent. */
const REFUSED: Readonly<Record<string, string>> = {
  "status-line-without-code": "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-of-two-digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-of-four-digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-with-two-spaces": "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-with-a-space-before": " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-without-version": "200 OK\r\nContent-Length: 0\r\n\r\n",
  "status-line-in-small-letters": "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
  "version-2": "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
  "version-1.2": "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
  "version-9.9": "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
  "http-0.9": "<html>hello</html>\n",
  "another-protocol": "SSH-2.0-OpenSSH_9.7\r\n",
  "a-request": "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
  binary: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
  "bare-lf-lines": "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
  "cr-in-reason": "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
  "status-000": "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
  "status-099": "HTTP/1.1 099 None\r\nContent-Length: 0\r\n\r\n",
  "status-600": "HTTP/1.1 600 None\r\nContent-Length: 0\r\n\r\n",
  "status-999": "HTTP/1.1 999 None\r\nContent-Length: 0\r\n\r\n",
  "status-407": "HTTP/1.1 407 Proxy\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
  "length-and-chunks": ok(`Content-Length: 5\r\n${CHUNKED}`, body),
  "chunks-and-length": ok(`${CHUNKED}\r\nContent-Length: 5`, body),
  "two-equal-lengths": ok("Content-Length: 1\r\nContent-Length: 1"),
  "two-lengths": ok("Content-Length: 1\r\nContent-Length: 9"),
  "length-list": ok("Content-Length: 1, 1"),
  "length-negative": ok("Content-Length: -1"),
  "length-plus": ok("Content-Length: +1"),
  "length-hex": ok("Content-Length: 0x1"),
  "length-float": ok("Content-Length: 1.0"),
  "length-two-numbers": ok("Content-Length: 1 1"),
  "length-octal": ok("Content-Length: 01"),
  "length-past-64-bits": ok("Content-Length: 18446744073709551617"),
  "length-past-exact-numbers": ok("Content-Length: 9999999999999999"),
  "coding-identity": ok("Transfer-Encoding: identity"),
  "coding-gzip-chunked": ok("Transfer-Encoding: gzip, chunked", body),
  "coding-chunked-gzip": ok("Transfer-Encoding: chunked, gzip", body),
  "coding-chunked-twice": ok(`${CHUNKED}\r\n${CHUNKED}`, body),
  "coding-chunked-list": ok("Transfer-Encoding: chunked, chunked", body),
  "coding-unknown": ok("Transfer-Encoding: xchunked", body),
  "coding-empty": ok("Transfer-Encoding:", body),
  "coding-quoted": ok('Transfer-Encoding: "chunked"', body),
  "space-before-colon": ok("Content-Length : 1"),
  "obs-fold": ok("X-A: 1\r\n 2\r\nContent-Length: 1"),
  "obs-fold-first": "HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 1\r\n\r\nx",
  "bare-cr-in-value": ok("X-A: 1\rSet-Cookie: a=b\r\nContent-Length: 1"),
  "bare-lf-in-value": ok("X-A: 1\nSet-Cookie: a=b\r\nContent-Length: 1"),
  "nul-in-value": ok("X-A: 1\0\r\nContent-Length: 1"),
  "control-in-value": ok("X-A: 1\x01\r\nContent-Length: 1"),
  "nul-in-name": ok("X\0A: 1\r\nContent-Length: 1"),
  "space-in-name": ok("X A: 1\r\nContent-Length: 1"),
  "no-colon": ok("X-A\r\nContent-Length: 1"),
  "no-name": ok(": 1\r\nContent-Length: 1"),
  "header-of-70-kib": ok(`X-A: ${"a".repeat(70 * 1024)}\r\nContent-Length: 1`),
  "twenty-thousand-headers": ok(`${"X: abc\r\n".repeat(20_000)}Content-Length: 1`),
};

/** Broken inside the body: the head had gone out, so the answer is cut. */
const CUT: Readonly<Record<string, string>> = {
  "chunk-size-letters": "zz\r\nab\r\n0\r\n\r\n",
  "chunk-size-negative": "-1\r\nab\r\n0\r\n\r\n",
  "chunk-size-0x": "0x2\r\nab\r\n0\r\n\r\n",
  "chunk-size-empty": "\r\nab\r\n0\r\n\r\n",
  "chunk-size-past-64-bits": "10000000000000002\r\nab\r\n0\r\n\r\n",
  "chunk-size-with-space-before": " 2\r\nab\r\n0\r\n\r\n",
  "chunk-longer-than-said": "2\r\nabcd\r\n0\r\n\r\n",
  "chunk-ends-with-lf": "2\r\nab\n0\r\n\r\n",
  "chunk-size-ends-with-lf": "2\nab\r\n0\r\n\r\n",
  "chunk-trailer-with-nul": "2\r\nab\r\n0\r\nX: \0\r\n\r\n",
  "chunk-trailer-with-a-length": "2\r\nab\r\n0\r\nContent-Length: 99\r\n\r\n",
  "chunk-trailer-of-70-kib": `2\r\nab\r\n0\r\nX: ${"a".repeat(70 * 1024)}\r\n\r\n`,
};

let stage: HostileStage;

beforeAll(async () => {
  const answers: Record<string, RawScript> = {};
  for (const [name, bytes] of Object.entries(REFUSED)) {
    answers[name] = (_request, peer) => peer.send(Buffer.from(bytes, "latin1"));
  }
  for (const [name, bytes] of Object.entries(CUT)) {
    answers[name] = async (_request, peer) => {
      await peer.send(`HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n`);
      await peer.send(Buffer.from(bytes, "latin1"));
    };
  }
  stage = await createHostileStage({ answers });
});

afterAll(() => stage.close());

const leavesNothingBehind = async (name: string): Promise<void> => {
  const dirty = stage.peerOf(`/${name}`);
  expect(await stage.after()).not.toBe(dirty?.number);
  await expect.poll(() => dirty?.closed).toBe(true);
};

describe("an answer", () => {
  it.each(Object.keys(REFUSED))("of the kind %s is refused, and its connection is never used again", async (name) => {
    expect(await stage.refusal(`/${name}`)).toEqual([502, "UPSTREAM_BAD_RESPONSE"]);
    await leavesNothingBehind(name);
    expect(await stage.outcome(`/${name}`)).toMatchObject({
      code: "UPSTREAM_BAD_RESPONSE",
      status: 502,
      outcome: "upstream_aborted",
    });
  });

  it.each(Object.keys(CUT))("with %s is cut and never ended", async (name) => {
    const received = await stage.cut(`GET /${name} HTTP/1.1\r\nHost: evil.test\r\n\r\n`);
    expect(received).not.toContain("\r\n0\r\n");
    await leavesNothingBehind(name);
    expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "upstream_aborted" });
  });
});
