/**
 * Chunk sizes, extensions, ends and trailers that parsers read in different ways (threats C3, C12). What is well formed
 * arrives byte for byte in a framing of our own; what is not cuts the upstream's request, and never ends it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersUntilClosed, attack, everySplit, failuresOf, nextAnswer, sendPieces } from "../support/attack.ts";
import { bodyHash, openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
const head = (path: string, body?: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n` +
  `${body === undefined ? "" : `X-Body-Sha256: ${bodyHash(body)}\r\n`}\r\n`;

/** Well formed, if odd: chunks and the body that they carry. */
const GOOD: readonly (readonly [string, string])[] = [
  ["0\r\n\r\n", ""],
  ["000\r\n\r\n", ""],
  ["5\r\nhello\r\n0\r\n\r\n", "hello"],
  ["1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello"],
  ["a\r\n0123456789\r\n0\r\n\r\n", "0123456789"],
  ["A\r\n0123456789\r\n0\r\n\r\n", "0123456789"],
  [`${"0".repeat(40)}5\r\nhello\r\n0\r\n\r\n`, "hello"],
  ["5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"],
  ['5;a="b c"\r\nhello\r\n0\r\n\r\n', "hello"],
  [`5;${"x".repeat(2000)}\r\nhello\r\n0\r\n\r\n`, "hello"],
  ["7\r\n0\r\n\r\nGE\r\n0\r\n\r\n", "0\r\n\r\nGE"],
  ["5\r\nhello\r\n0\r\nHost: evil.test\r\nAuthorization: mine\r\n\r\n", "hello"],
  ["5\r\nhello\r\n0\r\nX-Trailer: 1\r\nX-Trailer: 2\r\n\r\n", "hello"],
  ["5\r\nhello\r\n0\r\nX-Sidekey-Reason: x\r\nX-Method-Override: DELETE\r\n\r\n", "hello"],
];

/** Broken, each in the first chunk, so that nothing of a body may count as whole. */
const BAD = [
  ...["\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "\t5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n"],
  ...["+5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5h\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n"],
  ...["5_\r\nhello\r\n0\r\n\r\n", "5.0\r\nhello\r\n0\r\n\r\n", "5,\r\nhello\r\n0\r\n\r\n", "5 5\r\nhello\r\n0\r\n\r\n"],
  ...[
    "\x00\r\nhello\r\n0\r\n\r\n",
    "5\x00\r\nhello\r\n0\r\n\r\n",
    "\xb25\r\nhello\r\n0\r\n\r\n",
    "5\x0b\r\nhello\r\n0\r\n\r\n",
  ],
  ...["5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "5\n\r\nhello\r\n0\r\n\r\n"],
  ...[
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "5;\x7f\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
  ],
  ...[
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
  ],
];

/** Broken behind a first good chunk. */
const BAD_LATER = [
  ...[
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhell\r\n0\r\n\r\n",
  ],
  ...[
    "5\r\nhello\r\n\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n-0\r\n\r\n",
  ],
  ...[
    "5\r\nhello\r\n0\r\nbad name: x\r\n\r\n",
    "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\x00\r\n\r\n",
  ],
  ...[
    "5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
    "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
  ],
  ...["5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"],
];

describe("well-formed chunks", () => {
  it("arrive as the same body, without their extensions and trailers", async () => {
    const failures = await failuresOf(GOOD, async ([chunks, body], index) => {
      const path = `/good/${index}`;
      const fate = await attack(await stage.tunnel(), [head(path, body) + chunks]);
      const received = stage.api.requests.find((request) => request.path === path);
      if (String(received?.body) !== body || received?.complete !== true)
        return `got ${received?.head}${received?.body}`;
      return fate === "forwarded" ? undefined : fate;
    });
    expect(failures).toEqual([]);
    const heads = stage.api.requests.map((request) => request.head.toLowerCase()).join("");
    for (const text of ["x-trailer", "evil.test", "x-sidekey-reason", "override"]) expect(heads).not.toContain(text);
  });

  it("mean the same at every split", async () => {
    const text = `5;a="b"\r\nhello\r\n00a\r\n0\r\n\r\nGET /\r\n0\r\nX-T: 1\r\n\r\n`;
    const body = "hello0\r\n\r\nGET /";
    const cuts = [...everySplit(text), [...text]];
    const failures = await failuresOf(cuts, async (pieces, index) => {
      const path = `/split/${index}`;
      const fate = await attack(await stage.tunnel(), [head(path, body), ...pieces]);
      const received = stage.api.requests.find((request) => request.path === path);
      return fate === "forwarded" && String(received?.body) === body ? undefined : `${fate} ${received?.body}`;
    });
    expect(failures).toEqual([]);
  });
});

describe("broken chunks", () => {
  it("come in more than 40 forms here", () => {
    expect(new Set([...BAD, ...BAD_LATER]).size).toBe(BAD.length + BAD_LATER.length);
    expect(BAD.length + BAD_LATER.length).toBeGreaterThan(40);
  });

  it("never complete a request upstream, and what follows is never read", async () => {
    const failures = await failuresOf([...BAD, ...BAD_LATER], async (chunks, index) => {
      const path = `/bad/${index}`;
      // Head and chunks apart, so that the exchange has begun when they come.
      const connection = await stage.tunnel();
      await sendPieces(connection, [head(path), chunks + SMUGGLED]);
      const answers = await answersUntilClosed(connection);
      const code = answers.map((answer) => answer.headers.get("x-sidekey-error")?.[0] ?? answer.status).join();
      const whole = stage.api.requests.some((request) => request.path === path && request.complete);
      return whole || answers.length > 1 ? `${code}, ${whole ? "sent whole" : "cut"}` : undefined;
    });
    expect(failures).toEqual([]);
    expect(stage.api.requests.filter(({ path }) => path === "/smuggled")).toEqual([]);
  });

  it("never complete one at every split either", async () => {
    const text = `5\r\nhello\r\n5x\r\nworld\r\n0\r\n\r\n`;
    const failures = await failuresOf(everySplit(text), async (pieces, index) => {
      const path = `/bad-split/${index}`;
      const connection = await stage.tunnel();
      await sendPieces(connection, [head(path), ...pieces]);
      await answersUntilClosed(connection);
      const whole = stage.api.requests.some((request) => request.path === path && request.complete);
      return whole ? "sent whole" : undefined;
    });
    expect(failures).toEqual([]);
  });

  it("end the exchange when the client stops in the middle of one", async () => {
    for (const [index, part] of [
      "5\r\nhel",
      "5\r\nhello",
      "5\r\nhello\r\n",
      "5\r\nhello\r\n0",
      "5\r\nhello\r\n0\r\n",
    ].entries()) {
      const connection = await stage.tunnel();
      connection.send(head(`/stop/${index}`) + part);
      await expect.poll(() => stage.api.requests.some(({ path }) => path === `/stop/${index}`)).toBe(true);
      connection.socket.end();
      await answersUntilClosed(connection);
      await expect.poll(() => stage.api.open).toBe(0);
      expect(stage.api.requests.find(({ path }) => path === `/stop/${index}`)?.complete).toBe(false);
    }
  });
});

describe("a huge chunk extension", () => {
  it("never reaches the upstream", async () => {
    const connection = await stage.tunnel();
    connection.send(head("/extension"));
    connection.send(`5;${"x".repeat(200_000)}\r\nhello\r\n0\r\n\r\n`);
    const answer = await nextAnswer(connection);
    const received = stage.api.requests.find(({ path }) => path === "/extension");
    // Either reading is safe: cut as too large, or dropped and the body sent on.
    expect([undefined, 200, 431]).toContain(answer?.status);
    expect(`${received?.head}${received?.body}`).not.toContain("xxxx");
  });
});
