/** B11: no byte of a request, let alone the key, reaches an upstream whose certificate does not hold for the authority. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  CLIENT_USE,
  type Issuer,
  identityOf,
  issue,
  permittedDomain,
  readIssuer,
  type ServerIdentity,
  unknownCritical,
} from "../support/chains.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { type RawUpstream, type RawUpstreamOptions, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const CANARY = "canary-0b6c7f19d2e84a35";
const HOST = "deep.api.test";
const ADDRESS = "127.0.0.1:4433";
const dns = (value: string) => ({ type: "dns" as const, value });
const ip = (value: string) => ({ type: "ip" as const, value });
const good = { subject: HOST, names: [dns(HOST), ip("127.0.0.1")] };

/** Name of the case, and the host that it needs where it is not the usual one. */
const CASES: Readonly<Record<string, (trusted: Issuer, own: Issuer) => Promise<ServerIdentity>>> = {
  expired: async (root) => identityOf(await issue({ ...good, from: -3, to: -1 }, root)),
  "not yet valid": async (root) => identityOf(await issue({ ...good, from: 1, to: 3 }, root)),
  "self-signed": async () => identityOf(await issue(good)),
  "self-signed CA": async () => identityOf(await issue({ ...good, ca: true })),
  "another name": async (root) => identityOf(await issue({ ...good, names: [dns("api.test"), dns("test")] }, root)),
  "another CA": async () => identityOf(await issue(good, await issue({ ca: true, subject: "Test root" }))),
  "this sidecar's own CA": async (_root, own) => identityOf(await issue(good, own)),
  "the common name alone": async (root) => identityOf(await issue({ subject: HOST }, root)),
  "the common name beside an address": async (root) =>
    identityOf(await issue({ subject: HOST, names: [ip("127.0.0.1")] }, root)),
  "a wildcard over two labels": async (root) => identityOf(await issue({ ...good, names: [dns("*.test")] }, root)),
  "a wildcard for everything": async (root) => identityOf(await issue({ ...good, names: [dns("*")] }, root)),
  "a wildcard in the middle": async (root) => identityOf(await issue({ ...good, names: [dns("deep.*.test")] }, root)),
  "a wildcard inside a label": async (root) => identityOf(await issue({ ...good, names: [dns("d*p.api.test")] }, root)),
  "a trailing dot": async (root) => identityOf(await issue({ ...good, names: [dns(`${HOST}.`)] }, root)),
  "a NUL behind the name": async (root) =>
    identityOf(await issue({ ...good, names: [dns(`${HOST}\0.evil.test`)] }, root)),
  "a comma and the name": async (root) =>
    identityOf(await issue({ ...good, names: [dns(`evil.test, DNS:${HOST}`)] }, root)),
  "the name as a URI": async (root) =>
    identityOf(await issue({ ...good, names: [{ type: "url", value: `https://${HOST}` }] }, root)),
  "client use alone": async (root) => identityOf(await issue({ ...good, usage: [CLIENT_USE] }, root)),
  "an RSA key of 1024 bits": async (root) => identityOf(await issue({ ...good, key: "rsa1024" }, root)),
  "a SHA-1 signature": async (root) => identityOf(await issue({ ...good, hash: "SHA-1" }, root)),
  "an unknown critical extension": async (root) =>
    identityOf(await issue({ ...good, more: [unknownCritical()] }, root)),
  "a missing intermediate": async (root) =>
    identityOf(await issue(good, await issue({ ca: 0, subject: "Middle" }, root))),
  "an expired intermediate": async (root) => {
    const middle = await issue({ ca: 0, subject: "Middle", from: -3, to: -1 }, root);
    return identityOf(await issue(good, middle), middle);
  },
  "an intermediate of RSA 1024": async (root) => {
    const middle = await issue({ ca: 0, subject: "Middle", key: "rsa1024" }, root);
    return identityOf(await issue(good, middle), middle);
  },
  "an intermediate that is no CA": async (root) => {
    const middle = await issue({ subject: "Middle" }, root);
    return identityOf(await issue(good, middle), middle);
  },
  "one intermediate too many": async (root) => {
    const first = await issue({ ca: 0, subject: "First" }, root);
    const second = await issue({ ca: 0, subject: "Second" }, first);
    return identityOf(await issue(good, second), second, first);
  },
  "an intermediate for other names": async (root) => {
    const middle = await issue({ ca: 0, subject: "Middle", more: [permittedDomain("other.test")] }, root);
    return identityOf(await issue(good, middle), middle);
  },
};

let root: Issuer;
let sidecar: TestSidecar;
let current: RawUpstream | undefined;
let front: RawUpstream;

const answer: RawUpstreamOptions["script"] = (_request, peer) =>
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

beforeAll(async () => {
  root = await issue({ ca: true, subject: "Test root", to: 30 });
  // The file needs a port before the upstream of a test has one: this listener holds it and is replaced in place.
  front = await startRawUpstream({ script: answer });
  sidecar = await startTestSidecar({
    environment: { KEY: CANARY },
    files: { "ca.pem": `${root.certificate.toString("pem")}\n` },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { name: { match: "https://${HOST}/**", secret: KEY }, address: { match: "https://${ADDRESS}/**", secret: KEY } }
upstream: { ca: ./ca.pem, connect: { "${HOST}:443": "${front.address}", "${ADDRESS}": "${front.address}" } }
`,
  });
  await front.close();
});

afterAll(async () => {
  await sidecar.close();
});

/** Serves on the port of the file, and asks for it by `host`. */
const ask = async (tls: NonNullable<RawUpstreamOptions["tls"]>, host = `${HOST}:443`) => {
  current = await startRawUpstream({ tls, script: answer, port: front.port });
  try {
    const answers: (readonly [number, string | undefined])[] = [];
    // Twice: what the first handshake left behind must not open the door to the second.
    for (let attempt = 0; attempt < 2; attempt++) {
      const connection = await openTlsTunnel(sidecar.port, host, sidecar.ca, { servername: host.replace(/:.*/, "") });
      connection.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      const response = await connection.receive();
      answers.push([response.status, response.headers.get("x-sidekey-error")?.[0]]);
      expect(connection.transcript.includes(CANARY)).toBe(false);
      connection.destroy();
    }
    return { answers, received: current.transcript().toString("latin1"), handshakes: current.peers.length };
  } finally {
    await current.close();
  }
};

const UNTRUSTED = [
  [502, "TLS_UPSTREAM_UNTRUSTED"],
  [502, "TLS_UPSTREAM_UNTRUSTED"],
];

const ownAuthority = async (): Promise<Issuer> => {
  const state = join(sidecar.directory, ".sidekey");
  return readIssuer(await readFile(join(state, "ca.pem"), "utf8"), await readFile(join(state, "ca.key"), "utf8"));
};

describe("a certificate", () => {
  it("that holds gets the request", async () => {
    const { answers, received } = await ask(await identityOf(await issue(good, root)));
    expect(answers).toEqual([
      [200, undefined],
      [200, undefined],
    ]);
    expect(received).toContain(CANARY);
  });

  it.each([
    [
      "by an intermediate",
      async () => {
        const middle = await issue({ ca: 0, subject: "Middle" }, root);
        return identityOf(await issue(good, middle), middle);
      },
    ],
    ["by a wildcard for one label", async () => identityOf(await issue({ names: [dns("*.api.test")] }, root))],
    ["with RSA 2048", async () => identityOf(await issue({ ...good, key: "rsa2048" }, root))],
  ])("that holds %s does too", async (_how, create) => {
    expect((await ask(await create())).answers[0]).toEqual([200, undefined]);
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "is refused in all these cases under %s",
    { timeout: 60_000 },
    async (version) => {
      const own = await ownAuthority();
      for (const [name, create] of Object.entries(CASES)) {
        const identity = await create(root, own);
        const { answers, received, handshakes } = await ask({ ...identity, maxVersion: version, ciphers: WEAK });
        expect([name, answers]).toEqual([name, UNTRUSTED]);
        expect([name, received, handshakes]).toEqual([name, "", 2]);
      }
    },
  );

  it("for an address must name the address", async () => {
    const host = ADDRESS;
    for (const names of [[dns("127.0.0.1")], [dns(HOST)], [ip("127.0.0.2")]]) {
      const { answers, received } = await ask(
        await identityOf(await issue({ subject: "127.0.0.1", names }, root)),
        host,
      );
      expect([answers, received]).toEqual([UNTRUSTED, ""]);
    }
    const identity = await identityOf(await issue({ names: [ip("127.0.0.1")] }, root));
    expect((await ask(identity, host)).answers[0]).toEqual([200, undefined]);
  });

  it.each(["TLSv1", "TLSv1.1"] as const)("over %s is not even looked at", async (version) => {
    const identity = await identityOf(await issue(good, root));
    const { answers, received } = await ask({ ...identity, minVersion: version, maxVersion: version, ciphers: WEAK });
    expect([answers, received]).toEqual([UNTRUSTED, ""]);
  });

  it("is checked whatever the environment says", async () => {
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      const { answers, received } = await ask(await identityOf(await issue(good)));
      expect([answers, received]).toEqual([UNTRUSTED, ""]);
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });
});

/** For the test's server: whatever OpenSSL has, so that the refusal is the client's. */
const WEAK = "ALL:@SECLEVEL=0";

describe("two names on one address", () => {
  it("get each the certificate and the key of the authority, never of Host", async () => {
    const asked: string[] = [];
    const identities = new Map([
      [HOST, await identityOf(await issue(good, root))],
      ["evil.test", await identityOf(await issue({ names: [dns("evil.test")] }, root))],
    ]);
    const evil = identities.get("evil.test");
    if (evil === undefined) throw new Error("no certificate");
    const { answers, received } = await ask({
      ...evil,
      SNICallback(name, done) {
        asked.push(name);
        done(null, createSecureContext(identities.get(name) ?? evil));
      },
    });
    expect(answers[0]).toEqual([200, undefined]);
    expect(new Set(asked)).toEqual(new Set([HOST]));
    expect(received.match(/^host: .*$/gim)).toEqual([`host: ${HOST}`, `host: ${HOST}`]);
  });

  it("give nothing to a Host that is not the authority", async () => {
    current = await startRawUpstream({ script: answer, port: front.port });
    const connection = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    connection.send("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    expect((await connection.receive()).status).toBe(421);
    connection.destroy();
    expect(current.peers).toEqual([]);
    await current.close();
  });
});
