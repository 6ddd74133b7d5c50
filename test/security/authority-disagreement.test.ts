/**
 * Every combination of CONNECT, TLS name, Host and absolute target (threat B1): what names one authority everywhere is
 * sent there, and any disagreement is refused with nothing sent.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, type Fate, failuresOf } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const AUTHORITIES = ["api.test:443", "api.test:8443", "other.test:443", "127.0.0.1:9443"] as const;

/** As in a Host header or a URL of https. */
const written = (authority: string): string => authority.replace(/:443$/, "");
const nameOf = (authority: string): string => authority.replace(/:\d+$/, "");

/** Host lines, by what they name; undefined = refused whatever they are beside. */
const HOSTS: readonly (readonly [lines: string, names: string | undefined])[] = [
  ...AUTHORITIES.map((authority) => [`Host: ${written(authority)}\r\n`, authority] as const),
  ["Host: evil.test\r\n", "evil.test:443"],
  ["", undefined],
  ["Host: api.test\r\nHost: api.test\r\n", undefined],
  ["Host: api.test, api.test\r\n", undefined],
];

const TARGETS: readonly (readonly [target: string, names: string | undefined])[] = [
  ["/path", "the connection"],
  ...AUTHORITIES.map((authority) => [`https://${written(authority)}/path`, authority] as const),
  ["https://evil.test/path", "evil.test:443"],
  ["http://api.test/path", undefined],
  ["//other.test/path", undefined],
  ["/\\other.test/path", undefined],
  ["*", undefined],
];

interface Case {
  readonly connect: string;
  readonly sni: string;
  readonly host: (typeof HOSTS)[number];
  readonly target: (typeof TARGETS)[number];
}

/** No address goes into a TLS name (RFC 6066 section 3). */
const namesFor = (connect: string): string[] => [
  "",
  ...(connect.startsWith("127.") ? [] : [nameOf(connect)]),
  connect.startsWith("other") ? "api.test" : "other.test",
];

const CASES: readonly Case[] = AUTHORITIES.flatMap((connect) =>
  namesFor(connect).flatMap((sni) =>
    HOSTS.flatMap((host) => TARGETS.map((target) => ({ connect, sni, host, target }))),
  ),
);

const agrees = ({ connect, sni, host, target }: Case): boolean =>
  (sni === "" || sni === nameOf(connect)) &&
  host[1] === connect &&
  (target[1] === "the connection" || target[1] === connect);

const ask = async ({ connect, sni, host, target }: Case): Promise<Fate> => {
  const connection = await stage.tunnel(connect, { servername: sni });
  const followUp = `GET /after HTTP/1.1\r\nHost: ${written(connect)}\r\n\r\n`;
  return attack(connection, [`GET ${target[0]} HTTP/1.1\r\n${host[0]}\r\n`], { followUp });
};

describe("CONNECT, TLS name, Host and target", () => {
  it.each(AUTHORITIES)(
    "under CONNECT %s reach one upstream when they agree, and none when any two differ",
    async (connect) => {
      const cases = CASES.filter((one) => one.connect === connect);
      expect(cases.filter(agrees).length).toBe(2 * (namesFor(connect).length - 1));
      const failures = await failuresOf(cases, async (one) => {
        const fate = await ask(one);
        if (agrees(one)) return fate === "forwarded" ? undefined : fate;
        return /^refused INGRESS_(BAD_REQUEST|AUTHORITY_MISMATCH)$/.test(fate) ? undefined : fate;
      });
      expect(failures).toEqual([]);
    },
  );

  it("come in more than 800 combinations here", () => expect(CASES.length).toBeGreaterThan(800));
});

describe("the proxy's own port", () => {
  const HOST_LINES = [
    "Host: plain.test",
    "Host: plain.test:80",
    "Host: other.test",
    "Host: plain.test:8080",
    "",
    "Host: plain.test\r\nHost: plain.test",
  ];
  const BEGINNINGS = [
    ...[
      "http://plain.test",
      "HTTP://PLAIN.test:80",
      "http://plain.test:8080",
      "http://other.test",
      "https://plain.test",
    ],
    ...["", "//plain.test", "plain.test", "plain.test:80", "http:/plain.test", "http:plain.test", "http:///plain.test"],
    ...[
      "ftp://plain.test",
      "ws://plain.test",
      "wss://plain.test",
      "file://plain.test",
      "http//plain.test",
      "javascript://plain.test",
    ],
  ];

  it("takes absolute targets that their Host confirms, and no others", async () => {
    const cases = BEGINNINGS.flatMap((beginning) => HOST_LINES.map((line) => [beginning, line] as const));
    const failures = await failuresOf(cases, async ([beginning, line]) => {
      const bytes = `GET ${beginning}/direct HTTP/1.1\r\n${line}${line === "" ? "" : "\r\n"}\r\n`;
      const followUp = "GET http://plain.test/after HTTP/1.1\r\nHost: plain.test\r\n\r\n";
      const fate = await attack(await stage.connect(), [bytes], { followUp });
      const right = /^http:\/\/plain\.test(:80)?$/i.test(beginning) && /^Host: plain\.test(:80)?$/.test(line);
      if (right) return fate === "forwarded" ? undefined : fate;
      return /^refused (INGRESS_(BAD_REQUEST|AUTHORITY_MISMATCH)|POLICY_NO_ROUTE)$/.test(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("takes no CONNECT target but host and port", async () => {
    const targets = [
      "api.test",
      "api.test:",
      ":443",
      "443",
      "/",
      "*",
      "https://api.test:443",
      "http://api.test:443/",
      "api.test:443/",
    ];
    const more = [
      "api.test:https",
      "api.test:443?x",
      "api.test:443#x",
      "api.test:443:443",
      "//api.test:443",
      "api.test 443",
    ];
    const bodies = ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"];
    const cases = [
      ...[...targets, ...more].map((target) => [target, ""]),
      ...bodies.map((line) => ["api.test:443", line]),
    ];
    const failures = await failuresOf(cases, async ([target, line]) => {
      const bytes = `CONNECT ${target} HTTP/1.1\r\nHost: api.test:443\r\n${line}\r\nhello`;
      const fate = await attack(await stage.connect(), [bytes], { method: "CONNECT" });
      return fate === "refused INGRESS_BAD_REQUEST" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });
});
