/** Content-Length that two parsers read in two ways (threat C2): anything but one plain decimal number. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, everySplit, failuresOf } from "../support/attack.ts";
import { bodyHash, openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";

const VALUES = [
  ...["", " ", "+5", "-5", "-0", "+0", "00", "05", "005", "0x5", "0X5", "5h", "0b101", "0o5", "5.0", "5.", ".5", "5e0"],
  ...[
    "5,5",
    "5, 5",
    "5,6",
    ",5",
    "5,",
    "5;5",
    "5 5",
    "5\t5",
    "5 ,5",
    "5\x00",
    "\x005",
    "5\x0b",
    "\x0b5",
    "5\xa0",
    "\xa05",
  ],
  ...[
    "\xb2",
    "5\xb2",
    "\x855",
    "five",
    "NaN",
    "null",
    "true",
    '"5"',
    "'5'",
    "(5)",
    "5;",
    "5#",
    "5%",
    "%35",
    "5_0",
    "1_000",
  ],
  ...[
    "18446744073709551621",
    "9223372036854775813",
    "99999999999999999999999",
    "9007199254740993",
    "4294967301x",
    "1e1",
  ],
  ...[
    "5\r\n 0",
    "\r\n 5",
    "5\r\n\t",
    "5\n",
    "\n5",
    "5\r",
    "\r5",
    "5\r\nX",
    "5 chunked",
    "chunked",
    "5:",
    ":5",
    "=5",
    "5/5",
  ],
].map((value) => `Content-Length: ${value}`);

const NAMES = [
  ...[
    "Content-Length ",
    "Content-Length\t",
    " Content-Length",
    "\tContent-Length",
    "Content Length",
    "Content-\r\n Length",
  ],
  ...[
    "Content-Length\x00",
    "\x00Content-Length",
    "Content-Length\x0b",
    "Content-Length\xa0",
    "Content-Length:",
    "Content/Length",
  ],
  ...['"Content-Length"', "(Content-Length)", "Content-Length,", "Content-Length=", "Cont\xe4nt-Length"],
].map((name) => `${name}: 5`);

const TWICE = ["5", "0", "42", "05", "", "x"].flatMap((second) => [
  `Content-Length: 5\r\nContent-Length: ${second}`,
  `Content-Length: 5\r\nX: y\r\ncontent-length: ${second}`,
]);

const HIDDEN = [
  ...["X: a\nContent-Length: 5", "X: a\rContent-Length: 5", "Content-Length: 5\nX: a", "Content-Length 5"],
  ...["Connection: content-length\r\nContent-Length: 5", "Connection: close, Content_Length\r\nContent-Length: 5"],
];

const REFUSED = [...VALUES, ...NAMES, ...TWICE, ...HIDDEN];

/** What is no Content-Length to us, and must be none to anybody behind us. */
const NEIGHBOURS = [
  "Content_Length",
  "CONTENT_LENGTH",
  "Content.Length",
  "Content~Length",
  "X-Content-Length",
  "ContentLength",
];

describe("a Content-Length that is not one plain number", () => {
  it("comes in more than 100 forms here", () => {
    expect(new Set(REFUSED).size).toBe(REFUSED.length);
    expect(REFUSED.length).toBeGreaterThan(100);
  });

  it.each(["POST", "GET"])("is refused on %s, and nothing behind it is read", async (method) => {
    const before = stage.api.requests.length;
    const failures = await failuresOf(REFUSED, async (lines) => {
      const fate = await attack(await stage.tunnel(), [
        `${method} /cl HTTP/1.1\r\nHost: api.test\r\n${lines}\r\n\r\nhello${SMUGGLED}`,
      ]);
      return fate === "refused INGRESS_BAD_REQUEST" ? undefined : fate;
    });
    expect(failures).toEqual([]);
    expect(stage.api.requests.length).toBe(before);
  });

  it("is not made of a name that only looks like it", async () => {
    const failures = await failuresOf(NEIGHBOURS, async (name) => {
      const fate = await attack(await stage.tunnel(), [
        `POST /cl/neighbour HTTP/1.1\r\nHost: api.test\r\n${name}: 42\r\n\r\n`,
      ]);
      return fate === "forwarded" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });
});

describe("one plain Content-Length", () => {
  const METHODS = ["GET", "POST", "PUT", "PATCH", "OPTIONS", "PROPFIND", "REPORT", "PURGE", "M-SEARCH", "LOCK"];

  it("delimits the body on every method, a body that looks like a request included", async () => {
    const failures = await failuresOf(METHODS, async (method) => {
      const fate = await attack(await stage.tunnel(), [
        `${method} /cl/${method} HTTP/1.1\r\nHost: api.test\r\nX-Body-Sha256: ${bodyHash(SMUGGLED)}\r\n` +
          `Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
      ]);
      const received = stage.api.requests.find(({ path }) => path === `/cl/${method}`);
      if (String(received?.body) !== SMUGGLED) return `got ${received?.head}`;
      return fate === "forwarded" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("of 0 is a request without a body, with a HEAD as well", async () => {
    for (const method of ["GET", "POST", "HEAD"]) {
      const bytes = `${method} /cl/none HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n`;
      expect(await attack(await stage.tunnel(), [bytes], { method })).toBe("forwarded");
    }
  });

  it("means the same wherever the segment is cut", async () => {
    const text = `POST /cl/split HTTP/1.1\r\nHost: api.test\r\nX-Body-Sha256: ${bodyHash("hello")}\r\nContent-Length: 5\r\n\r\nhello`;
    const failures = await failuresOf(everySplit(text, 2), async (pieces) => {
      const fate = await attack(await stage.tunnel(), pieces);
      return fate === "forwarded" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("larger than what comes leaves the upstream with a cut request, never a whole one", async () => {
    const connection = await stage.tunnel();
    connection.send(`POST /cl/short HTTP/1.1\r\nHost: api.test\r\nContent-Length: 999999999999999\r\n\r\nhello`);
    await expect.poll(() => stage.api.requests.find(({ path }) => path === "/cl/short")?.body.length).toBe(5);
    connection.destroy();
    await expect.poll(() => stage.api.open).toBe(0);
    expect(stage.api.requests.find(({ path }) => path === "/cl/short")?.complete).toBe(false);
  });
});
