/**
 * Transfer-Encoding that two parsers read in two ways (threat C1): misspelt, doubled, folded, listed, hidden behind
 * controls, with and without a Content-Length before or behind it. A body holds a second request each time.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, failuresOf } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
const CHUNKS = `5\r\nhello\r\n0\r\n\r\n`;

/** Lines for the one coding that counts, chunked, which llhttp hands over without the spaces around it. */
const HONEST = ["chunked", "Chunked", "CHUNKED", "cHuNkEd", " chunked", "   chunked", "\tchunked", "chunked "]
  .map((value) => `Transfer-Encoding:${value}`)
  .concat("transfer-encoding: chunked", "TRANSFER-ENCODING: chunked", "tRANSFER-eNCODING: chunked");

const VALUES = [
  "chunked\t",
  ...["", " ", ",", ";", '"chunked"', "'chunked'", "(chunked)", "<chunked>", "chunked;", "chunked; q=1", "chunked;a=b"],
  ...["xchunked", "chunkedx", "x-chunked", "chunke", "chunked-", "chunked.", "chunk ed", "c hunked", "chunked chunked"],
  ...[
    "chunked,",
    ",chunked",
    ", chunked",
    "chunked,chunked",
    "chunked, chunked",
    "chunked ,",
    ",,chunked",
    "chunked,,",
  ],
  ...["identity", "gzip", "deflate", "compress", "br", "trailers", "none", "null", "0", "1", "true", "*"],
  ...["gzip, chunked", "gzip,chunked", "chunked, gzip", "identity, chunked", "chunked, identity", "x, chunked"],
  ...[
    "chunked, x",
    "deflate, gzip, chunked",
    "chunked\x00",
    "\x00chunked",
    "chun\x00ked",
    "\x0bchunked",
    "chunked\x0b",
  ],
  ...["\x0cchunked", "chunked\x0c", "chunked\x7f", "\x01chunked", "\x1fchunked", "\xa0chunked", "chunked\xa0"],
  ...["\x85chunked", "chunked\x85", "ch\xfcnked", "%63hunked", "chunked%20", "chunked\\", "\\chunked", "chunked/1.1"],
  ...["chunked=1", "=chunked", "chunked:", ":chunked", "chunked\n", "\nchunked", "chunked\r", "\rchunked"],
  ...["\r\n chunked", "\r\n\tchunked", "x\r\n chunked", "chunked\r\n x", "chunked\r\n\t"],
].map((value) => `Transfer-Encoding: ${value}`);

const NAMES = [
  ...["Transfer-Encoding ", "Transfer-Encoding\t", " Transfer-Encoding", "\tTransfer-Encoding", "Transfer Encoding"],
  ...["Transfer-\r\n Encoding", "Transfer-Encoding\r\n ", "Transfer-Encoding\x00", "\x00Transfer-Encoding"],
  ...["Transfer\x00-Encoding", "Transfer-Encoding\x0b", "Transfer-Encoding\x7f", "Transfer-Encoding\xa0"],
  ...[
    "Transfer-Encoding\xad",
    "Tr\xe4nsfer-Encoding",
    "Transfer/Encoding",
    "Transfer-Encoding:",
    "(Transfer-Encoding)",
  ],
  ...['"Transfer-Encoding"', "Transfer@Encoding", "Transfer-Encoding,", "Transfer-Encoding;", "Transfer=Encoding"],
].map((name) => `${name}: chunked`);

const DOUBLED = ["chunked", "identity", "gzip", "", "x"].flatMap((first) =>
  ["chunked", "identity", "", "\tchunked"].map(
    (second) => `Transfer-Encoding: ${first}\r\ntransfer-encoding: ${second}`,
  ),
);

const HIDDEN = [
  ...["X: a\nTransfer-Encoding: chunked", "X: a\rTransfer-Encoding: chunked", "X: a\r\rTransfer-Encoding: chunked"],
  ...["X: a\n\nTransfer-Encoding: chunked", "X:\r\n Transfer-Encoding: chunked", "X\nTransfer-Encoding: chunked"],
  ...["X: a\x00\r\nTransfer-Encoding: chunked", "Transfer-Encoding\r\nTransfer-Encoding: chunked"],
  ...["Transfer-Encoding: chunked\nX: a", "Transfer-Encoding: chunked\rX: a", "Transfer-Encoding chunked"],
  ...[
    "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
    "Connection: Transfer-Encoding, close\r\nTransfer-Encoding: chunked",
  ],
  ...["Connection: content-length\r\nTransfer-Encoding: gzip, chunked", ": Transfer-Encoding: chunked"],
];

const REFUSED = [...VALUES, ...NAMES, ...DOUBLED, ...HIDDEN];

/** Names that are no Transfer-Encoding to us and must be none to anybody behind us. */
const NEIGHBOURS = [
  ...["Transfer_Encoding", "TRANSFER_ENCODING", "Transfer.Encoding", "Transfer!Encoding", "Transfer~Encoding"],
  ...[
    "X-Transfer-Encoding",
    "Transfer-Encodin",
    "Transfer-Encodings",
    "TransferEncoding",
    "TE",
    "Content-Transfer-Encoding",
  ],
].map((name) => `${name}: chunked`);

const post = (id: string, lines: string): string => `POST /te/${id} HTTP/1.1\r\nHost: api.test\r\n${lines}\r\n\r\n`;

const expectRefused = async (cases: readonly (readonly [string, string])[]): Promise<void> => {
  const before = stage.api.requests.length;
  const failures = await failuresOf(cases, async ([lines, body], index) => {
    const fate = await attack(await stage.tunnel(), [post(String(index), lines) + body]);
    return fate === "refused INGRESS_BAD_REQUEST" ? undefined : fate;
  });
  expect(failures).toEqual([]);
  expect(stage.api.requests.length).toBe(before);
};

describe("a Transfer-Encoding in any form but chunked", () => {
  it("comes in more than 300 spellings here", () => {
    expect(new Set(REFUSED).size).toBe(REFUSED.length);
    expect(REFUSED.length * 3 + HONEST.length * 3 + NEIGHBOURS.length * 2).toBeGreaterThan(400);
  });

  it("is refused without a Content-Length", () =>
    expectRefused(REFUSED.map((lines) => [lines, CHUNKS + SMUGGLED] as const)));

  it("is refused behind a Content-Length that covers a second request", () =>
    expectRefused(
      REFUSED.map((lines) => {
        const body = `0\r\n\r\n${SMUGGLED}`;
        return [`Content-Length: ${body.length}\r\n${lines}`, body] as const;
      }),
    ));

  it("is refused before a Content-Length that is too short for the chunks", () =>
    expectRefused(
      REFUSED.map((lines) => [`${lines}\r\nContent-Length: 4`, `2b\r\n${SMUGGLED}\r\n0\r\n\r\n`] as const),
    ));
});

describe("Transfer-Encoding: chunked", () => {
  it("is taken alone, in any case, and leaves as one plain header", async () => {
    const failures = await failuresOf(HONEST, async (lines, index) => {
      const fate = await attack(await stage.tunnel(), [post(`honest/${index}`, lines), CHUNKS]);
      const received = stage.api.requests.find(({ path }) => path === `/te/honest/${index}`);
      if (String(received?.body) !== "hello") return `got ${received?.head}`;
      return fate === "forwarded" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("is refused beside any Content-Length, before or behind it", () =>
    expectRefused(
      HONEST.flatMap((lines) => [
        [`${lines}\r\nContent-Length: ${CHUNKS.length}`, CHUNKS] as const,
        [`Content-Length: 0\r\n${lines}`, CHUNKS] as const,
      ]),
    ));
});

describe("a header that only looks like it", () => {
  it("frames nothing, and no spelling that folds to Transfer-Encoding leaves", async () => {
    const failures = await failuresOf(NEIGHBOURS, async (lines, index) => {
      const sized = await attack(await stage.tunnel(), [
        `${post(`sized/${index}`, `${lines}\r\nContent-Length: ${SMUGGLED.length}`)}${SMUGGLED}`,
      ]);
      const bare = await attack(await stage.tunnel(), [post(`bare/${index}`, lines)]);
      const received = stage.api.requests.find(({ path }) => path === `/te/sized/${index}`);
      if (String(received?.body) !== SMUGGLED) return `got ${received?.head}`;
      return sized === "forwarded" && bare === "forwarded" ? undefined : `${sized}, ${bare}`;
    });
    expect(failures).toEqual([]);
  });
});
