/**
 * Attack: the upstream fails in every way while a secret is in the URL that was sent to it. Neither the agent's answer, nor
 * a line of the log at any level, nor the audit may quote that URL.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Log } from "../../src/core/log.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { leaksOf } from "../support/leaks.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { type RawPeer, type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const SECRET = "canary+x:5d1f0c93b7e84a26";
const GOOD = "good.test";
const UNTRUSTED = "untrusted.test";
const NOBODY = "nobody.test";

const KINDS: Readonly<Record<string, string>> = {
  query: "{ kind: query, name: key }",
  path: '{ kind: path, format: "/k{secret}" }',
  cookie: "{ kind: cookie, name: sid }",
  placeholder: "{ kind: placeholder, placeholder: placeholder-for-HOST, in: [path] }",
};

/** What the upstream does instead of answering; the code that the agent gets, or none where its connection is cut. */
const FAILURES: Readonly<
  Record<string, readonly [code: string | undefined, act: (peer: RawPeer, sent: string) => void]>
> = {
  resets: ["UPSTREAM_RESET", (peer) => peer.reset()],
  ends: ["UPSTREAM_RESET", (peer) => peer.end()],
  "sends no HTTP": ["UPSTREAM_BAD_RESPONSE", (peer, sent) => void peer.send(`${sent} is not HTTP\r\n\r\n`)],
  "sends a broken header": [
    "UPSTREAM_BAD_RESPONSE",
    (peer, sent) => void peer.send(`HTTP/1.1 200 OK\r\n${sent}\r\n\r\n`),
  ],
  "sends two lengths": [
    "UPSTREAM_BAD_RESPONSE",
    (peer, sent) => void peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\nX: ${sent}\r\n\r\n`),
  ],
  "sends a coding that nobody knows": [
    "UPSTREAM_UNDECODABLE",
    (peer, sent) =>
      void peer.send(`HTTP/1.1 200 OK\r\nContent-Encoding: zz\r\nX: ${sent}\r\nContent-Length: 1\r\n\r\nx`),
  ],
  "asks for proxy credentials": [
    "UPSTREAM_BAD_RESPONSE",
    (peer, sent) =>
      void peer.send(`HTTP/1.1 407 ${sent}\r\nProxy-Authenticate: Basic realm="${sent}"\r\nContent-Length: 0\r\n\r\n`),
  ],
  "stops in its body": [
    undefined,
    (peer, sent) => void peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n${sent}`).then(() => peer.reset()),
  ],
  "says nothing": ["UPSTREAM_TIMEOUT", () => undefined],
};

let good: RawUpstream;
let untrusted: RawUpstream;
let sidecar: TestSidecar;
const lines: string[] = [];
const keep = (message: string, fields?: object): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
const log: Log = { error: keep, warn: keep, info: keep, debug: keep };

beforeAll(async () => {
  const authority = await createTestAuthority();
  const other = await createTestAuthority();
  const names = Object.keys(FAILURES);
  good = await startRawUpstream({
    tls: await authority.issue({ names: [GOOD] }),
    script: ({ path, head }, peer) => {
      const [, number = ""] = /\/f(\d+)/.exec(path) ?? [];
      const [, act] = FAILURES[names[Number(number)] ?? ""] ?? [];
      const cookie = /^cookie: (.*)$/im.exec(head)?.[1] ?? "";
      act?.(peer, `${path} ${cookie}`);
    },
  });
  untrusted = await startRawUpstream({ tls: await other.issue({ names: [UNTRUSTED] }), script: () => undefined });
  const closed = await startRawUpstream({ script: () => undefined });
  await closed.close();
  const hosts = [GOOD, UNTRUSTED, NOBODY];
  const routes = hosts.flatMap((host) =>
    Object.entries(KINDS).map(
      ([kind, inject]) =>
        `  ${kind}-${host}: { match: "https://${host}/${kind}/**", secret: s, inject: ${inject.replace("HOST", host)}, timeouts: { headers: 500ms } }`,
    ),
  );
  sidecar = await startTestSidecar({
    files: { "ca.pem": authority.certificatePem },
    prepare: async (directory) => {
      mkdirSync(join(directory, "secrets"));
      writeFileSync(join(directory, "secrets", "s"), SECRET);
    },
    start: { log },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { file: { kind: file, root: ./secrets } }
upstream:
  ca: ./ca.pem
  connect:
    "${GOOD}:443": "${good.address}"
    "${UNTRUSTED}:443": "${untrusted.address}"
    "${NOBODY}:443": "${closed.address}"
routes:
${routes.join("\n")}
`,
  });
});
afterAll(async () => {
  await sidecar.close();
  await good.close();
  await untrusted.close();
});

/** Everything that came back. */
const ask = async (host: string, kind: string, rest: string): Promise<{ code: string | undefined; raw: Buffer }> => {
  const connection = await openTlsTunnel(sidecar.port, `${host}:443`, sidecar.ca);
  const path = kind === "placeholder" ? `/${kind}/placeholder-for-${host}${rest}` : `/${kind}${rest}`;
  connection.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  const response = await connection.receive().catch(() => undefined);
  await connection.closed();
  return { code: response?.headers.get("x-sidekey-error")?.[0], raw: connection.transcript };
};

describe.each(Object.keys(KINDS))("a secret in the %s", (kind) => {
  it.each(Object.keys(FAILURES).map((name, number) => [name, number] as const))(
    "is quoted by nothing when the upstream %s",
    async (name, number) => {
      const before = good.requests.length;
      const { code, raw } = await ask(GOOD, kind, `/f${number}`);
      expect(good.requests.length).toBe(before + 1);
      const sent = decodeURIComponent(good.requests.at(-1)?.head ?? "");
      expect(sent).toContain(SECRET);
      expect(code).toBe(FAILURES[name]?.[0]);
      expect(leaksOf(raw, Buffer.from(SECRET), { fragment: 8 })).toEqual([]);
    },
  );

  it.each([
    [UNTRUSTED, "TLS_UPSTREAM_UNTRUSTED"],
    [NOBODY, "UPSTREAM_UNREACHABLE"],
  ])("is quoted by nothing, and sent to nobody, at %s", async (host, expected) => {
    const { code, raw } = await ask(host, kind, "/f0");
    expect(code).toBe(expected);
    expect(leaksOf(raw, Buffer.from(SECRET), { fragment: 8 })).toEqual([]);
    expect(untrusted.requests).toEqual([]);
  });
});

describe("what is left behind", () => {
  it("has none of it: neither the log at any level, nor the audit", async () => {
    const audit = JSON.stringify(await sidecar.audit());
    expect(lines.length).toBeGreaterThan(20);
    expect(audit).toContain("UPSTREAM_UNREACHABLE");
    for (const text of [...lines, audit]) {
      expect(leaksOf(Buffer.from(text), Buffer.from(SECRET), { fragment: 8 })).toEqual([]);
    }
  });
});
