/**
 * Expect (threat C4): answered by us, in one exact spelling, after policy and the secret; never forwarded. Where the
 * answer is final instead, whether a body follows must have one reading.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersUntilClosed, attack, failuresOf, nextAnswer, sendPieces } from "../support/attack.ts";
import { bodyHash, openStage, type Stage } from "../support/oracles.ts";

const EARLY = "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage({ api: { early: ({ path }) => (path.startsWith("/early") ? EARLY : undefined) } });
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
const post = (path: string, lines: string, length = 5): string =>
  `POST ${path} HTTP/1.1\r\nHost: api.test\r\n${lines}\r\nContent-Length: ${length}\r\n\r\n`;

const REFUSED = [
  ...["", " ", "100", "continue", "100-continu", "100-continuee", "x 100-continue", "100-continue x", "100 - continue"],
  ...["100-continue, 100-continue", "100-continue,", ",100-continue", "100-continue;q=1", '"100-continue"', "200-ok"],
  ...["100_continue", "y 100-continue", "100-continue/1.1", "101-continue", "expect", "\xa0100-continue"],
].map((value) => `Expect: ${value}`);

const TWICE = [
  "Expect: 100-continue\r\nExpect: 100-continue",
  "Expect: 100-continue\r\nexpect: x",
  "Expect: \r\nExpect: 100-continue",
];

/** Broken as a header: llhttp's word comes first. */
const BROKEN = [
  "Expect: 100-continue\x0b",
  "Expect : 100-continue",
  " Expect: 100-continue",
  "Expect: 100-continue\r\n ",
  "Expect: 100-\x00continue",
  "Expect: a\nX: b",
];

describe("an Expect other than 100-continue", () => {
  it("is refused, with its body unread", async () => {
    const failures = await failuresOf([...REFUSED, ...TWICE, ...BROKEN], async (lines) => {
      const fate = await attack(await stage.tunnel(), [`${post("/expect", lines, SMUGGLED.length)}${SMUGGLED}`]);
      const codes = ["refused INGRESS_EXPECTATION", ...(BROKEN.includes(lines) ? ["refused INGRESS_BAD_REQUEST"] : [])];
      return codes.includes(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("is refused in HTTP/1.0", async () => {
    const bytes = "POST /expect HTTP/1.0\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    expect(await attack(await stage.tunnel(), [bytes])).toBe("refused INGRESS_EXPECTATION");
  });

  it("spelt with other marks is a header like any other, and does not leave", async () => {
    for (const name of ["Expect_", "X-Expect"]) {
      expect(await attack(await stage.tunnel(), [`${post("/marks", `${name}: 100-continue`)}hello`])).toBe("forwarded");
    }
  });
});

describe("Expect: 100-continue", () => {
  it.each(["100-continue", "100-Continue", "100-CONTINUE", " 100-continue "])(
    "'%s' is answered by us once",
    async (value) => {
      const connection = await stage.tunnel();
      connection.send(post("/go", `X-Body-Sha256: ${bodyHash("hello")}\r\nExpect: ${value}`));
      expect((await nextAnswer(connection))?.status).toBe(100);
      connection.send("hello");
      expect((await nextAnswer(connection))?.status).toBe(200);
      expect(stage.api.requests.at(-1)?.header("expect")).toEqual([]);
    },
  );

  it("is not answered with 100 by policy's refusal, and the connection ends: body or request, nobody guesses", async () => {
    for (const behind of ["hello", SMUGGLED, `hello${SMUGGLED}`]) {
      for (const pieces of [
        [post("/forbidden/x", "Expect: 100-continue") + behind],
        [post("/forbidden/x", "Expect: 100-continue"), behind],
      ]) {
        const connection = await stage.tunnel();
        await sendPieces(connection, pieces);
        expect((await answersUntilClosed(connection)).map(({ status }) => status)).toEqual([403]);
      }
    }
  });

  it("with a final answer from the upstream before the body leaves nothing of the body to be read as a request", async () => {
    for (const body of ["hello there", SMUGGLED]) {
      const connection = await stage.tunnel();
      await sendPieces(connection, [post(`/early/${body.length}`, "Expect: 100-continue", body.length)]);
      expect((await nextAnswer(connection))?.status).toBe(100);
      await sendPieces(connection, [body.slice(0, 3)]);
      expect((await nextAnswer(connection))?.status).toBe(413);
      await sendPieces(connection, [body.slice(3), "GET /next HTTP/1.1\r\nHost: api.test\r\n\r\n"]);
      // The connection may end here, or go on with exactly the next request.
      const next = await nextAnswer(connection);
      if (next !== undefined) expect(String(next.body)).toMatch(/^GET \/next /);
    }
    expect(stage.api.requests.filter(({ path }) => path === "/smuggled")).toEqual([]);
  });

  it("is answered in its turn when requests are pipelined", async () => {
    const connection = await stage.tunnel();
    connection.send(`${SMUGGLED.replace("smuggled", "one")}${post("/two", "Expect: 100-continue")}hello`);
    const statuses: unknown[] = [];
    for (let i = 0; i < 3; i++) statuses.push((await nextAnswer(connection))?.status);
    expect(statuses).toEqual([200, 100, 200]);
  });
});
