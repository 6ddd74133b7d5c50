/** More than anybody needs (threats C11, H4): headers by number and size, targets, names and values, in every place. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersUntilClosed, attack, failuresOf, sendPieces } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const lines = (count: number, value = "x"): string =>
  Array.from({ length: count }, (_, i) => `X-H${i}: ${value}\r\n`).join("");
const get = (target: string, more: string, host = "api.test"): string =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
const KIB = 1024;

describe("too many headers", () => {
  it.each([201, 500, 999, 1_000, 1_001, 2_000, 5_000])("%i of them are refused", async (count) => {
    const fate = await attack(await stage.tunnel(), [get("/many", lines(count - 1))]);
    expect(fate).toBe("refused INGRESS_HEADERS_TOO_LARGE");
  });

  it("hide no Transfer-Encoding, Content-Length, Host or Authorization behind a limit", async () => {
    const hidden = [
      "Transfer-Encoding: chunked",
      "Content-Length: 5",
      "Host: evil.test",
      "Authorization: x",
      "Expect: x",
      "Upgrade: websocket",
    ];
    const cases = hidden.flatMap((line) =>
      [199, 999, 1_000, 1_100, 1_999, 2_001].map((count) => [line, count] as const),
    );
    const before = stage.api.requests.length;
    const failures = await failuresOf(cases, async ([line, count]) => {
      const smuggled = `5\r\nhello\r\n0\r\n\r\n${get("/smuggled", "")}`;
      const fate = await attack(await stage.tunnel(), [
        `POST /hidden HTTP/1.1\r\nHost: api.test\r\n${lines(count)}${line}\r\n\r\n${smuggled}`,
      ]);
      return fate === "refused INGRESS_HEADERS_TOO_LARGE" ? undefined : fate;
    });
    expect(failures).toEqual([]);
    expect(stage.api.requests.length).toBe(before);
  });

  it("are fewer than 200: those all arrive", async () => {
    expect(await attack(await stage.tunnel(), [get("/fits", lines(190, "y".repeat(100)))])).toBe("forwarded");
    const received = stage.api.requests.find(({ path }) => path === "/fits");
    expect(received?.headers.filter(([name]) => name.startsWith("X-H")).length).toBe(190);
  });
});

describe("a head that is too large", () => {
  const CASES: readonly (readonly [string, string])[] = [
    ["one value of 64 KiB", get("/", `X: ${"x".repeat(64 * KIB)}\r\n`)],
    ["one value of 1 MiB", get("/", `X: ${"x".repeat(KIB * KIB)}\r\n`)],
    ["one name of 64 KiB", get("/", `${"x".repeat(64 * KIB)}: x\r\n`)],
    ["100 values of 1 KiB", get("/", lines(100, "x".repeat(KIB)))],
    ["a Host of 64 KiB", get("/", "", "a".repeat(64 * KIB))],
    ["a cookie of 64 KiB", get("/", `Cookie: ${"a=b; ".repeat(13 * KIB)}\r\n`)],
    ["a Connection list of 64 KiB", get("/", `Connection: ${"x, ".repeat(22 * KIB)}x\r\n`)],
    ["a target of 64 KiB", get(`/${"a".repeat(64 * KIB)}`, "")],
    ["a query of 64 KiB", get(`/?${"a".repeat(64 * KIB)}`, "")],
    ["an absolute target of 64 KiB", get(`https://api.test/${"a".repeat(64 * KIB)}`, "")],
    ["a target of 17 KiB", get(`/${"a".repeat(17 * KIB)}`, "")],
    ["a query of 17 KiB", get(`/?${"a".repeat(17 * KIB)}`, "")],
    ["17 KiB of escapes", get(`/${"%41".repeat(6 * KIB)}`, "")],
    ["a method of 64 KiB", `${"G".repeat(64 * KIB)} / HTTP/1.1\r\n\r\n`],
    ["a version of 64 KiB", `GET / HTTP/1.1${"1".repeat(64 * KIB)}\r\n\r\n`],
  ];

  it.each(CASES)("%s is refused", async (_name, bytes) => {
    const before = stage.api.requests.length;
    const connection = await stage.tunnel();
    await sendPieces(connection, [bytes]);
    const answers = await answersUntilClosed(connection);
    // A client that goes on sending may find the connection reset before it has read the answer.
    expect(answers.length).toBeLessThanOrEqual(1);
    for (const { status } of answers) expect([400, 414, 431]).toContain(status);
    expect(stage.api.requests.length).toBe(before);
  });

  it.each([
    ["the target of CONNECT", `CONNECT ${"a".repeat(64 * KIB)}:443 HTTP/1.1\r\nHost: api.test\r\n\r\n`],
    ["the target of CONNECT, in labels", `CONNECT ${"a.".repeat(8 * KIB)}test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n`],
    ["the headers of CONNECT", `CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n${lines(1_000)}\r\n`],
    ["a value on the proxy's port", get("http://plain.test/", `X: ${"x".repeat(64 * KIB)}\r\n`, "plain.test")],
    ["the target on the proxy's port", get(`http://plain.test/${"a".repeat(64 * KIB)}`, "", "plain.test")],
  ])("%s is refused", async (_name, bytes) => {
    const connection = await stage.connect();
    await sendPieces(connection, [bytes]);
    const answers = await answersUntilClosed(connection);
    expect(answers.length).toBeLessThanOrEqual(1);
    for (const { status } of answers) expect([400, 414, 431]).toContain(status);
  });

  it("because of its target is answered so", async () => {
    const sent = get(`/${"a".repeat(64 * KIB)}`, "").slice(0, 64 * KIB);
    expect(await attack(await stage.tunnel(), [sent])).toBe("refused INGRESS_URI_TOO_LONG");
  });

  it("but just fits arrives whole", async () => {
    const target = `/${"a".repeat(15 * KIB)}`;
    expect(await attack(await stage.tunnel(), [get(target, `X: ${"x".repeat(30 * KIB)}\r\n`)])).toBe("forwarded");
    expect(stage.api.requests.find(({ path }) => path === target)?.header("x")[0]?.length).toBe(30 * KIB);
  });
});

describe("trailers that are too large", () => {
  it("end the request, not the sidecar", async () => {
    const connection = await stage.tunnel();
    const head = "POST /trailers HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    await sendPieces(connection, [head, lines(3_000, "x".repeat(100)), "\r\n"]);
    expect((await answersUntilClosed(connection)).length).toBeLessThanOrEqual(1);
    expect(stage.api.requests.filter(({ path, complete }) => path === "/trailers" && complete)).toEqual([]);
    expect(await attack(await stage.tunnel(), [get("/still", "")])).toBe("forwarded");
  });
});
