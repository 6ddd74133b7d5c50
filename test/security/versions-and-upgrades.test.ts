/**
 * Versions other than HTTP/1.1, and requests to speak something else on the connection (threats C7, C8): one protocol,
 * whatever the agent asks for, and nothing behind an upgrade passes unread.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersUntilClosed, attack, failuresOf, sendPieces } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";

/** Request lines with a version that is none of ours, or no version at all. */
const LINES = [
  ...[
    "GET /v",
    "GET /v ",

    "GET\t/v HTTP/1.1",
    "GET /v\tHTTP/1.1",
    " GET /v HTTP/1.1",
  ],
  ...[
    "GET /v HTTP/0.9",
    "GET /v HTTP/1.2",
    "GET /v HTTP/1.10",
    "GET /v HTTP/01.1",
    "GET /v HTTP/1.01",
    "GET /v HTTP/2.0",
  ],
  ...[
    "GET /v HTTP/2",
    "GET /v HTTP/3.0",
    "GET /v HTTP/9.9",
    "GET /v HTTP/1",
    "GET /v HTTP/1.",
    "GET /v HTTP/.1",
    "GET /v HTTP/1,1",
  ],
  ...[
    "GET /v http/1.1",
    "GET /v Http/1.1",
    "GET /v HTTPS/1.1",
    "GET /v HTP/1.1",

    "GET /v ICE/1.0",
    "GET /v HTTP/1.1 ",
  ],
  ...[
    "GET /v HTTP/1.1 x",
    "GET /v HTTP /1.1",
    "GET /v HTTP/ 1.1",
    "GET /v HTTP/1 .1",
    "GET /v HTTP/-1.1",
    "GET /v HTTP/1.1\x00",
  ],
  ...[
    "GET /v HTTP/1.1\x0b",
    "GET /v\x00 HTTP/1.1",
    "GET /v\rHTTP/1.1",
    "GET /v\nHTTP/1.1",
    "get /v HTTP/1.1",
    "Get /v HTTP/1.1",
  ],
  ...[
    "GE T /v HTTP/1.1",
    "\x00GET /v HTTP/1.1",
    "G\xcbT /v HTTP/1.1",
    "GETT /v HTTP/1.1",
    "TRACK /v HTTP/1.1",
    "DEBUG /v HTTP/1.1",
  ],
  ...["GET  /v HTTP/1.1", "GET /v  HTTP/1.1", "GET /v RTSP/1.0", "SOURCE /v HTTP/1.1"],
  ...["HTTP/1.1 200 OK", "PRI * HTTP/2.0", "SOURCE /v ICE/1.0", "DESCRIBE /v RTSP/1.0", "/v HTTP/1.1", "GET", ""],
];

describe("a request line of another version", () => {
  it("comes in more than 45 forms here", () => expect(new Set(LINES).size).toBeGreaterThan(45));

  it("is refused or cut, and nothing behind it is read", async () => {
    const before = stage.api.requests.length;
    const failures = await failuresOf(
      LINES.filter((line) => line !== ""),
      async (line) => {
        const fate = await attack(await stage.tunnel(), [`${line}\r\nHost: api.test\r\n\r\n${SMUGGLED}`]);
        return /^refused INGRESS_(BAD_REQUEST|VERSION|METHOD_REFUSED)$/.test(fate) ? undefined : fate;
      },
    );
    expect(failures).toEqual([]);
    expect(stage.api.requests.length).toBe(before);
  });

  it("is refused on the proxy's own port as well", async () => {
    const lines = [
      "GET http://plain.test/ HTTP/2.0",
      "GET http://plain.test/ HTTP/0.9",
      "CONNECT api.test:443 HTTP/2.0",
    ];
    for (const line of [...lines, "GET http://plain.test/", "PRI * HTTP/2.0", "CONNECT api.test:443"]) {
      const connection = await stage.connect();
      connection.send(`${line}\r\nHost: plain.test\r\n\r\n${SMUGGLED}`);
      const answers = await answersUntilClosed(connection);
      expect(answers.map(({ status }) => [400, 505].includes(status))).toEqual([true]);
    }
  });

  it("is not reached through ALPN: h2 is not on offer", async () => {
    const connection = await stage.tunnel();
    await sendPieces(connection, ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Buffer.from("000000040000000000", "hex")]);
    expect((await answersUntilClosed(connection)).map(({ status }) => status)).toEqual([400]);
  });
});

describe("HTTP/1.0", () => {
  it("is answered, and the connection ends behind the answer", async () => {
    for (const lines of ["Host: api.test\r\n", "", "Connection: close\r\n"]) {
      const connection = await stage.tunnel();
      connection.send(`GET /ten HTTP/1.0\r\n${lines}\r\n`);
      const answers = await answersUntilClosed(connection);
      expect(answers.map(({ status, headers }) => [status, headers.has("transfer-encoding")])).toEqual([[200, false]]);
    }
  });

  it("has no Transfer-Encoding and no mismatch of its Host", async () => {
    const cases = [
      ["Transfer-Encoding: chunked\r\n", "refused INGRESS_BAD_REQUEST"],
      ["Host: other.test\r\n", "refused INGRESS_AUTHORITY_MISMATCH"],
      ["Host: api.test\r\nHost: api.test\r\n", "refused INGRESS_BAD_REQUEST"],
    ] as const;
    for (const [lines, fate] of cases) {
      expect(await attack(await stage.tunnel(), [`POST /ten HTTP/1.0\r\n${lines}\r\n0\r\n\r\n${SMUGGLED}`])).toBe(fate);
    }
  });
});

describe("a request to upgrade", () => {
  const SETTINGS = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
  const IGNORED = [
    `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n${SETTINGS}`,
    `Connection: HTTP2-Settings\r\nUpgrade: h2c\r\n${SETTINGS}`,
    "Connection: Upgrade\r\nUpgrade: h2c\r\n",
    "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "Connection: Upgrade\r\nUpgrade: HTTP/2.0, TLS/1.3\r\n",
    "Connection: Upgrade\r\nUpgrade: connect-udp\r\n",
    "Connection: Upgrade\r\nUpgrade: \r\n",
    "Connection: Upgrade\r\n",
    "Upgrade: h2c\r\n",
    `Upgrade_: h2c\r\nHTTP2_Settings: x\r\n`,
  ];

  it("to anything but websocket is answered as plain HTTP, and not passed on", async () => {
    const failures = await failuresOf(IGNORED, async (lines, index) => {
      const fate = await attack(await stage.tunnel(), [
        `GET /upgrade/${index} HTTP/1.1\r\nHost: api.test\r\n${lines}\r\n`,
      ]);
      const received = stage.api.requests.find(({ path }) => path === `/upgrade/${index}`);
      const left = received?.headers.filter(([name]) => /^(upgrade|http2.settings)$/i.test(name)) ?? [];
      return fate === "forwarded" && left.length === 0 ? undefined : `${fate}, ${JSON.stringify(left)}`;
    });
    expect(failures).toEqual([]);
  });

  it("is the last on its connection: behind it may come another protocol", async () => {
    for (const lines of ["Upgrade: h2c", "Upgrade: foo", "Connection: Upgrade\r\nUpgrade: h2c"]) {
      for (const behind of [SMUGGLED, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x81\x05hello"]) {
        const connection = await stage.tunnel();
        await sendPieces(connection, [
          `POST /upgrade/body HTTP/1.1\r\nHost: api.test\r\n${lines}\r\nContent-Length: 5\r\n\r\nhello${behind}`,
          SMUGGLED,
        ]);
        const answers = await answersUntilClosed(connection);
        // Bytes that are no HTTP may cut it before the answer, as anywhere.
        expect(answers.length).toBeLessThanOrEqual(1);
        if (behind === SMUGGLED) expect(answers.length).toBe(1);
        for (const { status, headers } of answers)
          expect([status, headers.get("connection")]).toEqual([200, ["close"]]);
      }
    }
    expect(stage.api.requests.filter(({ path }) => path === "/smuggled")).toEqual([]);
  });

  it("to websocket is refused in every spelling, and what was sent ahead is never read", async () => {
    const spellings = [
      "websocket",
      "WebSocket",
      "WEBSOCKET",
      "websocket, h2c",
      "h2c, websocket",
      "websocket/13",
      "x-websocket",
    ];
    for (const spelling of spellings) {
      const connection = await stage.tunnel();
      connection.send(
        "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
          `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUpgrade: ${spelling}\r\n\r\n${SMUGGLED}`,
      );
      const answers = await answersUntilClosed(connection);
      expect(answers.map(({ headers }) => headers.get("x-sidekey-error"))).toEqual([["INGRESS_UPGRADE_UNSUPPORTED"]]);
    }
  });
});
