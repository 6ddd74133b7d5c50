/**
 * Answers in which an upstream may echo something: every framing of the guarantees' ruling 4, as raw bytes, with what
 * must be true of the answer that reaches the agent.
 */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";

export interface FramedAnswer {
  /** Each is sent by itself: a TLS record of its own. */
  readonly pieces: readonly Buffer[];
  /** Length of the body that the agent must get. Undefined: nothing is promised of it. */
  readonly length?: number;
  /** The agent's answer keeps the upstream's Content-Length. */
  readonly counted?: boolean;
  readonly status: number;
  /** The upstream ends the connection behind it. */
  readonly closes?: boolean;
  /** The echo is not in the body, which must arrive as it is. */
  readonly body?: Buffer;
}

export interface Framing {
  readonly name: string;
  /** The echo stands in a header: no controls. */
  readonly headersOnly?: boolean;
  /** A partial answer to a Range. */
  readonly range?: boolean;
  readonly answer: (echo: Buffer) => FramedAnswer;
}

const BEFORE = Buffer.from("Provided: ");
const BEHIND = Buffer.from(" (end)");
const inText = (echo: Buffer): Buffer => Buffer.concat([BEFORE, echo, BEHIND]);
const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

const head = (status: string, ...lines: readonly string[]): Buffer =>
  latin1(`HTTP/1.1 ${status}\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`);

const counted = (status: string, type: string, body: Buffer, ...more: readonly string[]): FramedAnswer => ({
  pieces: [head(status, `Content-Type: ${type}`, `Content-Length: ${body.length}`, ...more), body],
  length: body.length,
  counted: true,
  status: Number(status.slice(0, 3)),
});

const chunk = (bytes: Buffer): Buffer =>
  Buffer.concat([latin1(`${bytes.length.toString(16)}\r\n`), bytes, latin1("\r\n")]);
const LAST_CHUNK = latin1("0\r\n\r\n");

const slices = (bytes: Buffer, size: number): readonly Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));

const chunked = (type: string, parts: readonly Buffer[], ...more: readonly string[]): FramedAnswer => ({
  pieces: [
    head("200 OK", `Content-Type: ${type}`, "Transfer-Encoding: chunked", ...more),
    ...parts.map(chunk),
    LAST_CHUNK,
  ],
  length: parts.reduce((sum, part) => sum + part.length, 0),
  status: 200,
});

/** In as many pieces, but in one record: the parser gives them one by one anyway. */
const together = (answer: FramedAnswer): FramedAnswer => ({ ...answer, pieces: [Buffer.concat(answer.pieces)] });

/** Cut in the middle of the echo. */
const halves = (before: Buffer, echo: Buffer, behind: Buffer): readonly Buffer[] => [
  Buffer.concat([before, echo.subarray(0, echo.length >> 1)]),
  Buffer.concat([echo.subarray(echo.length >> 1), behind]),
];

const OK = latin1("fine");
const headed = (status: string, line: Buffer): FramedAnswer => ({
  pieces: [
    Buffer.concat([latin1(`HTTP/1.1 ${status}\r\n`), line, latin1(`\r\nContent-Length: ${OK.length}\r\n\r\n`), OK]),
  ],
  length: OK.length,
  counted: true,
  status: Number(status.slice(0, 3)),
  body: OK,
});

export const PLAIN_FRAMINGS: readonly Framing[] = [
  { name: "Content-Length", answer: (echo) => counted("200 OK", "text/plain", inText(echo)) },
  { name: "chunks of 1", answer: (echo) => together(chunked("text/plain", slices(inText(echo), 1))) },
  { name: "chunks of 7", answer: (echo) => together(chunked("text/plain", slices(inText(echo), 7))) },
  {
    name: "chunks of 7, each a record",
    answer: (echo) => chunked("text/plain", slices(inText(echo), Math.max(7, echo.length >> 4))),
  },
  {
    name: "up to the close",
    answer: (echo) => ({
      pieces: [head("200 OK", "Content-Type: text/plain"), ...halves(BEFORE, echo, BEHIND)],
      length: inText(echo).length,
      status: 200,
      closes: true,
    }),
  },
  {
    name: "SSE data",
    answer: (echo) =>
      chunked("text/event-stream", [
        latin1(": hi\n\n"),
        ...halves(latin1("event: m\ndata: "), echo, latin1("\n\n")),
        latin1("data: x\n\n"),
      ]),
  },
  {
    name: "SSE data of several lines",
    answer: (echo) =>
      chunked("text/event-stream", [
        ...halves(latin1("data: {\ndata: "), echo, latin1("\n")),
        ...halves(latin1("data: "), echo, latin1("\ndata: }\n\n")),
      ]),
  },
  {
    name: "NDJSON",
    answer: (echo) =>
      chunked("application/x-ndjson", [
        latin1('{"a":1}\n'),
        ...halves(latin1('{"e":"'), echo, latin1('"}\n{"a":2}\n')),
      ]),
  },
  {
    name: "a JSON string",
    answer: (echo) =>
      counted(
        "200 OK",
        "application/json",
        Buffer.concat([latin1('{"error":{"message":"Bad key: '), echo, latin1('","z":1}}')]),
      ),
  },
  {
    name: "an HTML attribute",
    answer: (echo) =>
      counted("200 OK", "text/html", Buffer.concat([latin1('<input name=q value="'), echo, latin1('"><p>x</p>')])),
  },
  {
    name: "Location",
    headersOnly: true,
    answer: (echo) =>
      headed("302 Found", Buffer.concat([latin1("Location: https://other.test/?q="), echo, latin1("&next=1")])),
  },
  {
    name: "a header's value",
    headersOnly: true,
    answer: (echo) => headed("200 OK", Buffer.concat([latin1("X-Echo: got "), echo, latin1(" from you")])),
  },
  {
    name: "a challenge",
    headersOnly: true,
    answer: (echo) =>
      headed("403 Forbidden", Buffer.concat([latin1('WWW-Authenticate: Bearer error="'), echo, latin1('"')])),
  },
  {
    name: "Set-Cookie",
    headersOnly: true,
    answer: (echo) => headed("200 OK", Buffer.concat([latin1("Set-Cookie: session="), echo, latin1("; Path=/")])),
  },
  {
    name: "the reason phrase",
    headersOnly: true,
    answer: (echo) => ({
      ...headed("200 OK", latin1("X: y")),
      pieces: [Buffer.concat([latin1("HTTP/1.1 200 "), echo, latin1(`\r\nContent-Length: ${OK.length}\r\n\r\n`), OK])],
    }),
  },
  {
    name: "a trailer",
    headersOnly: true,
    answer: (echo) => ({
      pieces: [
        head("200 OK", "Transfer-Encoding: chunked", "Trailer: X-Echo"),
        Buffer.concat([chunk(OK), latin1("0\r\nX-Echo: "), echo, latin1("\r\n\r\n")]),
      ],
      length: OK.length,
      status: 200,
      body: OK,
    }),
  },
  {
    name: "early hints",
    headersOnly: true,
    answer: (echo) => {
      const answer = headed("200 OK", latin1("X: y"));
      const hints = Buffer.concat([
        latin1("HTTP/1.1 103 Early Hints\r\nLink: </"),
        echo,
        latin1(">; rel=preload\r\n\r\n"),
      ]);
      return { ...answer, pieces: [hints, ...answer.pieces] };
    },
  },
  {
    name: "a 400 page",
    answer: (echo) =>
      counted("400 Bad Request", "text/html", Buffer.concat([latin1("<h1>No</h1><pre>"), echo, latin1("</pre>")])),
  },
  {
    name: "a 401 page",
    answer: (echo) =>
      counted("401 Unauthorized", "application/json", Buffer.concat([latin1('{"message":"'), echo, latin1('"}')])),
  },
  { name: "a 500 page", answer: (echo) => counted("500 Oh", "text/plain", inText(echo)) },
];

/** Decoded by the sidecar: the agent gets identity, in chunks. */
const coded = (coding: string, body: Buffer, plain: Buffer, isChunked = false): FramedAnswer => {
  const line = `Content-Encoding: ${coding}`;
  const answer = isChunked ? chunked("text/plain", slices(body, 7), line) : counted("200 OK", "text/plain", body, line);
  return { pieces: together(answer).pieces, length: plain.length, status: 200 };
};

export const CODED_FRAMINGS: readonly Framing[] = [
  { name: "gzip", answer: (echo) => coded("gzip", gzipSync(inText(echo)), inText(echo)) },
  { name: "gzip, chunked", answer: (echo) => coded("gzip", gzipSync(inText(echo)), inText(echo), true) },
  { name: "deflate, zlib", answer: (echo) => coded("deflate", deflateSync(inText(echo)), inText(echo)) },
  { name: "deflate, raw", answer: (echo) => coded("deflate", deflateRawSync(inText(echo)), inText(echo)) },
  { name: "br", answer: (echo) => coded("br", brotliCompressSync(inText(echo)), inText(echo)) },
  { name: "br, chunked", answer: (echo) => coded("br", brotliCompressSync(inText(echo)), inText(echo), true) },
  { name: "gzip of gzip", answer: (echo) => coded("gzip, gzip", gzipSync(gzipSync(inText(echo))), inText(echo)) },
  { name: "br of gzip", answer: (echo) => coded("gzip, br", brotliCompressSync(gzipSync(inText(echo))), inText(echo)) },
  {
    name: "gzip of several members",
    answer: (echo) => {
      const members = halves(BEFORE, echo, BEHIND).map((half) => gzipSync(half));
      return coded("gzip", Buffer.concat(members), inText(echo));
    },
  },
];

export const RANGE_FRAMINGS: readonly Framing[] = [
  {
    name: "206, although no range was asked for",
    range: true,
    answer: (echo) =>
      counted(
        "206 Partial Content",
        "text/plain",
        inText(echo),
        `Content-Range: bytes 0-${inText(echo).length - 1}/99999`,
      ),
  },
];
