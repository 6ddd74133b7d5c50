/**
 * Ways to write a path that policy and an upstream might read in two ways (threats B9, B10): no spelling of a denied
 * path gets through, and what gets through is, byte for byte, the path that policy saw and the audit tells.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { canonicalPath } from "../../src/sidecar/policy/path.ts";
import { attack, failuresOf } from "../support/attack.ts";
import { isForbidden, openStage, type Stage } from "../support/oracles.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterEach(() => stage.check());
afterAll(() => stage.close());

/** Spellings that some server takes for `/forbidden/x`, which the route denies. */
const DENIED = [
  ...[
    "/forbidden",
    "/forbidden/",
    "/forbidden/x",
    "/forbidden/x/y",
    "/forbidden?x",
    "/forbidden/x?/../../open",
    "/forbidden/?#".slice(0, -1),
  ],
  ...[
    "/%66orbidden/x",
    "/%66%6F%72%62%69%64%64%65%6e/x",
    "/forbidde%6E",
    "/f%6frbidden/x",
    "/%2566orbidden/x",
    "/%25%36%36orbidden/x",
  ],
  ...[
    "/%252566orbidden/x",
    "//forbidden/x",
    "///forbidden/x",
    "/./forbidden/x",
    "/.//forbidden/x",
    "/%2e/forbidden/x",
    "/%2E/forbidden",
  ],
  ...[
    "/open/../forbidden/x",
    "/open/%2e%2e/forbidden/x",
    "/open/.%2e/forbidden/x",
    "/open/%2e./forbidden/x",
    "/open/%252e%252e/forbidden",
  ],
  ...[
    "/open/..%2fforbidden/x",
    "/open%2f..%2fforbidden/x",
    "/open/..%5cforbidden/x",
    "/open\\..\\forbidden\\x",
    "/open/..\\forbidden",
  ],
  ...[
    "/forbidden%2fx",
    "/forbidden%2Fx",
    "/forbidden%5cx",
    "/forbidden\\x",
    "/forbidden%252fx",
    "/%2fforbidden/x",
    "/\\forbidden/x",
  ],
  ...[
    "/forbidden;/x",
    "/forbidden;a=b/x",
    "/forbidden;a/../x",
    "/forbidden%3b/x",
    "/forbidden%3ba=b/x",
    "/forbidden%253b/x",
    "/;/forbidden/x",
  ],
  ...[
    "/;x/forbidden/x",
    "/.;/forbidden/x",
    "/.;a=b/forbidden/x",
    "/open/..;/forbidden/x",
    "/open/..;a=b/forbidden",
    "/open/%2e%2e;/forbidden",
  ],
  ...[
    "/open/..%3b/forbidden",
    "/open/.%2e%3b/forbidden",
    "/open/x/../../forbidden",
    "/open/./../forbidden/x",
    "/forbidden/.",
    "/forbidden/./x",
  ],
  ...[
    "/forbidden/..",
    "/forbidden/../forbidden/x",
    "/forbidden//x",
    "/forbidden/%00",
    "/forbidden%00/x",
    "/forbidden\x00/x",
    "/%00/forbidden",
  ],
  ...[
    "/forbidden%0a/x",
    "/forbidden%0d%0a/x",
    "/forbidden%09/x",
    "/forbidden\x0b",
    "/forbidden\x7f",
    "/forbidden%7f/x",
    "/forbidden%c0%af%2e",
  ],
  ...[
    "/%c0%afforbidden/x",
    "/open%c0%af..%c0%afforbidden",
    "/open/%c0%ae%c0%ae/forbidden",
    "/open/%e0%80%ae%e0%80%ae/forbidden/x",
  ],
  ...[
    "/%e0%80%affo",
    "/%f0%80%80%afforbidden",
    "/open/%c0%ae./forbidden",
    "/%c1%a6orbidden/x",
    "/open/%25c0%25ae/x",
    "/%c0%2fforbidden",
  ],
  ...[
    "forbidden/x",
    "./forbidden/x",
    "../forbidden",
    "\\forbidden",
    "%2fforbidden/x",
    "?/forbidden",
    "#/forbidden",
    ";/forbidden",
    "",
  ],
  ...[
    "/forbidden#x",
    "/open#/../forbidden",
    "/%",
    "/%6",
    "/%zz/forbidden",
    "/%u0066orbidden",
    "/forbidden%",
    "/%-1",
    "/%2",
    "/ forbidden",
  ],
  ...[
    "/open/../../forbidden/x",
    "/../forbidden/x",
    "/..",
    "/.",
    "/...//forbidden",
    "/open/...;/../forbidden",
    "/~/../forbidden/x",
  ],
  ...[
    "//evil.test/forbidden",
    "/\\evil.test/x",
    "///evil.test",
    "/%5cevil.test",
    "/%2f%2fevil.test",
    "\\\\evil.test",
    "//api.test@evil.test/x",
  ],
];

/** Allowed, and how each must arrive: with the query untouched. */
const ALLOWED: readonly (readonly [sent: string, arrives: string])[] = [
  ["/", "/"],
  ["/open", "/open"],
  ["/open/", "/open/"],
  ["/open/%7Eme", "/open/~me"],
  ["/open/%41%62c", "/open/Abc"],
  ["/open/%e2%82%ac", "/open/%E2%82%AC"],
  ["/open/a%20b", "/open/a%20b"],
  ["/open/a+b", "/open/a+b"],
  ["/open/a%2bb", "/open/a%2Bb"],
  ["/open/...", "/open/..."],
  ["/open/.well-known/x", "/open/.well-known/x"],
  ["/open/..x/y", "/open/..x/y"],
  ["/open/x;v=1", "/open/x;v=1"],
  ["/open/(a)!*'$&,=:@", "/open/(a)!*'$&,=:@"],
  ['/open/"<>^`{|}', "/open/%22%3C%3E%5E%60%7B%7C%7D"],
  ["/FORBIDDEN/x", "/FORBIDDEN/x"],
  ["/forbiddenx", "/forbiddenx"],
  ["/forbidden.json", "/forbidden.json"],
  ["/open/forbidden/x", "/open/forbidden/x"],
  ["/open?/../forbidden", "/open?/../forbidden"],
  ["/open?a=%2e%2e%2f&b=//x&c=;d", "/open?a=%2e%2e%2f&b=//x&c=;d"],
  ["/open??x", "/open??x"],
  ["/open?", "/open?"],
];

const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: api.test\r\n\r\n`;

describe("a denied path", () => {
  it("comes in more than 100 spellings here", () => {
    expect(new Set(DENIED).size).toBe(DENIED.length);
    expect(DENIED.length).toBeGreaterThan(100);
  });

  it.each([
    ["as a path", (path: string) => path],
    ["in an absolute target", (path: string) => `https://api.test${path}`],
  ])("gets through in none of them, %s", async (how, target) => {
    // What does not begin a path ends the authority of an absolute target, and is tested there.
    const paths = how === "as a path" ? DENIED : DENIED.filter((path) => path.startsWith("/"));
    const before = stage.api.requests.length;
    const failures = await failuresOf(paths, async (path) => {
      const fate = await attack(await stage.tunnel(), [get(target(path))]);
      return /^refused (INGRESS_BAD_REQUEST|INGRESS_VERSION|INGRESS_AUTHORITY_MISMATCH|POLICY_DENIED)$/.test(fate)
        ? undefined
        : fate;
    });
    expect(failures).toEqual([]);
    const targets = stage.api.requests.slice(before).map((request) => request.path);
    expect(new Set(targets)).toEqual(new Set(["/after"]));
  });

  it("stays denied when the request's method changes, but for DELETE, which is denied everywhere", async () => {
    for (const method of ["POST", "PUT", "HEAD", "OPTIONS", "PROPFIND", "PURGE", "DELETE"]) {
      const bytes = `${method} /%66orbidden;x/y HTTP/1.1\r\nHost: api.test\r\n\r\n`;
      expect(await attack(await stage.tunnel(), [bytes], { method })).toBe("refused POLICY_DENIED");
    }
    expect(await attack(await stage.tunnel(), ["DELETE /open HTTP/1.1\r\nHost: api.test\r\n\r\n"])).toBe(
      "refused POLICY_DENIED",
    );
  });

  it("is known to the test's own reading, too", () => {
    const readings = DENIED.map((path) => canonicalPath(path.split("?", 1)[0] ?? "")).filter(
      (path) => path !== undefined,
    );
    expect(readings.length).toBeGreaterThan(10);
    expect(readings.filter((path) => !isForbidden(path))).toEqual([]);
  });
});

describe("an allowed path", () => {
  it("arrives in its one canonical spelling, which is the one on record", async () => {
    const failures = await failuresOf(ALLOWED, async ([sent, arrives]) => {
      const connection = await stage.tunnel();
      const fate = await attack(connection, [get(sent)]);
      const lines = connection.transcript.toString("latin1");
      return fate === "forwarded" && lines.includes(`GET ${arrives} HTTP/1.1`) ? undefined : `${fate}: ${lines}`;
    });
    expect(failures).toEqual([]);
  });

  it("has a canonical spelling that is canonical", () => {
    for (const [, arrives] of ALLOWED) {
      const path = arrives.split("?", 1)[0] ?? "";
      expect(canonicalPath(path)).toBe(path);
    }
  });

  it("with a query that holds what belongs escaped is refused", async () => {
    const queries = ["?#", "?a#b", "?\\", "?a b", "?\x00", "?\x7f", "?\xe9", "?\t", "?\x0b", "?a\x1f"];
    const failures = await failuresOf(queries, async (query) => {
      const fate = await attack(await stage.tunnel(), [get(`/open${query}`)]);
      return /^refused INGRESS_/.test(fate) ? undefined : fate;
    });
    expect(failures).toEqual([]);
  });
});
