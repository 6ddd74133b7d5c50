/** The parser alone, and beside Node's own (llhttp): what ours takes, Node's must take for the same. */
import { createServer, type IncomingMessage, METHODS } from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createAuthority, parseAuthority } from "../../../../src/core/authority.ts";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import { judgeFraming } from "../../../../src/sidecar/ingress/framing.ts";
import { RequestParser } from "../../../../src/sidecar/ingress/request-parser.ts";
import { parseAbsoluteTarget, parseOriginTarget } from "../../../../src/sidecar/ingress/target.ts";
import type { BodyFraming } from "../../../../src/sidecar/net/message-parser.ts";

interface Reading {
  readonly method: string;
  readonly target: string;
  readonly minor: number;
  readonly headers: readonly string[];
  body: string;
  isWhole: boolean;
}

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** The requests that the parser makes of these pieces; or the code that it fails with. */
const read = (pieces: readonly Buffer[]): Reading[] | string => {
  const readings: Reading[] = [];
  const last = (): Reading => readings.at(-1) as Reading;
  const parser = new RequestParser({
    head(head): BodyFraming {
      readings.push({ ...head, body: "", isWhole: false });
      const { bodyLength } = judgeFraming(head);
      return bodyLength === undefined ? { kind: "chunked" } : { kind: "length", length: bodyLength };
    },
    data: (chunk) => {
      last().body += chunk.toString("latin1");
    },
    end: () => {
      last().isWhole = true;
      parser.begin();
    },
  });
  parser.begin();
  try {
    for (const piece of pieces) for (let at = 0; at < piece.length; ) at = parser.read(piece, at);
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
  return readings;
};

const head = (line: string, lines = ""): string => `${line} HTTP/1.1\r\nHost: a.test\r\n${lines}\r\n`;

const REQUESTS: Readonly<Record<string, string>> = {
  plain: head("GET /a?b=c", "Accept: */*\r\nX-Empty:\r\nX-Space: \t b c \r\nX-Latin: caf\xe9\r\n"),
  absolute: head("GET http://a.test/x"),
  connect: "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
  length: `${head("POST /l", "Content-Length: 11\r\n")}hello world`,
  nothing: head("PUT /n", "Content-Length: 0\r\n"),
  chunks: `${head("POST /c", "Transfer-Encoding: chunked\r\n")}5\r\nhello\r\n00A;x=1\r\n0123456789\r\n0\r\n\r\n`,
  trailers: `${head("POST /t", "Transfer-Encoding: chunked\r\n")}1\r\nx\r\n0\r\nX-T: 1\r\nX-U: \xe9\r\n\r\n`,
  old: "GET /o HTTP/1.0\r\n\r\n",
};

describe("a request", () => {
  it.each(Object.keys(REQUESTS))("(%s) reads the same cut at every place, and byte by byte", (name) => {
    const whole = bytes(REQUESTS[name] ?? "");
    const expected = read([whole]);
    expect(expected).toMatchObject([{ isWhole: true }]);
    for (let cut = 1; cut < whole.length; cut++) {
      expect(read([whole.subarray(0, cut), whole.subarray(cut)])).toEqual(expected);
    }
    expect(read([...whole].map((byte) => Buffer.of(byte)))).toEqual(expected);
  });

  it("is read as it stands", () => {
    expect(read([bytes(REQUESTS["plain"] ?? "")])).toEqual([
      {
        method: "GET",
        target: "/a?b=c",
        minor: 1,
        headers: ["Host", "a.test", "Accept", "*/*", "X-Empty", "", "X-Space", "b c", "X-Latin", "caf\xe9"],
        body: "",
        isWhole: true,
      },
    ]);
    expect(read([bytes(REQUESTS["chunks"] ?? "")])).toMatchObject([{ body: "hello0123456789" }]);
  });

  it("may follow another one, also with empty lines between them", () => {
    const all = Object.values(REQUESTS);
    for (const between of ["", "\r\n", "\r\n\r\n", "\n"]) {
      const readings = read([bytes(all.join(between))]);
      expect(readings).toEqual(all.map((text) => read([bytes(text)])[0]));
    }
    const twice = bytes(`\r\n\r\n${head("GET /1")}\r\n${head("GET /2")}`);
    for (let cut = 1; cut < twice.length; cut++) {
      const readings = read([twice.subarray(0, cut), twice.subarray(cut)]);
      expect(readings).toMatchObject([{ target: "/1" }, { target: "/2" }]);
    }
  });

  it("of any method that Node knows is taken, but for those of other protocols", () => {
    const refused = METHODS.filter((method) => read([bytes(head(`${method} /`))]) === "INGRESS_BAD_REQUEST");
    expect(refused.filter((method) => method !== "SOURCE")).toEqual([]);
    expect(read([bytes(head("TRACE /"))])).toBe("INGRESS_METHOD_REFUSED");
  });

  it.each([
    ["INGRESS_VERSION", "GET / HTTP/2.0\r\n\r\n"],
    ["INGRESS_VERSION", "GET / HTTP/0.9\r\n\r\n"],
    ["INGRESS_VERSION", "GET / HTTP/1.2\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET /\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET  / HTTP/1.1\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "get / HTTP/1.1\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET /\xff HTTP/1.1\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n"],
    ["INGRESS_BAD_REQUEST", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\t\r\n\r\n"],
  ])("is refused with %s in %j", (code, text) => {
    expect(read([bytes(text)])).toBe(code);
    expect(read([...text].map((char) => bytes(char)))).toBe(code);
  });

  it("has its limits, in time that grows with its length alone", () => {
    const chunked = head("POST /", "Transfer-Encoding: chunked\r\n");
    const cases: readonly (readonly [string, string])[] = [
      ["INGRESS_HEADERS_TOO_LARGE", `GET / HTTP/1.1\r\nX: ${"a".repeat(64 * 1024)}\r\n\r\n`],
      ["INGRESS_HEADERS_TOO_LARGE", `${chunked}5;${"x".repeat(17 * 1024)}`],
      ["INGRESS_HEADERS_TOO_LARGE", `${chunked}0\r\n${"X: y\r\n".repeat(11 * 1024)}`],
      ["INGRESS_BAD_REQUEST", chunked + "0".repeat(65)],
      ["INGRESS_BAD_REQUEST", chunked + "f".repeat(14)],
    ];
    for (const [code, text] of cases) {
      expect(read([bytes(text)])).toBe(code);
      expect(read([...bytes(text)].map((byte) => Buffer.of(byte)))).toBe(code);
    }
  });

  it("has the whole limit for its own chunk extensions, whatever came before it on the connection", () => {
    const one = `${head("POST /", "Transfer-Encoding: chunked\r\n")}1;${"x".repeat(15 * 1024)}\r\na\r\n0\r\n\r\n`;
    const whole = { body: "a", isWhole: true };
    expect(read([bytes(one.repeat(3))])).toMatchObject([whole, whole, whole]);
  });

  it.each([
    ["INGRESS_URI_TOO_LONG", `GET /${"a".repeat(64 * 1024)} HTTP/1.1\r\n\r\n`],
    ["INGRESS_URI_TOO_LONG", `\r\nGET /${"a".repeat(70 * 1024)}`],
    ["INGRESS_URI_TOO_LONG", `GET /${"a".repeat(17 * 1024)} HTTP/1.1\r\nX: ${"a".repeat(64 * 1024)}\r\n\r\n`],
    ["INGRESS_HEADERS_TOO_LARGE", `GET /${"a".repeat(15 * 1024)} HTTP/1.1\r\nX: ${"a".repeat(64 * 1024)}\r\n\r\n`],
    [
      "INGRESS_HEADERS_TOO_LARGE",
      `${head("POST /", "Transfer-Encoding: chunked\r\n")}0\r\nGET: ${"x".repeat(64 * 1024)}`,
    ],
  ])("that is too large as a whole is refused with %s when that is its target's fault", (code, text) => {
    expect(read([bytes(text)])).toBe(code);
    const pieces = Array.from({ length: Math.ceil(text.length / 997) }, (_, i) => text.slice(997 * i, 997 * (i + 1)));
    expect(read(pieces.map((piece) => bytes(piece)))).toBe(code);
  });

  it.each([
    "\x16\x03\x01",
    "\0",
    "SSH-2.0-OpenSSH_9\r\n",
    "G".repeat(18),
    "GET\t",
    "GET / HTTP/1.1\nHost",
    "GET / HTTP/1.1\rX",
  ])("is no longer waited for after %j", (text) => {
    expect(read([bytes(text)])).toBe("INGRESS_BAD_REQUEST");
  });
});

/** What Node's own server makes of the bytes of one connection; an error ends the list with undefined. */
const readByNode = (text: string): Promise<(Omit<Reading, "isWhole"> | undefined)[]> =>
  new Promise((resolve) => {
    const readings: (Omit<Reading, "isWhole"> | undefined)[] = [];
    const take = (request: IncomingMessage): void => {
      const reading = {
        method: request.method ?? "",
        target: request.url ?? "",
        minor: request.httpVersionMinor,
        headers: request.rawHeaders,
        body: "",
      };
      readings.push(reading);
      request.on("data", (chunk: Buffer) => {
        reading.body += chunk.toString("latin1");
      });
    };
    const server = createServer({ requireHostHeader: false }, (request, response) => {
      take(request);
      request.on("end", () => response.end());
    });
    server.on("checkContinue", (request, response) => server.emit("request", request, response));
    server.on("checkExpectation", (request, response) => server.emit("request", request, response));
    server.on("connect", take);
    server.on("clientError", () => {
      readings.push(undefined);
    });
    const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    server.emit("connection", wire);
    wire.push(bytes(text));
    // All of it has been read, and handed on, when what is pushed behind it is seen.
    setTimeout(() => {
      wire.destroy();
      resolve(readings);
    }, 0);
  });

/** What the parser leaves to the grammar of targets. */
const hasTarget = ({ method, target }: Reading): boolean => {
  if (method === "CONNECT") return parseAuthority(target) !== undefined;
  try {
    if (target.startsWith("/"))
      parseOriginTarget(target, "http", createAuthority({ kind: "name", name: "a.test" }, 80));
    else parseAbsoluteTarget(target);
    return true;
  } catch {
    return false;
  }
};

const TOKENS = [
  ...[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ";",
    "0",
    "5\r\n",
    "\r\n\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "chunked",
    "POST",
    "/",
  ],
  ...[
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X: y\r\n",
    "\0",
    "\x7f",
    "\xff",
    "a",
    "#",
    "//",
    ",",
    '"',
  ],
];

describe("beside Node's parser", () => {
  it("takes a mutated request for the same, or refuses it", async () => {
    const mutation = fc.record({
      at: fc.double({ min: 0, max: 0.9999, noNaN: true }),
      cut: fc.nat(6),
      token: fc.constantFrom("", ...TOKENS),
    });
    let taken = 0;
    const property = fc.asyncProperty(
      fc.constantFrom(...Object.values(REQUESTS)),
      fc.array(mutation, { maxLength: 3 }),
      async (request, mutations) => {
        const text = mutations.reduce((all, { at, cut, token }) => {
          const place = Math.floor(at * all.length);
          return all.slice(0, place) + token + all.slice(place + cut);
        }, request);
        const ours = read([bytes(text)]);
        // The first alone: behind one that closes Node reads nothing, which is the connection's word and not the parser's.
        const [first] = typeof ours === "string" ? [] : ours;
        if (first?.isWhole !== true || !hasTarget(first)) return;
        taken += 1;
        const { isWhole: _isWhole, ...reading } = first;
        expect((await readByNode(text))[0]).toEqual(reading);
      },
    );
    await fc.assert(property, { numRuns: 2_000 });
    expect(taken).toBeGreaterThan(300);
  });
});
