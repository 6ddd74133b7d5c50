/**
 * Ways to write a host that two parsers read in two ways (threats B3, B4), in every place where a request names one:
 * each is the canonical host or refused, and nothing is looked up or sent for it.
 */
import { isIP } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attack, failuresOf } from "../support/attack.ts";
import { openStage, type Stage } from "../support/oracles.ts";
import type { RawConnection } from "../support/raw-client.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

const utf8 = (text: string): string => Buffer.from(text).toString("latin1");

/** Neither the host nor any other. `api.test` stands for the name that is really meant. */
const BROKEN = [
  ...["api.test.", "api.test..", ".api.test", "api..test", "api.test.:443", "", ".", "..", "-", "_."],
  ...[
    "api.test:",
    "api.test:0",
    "api.test:65536",
    "api.test:99999",
    "api.test:4294967739",
    "api.test:0443",
    "api.test:+443",
  ],
  ...[
    "api.test:-1",
    "api.test:443x",
    "api.test:0x1bb",
    "api.test:443:443",
    "api.test:4 43",
    "api.test :443",
    "api.test:\xb2",
  ],
  ...[
    "user@api.test",
    "user:pw@api.test",
    "api.test@evil.test",
    "evil.test@api.test",
    "@api.test",
    "api.test@",
    ":@api.test",
  ],
  ...[
    "api.test#evil.test",
    "api.test#",
    "api.test/evil",
    "api.test/",
    "api.test\\evil.test",
    "\\api.test",
    "api.test?x",
  ],
  ...["api.test%00", "api.test%2eevil.test", "%61pi.test", "api%2etest", "api.test%20", "api.test%0d%0a", "%"],
  ...["\x00api.test", "api.test\x00", "api.test\x00.evil.test", "api\x0btest", "api.test\x7f", "api\ttest", "api test"],
  ...["\xe1pi.test", "api\xad.test", "api.test\xa0", "\x85api.test", utf8("\u00e1pi.test"), utf8("\uff41pi.test")],
  ...[
    utf8("api\u3002test"),
    utf8("api\uff0etest"),
    utf8("api\u200b.test"),
    utf8("\u202eapi.test"),
    utf8("\u2460.test"),
  ],
  ...[
    "[api.test]",
    "[api.test",
    "api.test]",
    "api[.]test",
    "[]",
    "[::1",
    "::1",
    "::1:443",
    "[::1]x",
    "[:::1]",
    "[::1%25lo]",
  ],
  ...["[::1%lo]", "[v1.x]", "[127.0.0.1]", "[::ffff:127.0.0.1", "[0:0:0:0:0:0:0:0:1]", "[g::]"],
  ...[
    "-api.test",
    "api-.test",
    "api.-test",
    "api.test-",
    "*.test",
    "api.*",
    "api!.test",
    "api$.test",
    "api&.test",
    "api~.test",
  ],
  ...[
    "api,test",
    "api.test,evil.test",
    "api.test;evil.test",
    "api.test|x",
    '"api.test"',
    "'api.test'",
    "<api.test>",
    "{api.test}",
  ],
  ...["http://api.test", "//api.test", "api.test=x", "(api.test)", "api.test+", "a^pi.test", "api`.test"],
  ...[
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    "1.2.3",
    "0",
    "256.0.0.1",
  ],
  ...[
    "127.0.0.0x1",
    "api.test.0x",
    "api.1",
    "1.2.3.4.5",
    `${"a".repeat(64)}.test`,
    `${"a.".repeat(126)}test`,
    "a".repeat(70_000),
  ],
];

/** Written well, and somebody else. */
const OTHERS = [
  ...[
    "evil.test",
    "sub.api.test",
    "test",
    "api.test.evil.test",
    "apitest",
    "api-test",
    "xn--pi-fka.test",
    "api_.test",
    "api.tes",
  ],
  ...["127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "169.254.169.254", "localhost"],
  ...["api.test:80", "api.test:8443", "api.test:1", "api.test:65535", "evil.test:443", "[::1]:443", "127.0.0.1:443"],
];

const SAME = ["api.test", "API.TEST", "Api.Test", "aPI.tEST", "api.test:443", "API.test:443"];

const SPELLINGS = [...BROKEN, ...OTHERS];

const fits = (spelling: string): boolean => spelling.length < 10_000;
const withPort = (spelling: string): string => (/[^\]:]:[^:]*$|\]:/.test(spelling) ? spelling : `${spelling}:443`);
const get = (target: string, host: string, more = ""): string =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
/** The name that stands behind the proxy's own port. */
const onPlain = (spelling: string): string =>
  spelling
    .replace(/api(?=\.test)/gi, (name) => (name === "API" ? "PLAIN" : name === "api" ? "plain" : "Plain"))
    .replace(/:(?:443|80)$/, (port) => (port === ":80" ? ":443" : ":80"));

/** Each place: what to send, and on what. */
type Place = (spelling: string) => Promise<readonly [RawConnection, string]>;

const AFTER_PLAIN = get("http://plain.test/after", "plain.test");

const PLACES: Readonly<Record<string, Place>> = {
  "the target of CONNECT": async (s) => [
    await stage.connect(),
    `CONNECT ${withPort(s)} HTTP/1.1\r\nHost: api.test:443\r\n\r\n`,
  ],
  "the Host of CONNECT": async (s) => [await stage.connect(), `CONNECT api.test:443 HTTP/1.1\r\nHost: ${s}\r\n\r\n`],
  "the Host inside": async (s) => [await stage.tunnel(), get("/inside", s)],
  "a second Host inside": async (s) => [await stage.tunnel(), get("/second", "api.test", `hOST: ${s}\r\n`)],
  "the absolute target inside": async (s) => [await stage.tunnel(), get(`https://${s}/absolute`, "api.test")],
  "the absolute target on the proxy's port": async (s) => [
    await stage.connect(),
    get(`http://${onPlain(s)}/x`, "plain.test"),
  ],
  "the Host on the proxy's port": async (s) => [await stage.connect(), get("http://plain.test/x", onPlain(s))],
};

/** In a target these begin the path or the query, and are no part of the host. */
const isHostInTarget = (spelling: string): boolean => !/[/?]/.test(spelling);

const REFUSED =
  /^refused (INGRESS_(BAD_REQUEST|AUTHORITY_MISMATCH|HEADERS_TOO_LARGE|URI_TOO_LONG|VERSION)|POLICY_NO_ROUTE)$/;

describe("a host that is not spelt plainly", () => {
  it("comes in more than 60 spellings here", () => {
    expect(new Set(SPELLINGS).size).toBe(SPELLINGS.length);
    expect(SPELLINGS.length).toBeGreaterThan(130);
  });

  it.each(Object.entries(PLACES))("is refused as %s", async (name, place) => {
    const spellings = name.includes("target") ? SPELLINGS.filter(isHostInTarget) : SPELLINGS;
    const failures = await failuresOf([...spellings, ...(name.includes("second") ? SAME : [])], async (spelling) => {
      const [connection, bytes] = await place(spelling);
      const fate = await attack(connection, [bytes], {
        method: bytes.slice(0, bytes.indexOf(" ")),
        followUp: AFTER_PLAIN,
      });
      return REFUSED.test(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
    expect(stage.api.requests.length + stage.plain.requests.length).toBe(1);
  });

  it("is refused as the name in the TLS handshake", async () => {
    // What OpenSSL does not send, it cannot test: no NUL, and no address (RFC 6066 section 3).
    const spellings = SPELLINGS.filter((s) => s !== "" && !s.includes("\x00") && s.length < 255 && isIP(s) === 0);
    const failures = await failuresOf([...spellings, "api.test:443"], async (spelling) => {
      const connection = await stage.tunnel("api.test:443", { servername: spelling });
      const fate = await attack(connection, [get("/sni", "api.test")]);
      return fate === "refused INGRESS_AUTHORITY_MISMATCH" ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });
});

describe("the host itself", () => {
  it("in any case and with its own port is one and the same, on the wire and on record", async () => {
    for (const spelling of SAME) {
      const tunnel = await stage.tunnel(withPort(spelling));
      expect(await attack(tunnel, [get("/same", spelling)])).toBe("forwarded");
      expect(await attack(tunnel, [get(`https://${spelling}/same`, spelling)])).toBe("forwarded");
      const direct = await stage.connect();
      const bytes = get(`HTTP://${onPlain(spelling)}/same`, onPlain(spelling));
      expect(await attack(direct, [bytes], { followUp: AFTER_PLAIN })).toBe("forwarded");
    }
    const hosts = [...stage.api.requests, ...stage.plain.requests].map((request) => request.header("host").join());
    expect([...new Set(hosts)].sort()).toEqual(["api.test", "plain.test"]);
  });
});

describe("a control in a host", () => {
  const CONTROLS = [...Array.from({ length: 0x21 }, (_, code) => code), 0x7f].map((code) => String.fromCharCode(code));
  const everywhere = CONTROLS.flatMap((control) =>
    Array.from(
      { length: "api.test".length + 1 },
      (_, at) => `${"api.test".slice(0, at)}${control}${"api.test".slice(at)}`,
    ),
  );

  it("at every place of the name is refused in CONNECT", async () => {
    expect(everywhere.length).toBe(34 * 9);
    // A second space before a target is none of it to Node's parser.
    const names = everywhere.filter((name) => name !== " api.test");
    const failures = await failuresOf(names, async (name) => {
      const connection = await stage.connect();
      const fate = await attack(connection, [`CONNECT ${name}:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n`], {
        method: "CONNECT",
      });
      return REFUSED.test(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });

  it("at every place of the name is refused in Host, but for the spaces that belong to the header", async () => {
    // Every third of them: each needs a TLS handshake of its own.
    const inside = everywhere.filter((name, i) => i % 3 === 0 && !/^[ \t]|[ \t]$/.test(name));
    const failures = await failuresOf(inside, async (name) => {
      const fate = await attack(await stage.tunnel(), [get("/control", name)]);
      return REFUSED.test(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });
});

it("an attack of this suite fits a header, but for the one that must not", () => {
  expect(SPELLINGS.filter((spelling) => !fits(spelling)).length).toBe(1);
});
