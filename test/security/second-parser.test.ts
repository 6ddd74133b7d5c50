/**
 * A second opinion on what leaves: haproxy between the sidecar and the upstream. It must refuse nothing that we forward,
 * and hand on the same requests that an upstream gets straight from us.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, failuresOf } from "../support/attack.ts";
import { type Haproxy, hasHaproxy, startHaproxy } from "../support/haproxy.ts";
import { bodyHash, openStage, type Stage } from "../support/oracles.ts";
import type { StrictRequest } from "../support/strict-upstream.ts";

/** With SIDEKEY_TEST_ALL=1 a missing haproxy is a failure. */
const isMissing = process.env["SIDEKEY_TEST_ALL"] !== "1" && !hasHaproxy();
if (isMissing) console.log("second-parser: skipped, haproxy is not installed (apt-get install haproxy)");

const METHODS = [
  "GET",
  "POST",
  "PUT",
  "PATCH",
  "HEAD",
  "OPTIONS",
  "PROPFIND",
  "REPORT",
  "SEARCH",
  "PURGE",
  "M-SEARCH",
  "LINK",
  "QUERY",
];
const TARGETS = [
  ...[
    "/",
    "/a",
    "/a/",
    "/a/b;v=1/c",
    "/%7Euser",
    "/%e2%82%ac",
    "/a%20b",
    "/a+b",
    "/...",
    "/.well-known/x",
    "/(a)!*'$&,=:@",
    '/"<>^`{|}',
    "/a%25b",
  ],
  ...[
    "/?",
    "/??",
    "/?a=b&c",
    "/?a=%zz",
    "/?/../x",
    "/?a=//b",
    '/?"<>^`{|}',
    "/?a=%00",
    "/?a[]=1",
    "https://api.test/abs",
    "https://api.test?q",
  ],
];
const HEADERS = [
  ...[
    "",
    "X-Empty:\r\n",
    "X-Space: a b  c\r\n",
    "X-Tab: a\tb\r\n",
    "X-Latin: caf\xe9 \xff\r\n",
    "X-Comma: a,,b, c\r\n",
    'X-Quote: "a\\"b"\r\n',
  ],
  ...[
    "!#$%&'*+-.^`|~: x\r\n",
    "x_under_score: 1\r\n",
    "X-Colon: a:b::c\r\n",
    "X-Twice: 1\r\nX-Twice: 2\r\nx-twice: 3\r\n",
    "1: 2\r\n",
    "a: b\r\n",
  ],
  ...[
    "Transfer_Encoding: chunked\r\n",
    "Content_Length: 5\r\n",
    "Transfer.Encoding: chunked\r\n",
    "Host_: evil.test\r\n",
    "H.ost: x\r\n",
  ],
  ...[
    "Connection: X-Drop\r\nX-Drop: 1\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "TE: trailers\r\n",
  ],
  ...[
    "Authorization: mine\r\nauthorization: too\r\n",
    "Cookie: a=b; c=d\r\n",
    "Content-Type: multipart/form-data; boundary=x\r\n",
    "Max-Forwards: 0\r\n",
  ],
  ...[
    "Expect_: 100-continue\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "Via: 1.1 x\r\n",
    "Date: x\r\n",
    `X-Long: ${"x".repeat(7_000)}\r\n`,
    "Sec-WebSocket-Key: x\r\n",
  ],
  Array.from({ length: 80 }, (_, i) => `X-N${i}: ${i}\r\n`).join(""),
];
const BODIES = [
  ...[
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other.tst\r\n\r\n",
    "Content-Length: 0\r\n\r\n",
  ],
  ...[
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n7\r\n0\r\n\r\nGE\r\n1;x=y\r\nT\r\n0\r\nX-Trailer: 1\r\n\r\n",
  ],
  ...[
    `Transfer-Encoding: Chunked\r\n\r\n${"0".repeat(20)}a\r\n0123456789\r\n00\r\n\r\n`,
    `Content-Length: 70000\r\n\r\n${"\0\xff".repeat(35_000)}`,
  ],
];

const request = (id: string, method: string, target: string, headers: string, body: string): string =>
  `${method} ${target} HTTP/1.1\r\nHost: api.test\r\nX-Case: ${id}\r\n${headers}${body}`;

interface Case {
  readonly id: string;
  readonly method: string;
  readonly bytes: string;
}

const CASES: readonly Case[] = [
  ...METHODS.map((method) => ({ id: `m-${method}`, method, bytes: request(`m-${method}`, method, "/m", "", "\r\n") })),
  ...TARGETS.map((target, i) => ({ id: `t-${i}`, method: "GET", bytes: request(`t-${i}`, "GET", target, "", "\r\n") })),
  ...HEADERS.map((lines, i) => ({ id: `h-${i}`, method: "GET", bytes: request(`h-${i}`, "GET", "/h", lines, "\r\n") })),
  ...BODIES.flatMap((body, i) =>
    ["POST", "GET", "PUT", "OPTIONS"].map((method) => {
      const id = `b-${i}-${method}`;
      return { id, method, bytes: request(id, method, "/b", "", body) };
    }),
  ),
];

describe.skipIf(isMissing)("haproxy behind the sidecar", () => {
  let straight: Stage;
  let through: Stage;
  let haproxy: Haproxy;

  beforeAll(async () => {
    through = await openStage({
      between: async (upstream, certificate) => {
        haproxy = await startHaproxy(certificate, upstream.address);
        return haproxy.address;
      },
    });
    straight = await openStage();
    through.rebase();
  });
  afterEach(async () => {
    await Promise.all([through.check(), straight.check()]);
  });
  afterAll(async () => {
    await through?.close();
    await straight?.close();
    await haproxy?.close();
  });

  it("refuses nothing that we forward, and reads the same in it", async () => {
    const byId = new Map(CASES.map((one) => [one.id, one]));
    const failures = await failuresOf([...byId.keys()], async (id) => {
      const { method = "", bytes = "" } = byId.get(id) ?? {};
      const fates = [];
      for (const stage of [straight, through]) fates.push(await attack(await stage.tunnel(), [bytes], { method }));
      const [ours, theirs] = [straight, through].map(({ api }) =>
        api.requests.find((one) => one.header("x-case")[0] === id),
      );
      if (ours === undefined || theirs === undefined) return `${fates}: ${ours?.head} / ${theirs?.head}`;
      if (outline(ours) !== outline(theirs)) return `${outline(ours).slice(0, 500)} / ${outline(theirs).slice(0, 500)}`;
      return fates.every((fate) => fate === "forwarded") ? undefined : fates.join();
    });
    expect(failures).toEqual([]);
    expect(CASES.length).toBeGreaterThan(80);
  });

  it("has logged no bad request and no broken one", () => {
    // The state of a request that ended well is two dashes; PR is one that haproxy refused.
    const lines = haproxy.log.filter((line) => /^\d{3} /.test(line));
    expect(lines.length).toBeGreaterThan(80);
    expect(lines.filter((line) => !/^200 --/.test(line))).toEqual([]);
  });
});

/** What a request says, whatever the spelling: haproxy writes names in lower case and frames bodies anew. */
const outline = ({ method, target, headers, body }: StrictRequest): string => {
  const lines = headers
    .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .filter((line) => !/^(connection|content-length|transfer-encoding):/.test(line))
    .sort();
  return [`${method} ${target}`, `${body.length} bytes: ${bodyHash(body)}`, ...lines].join("\n");
};
