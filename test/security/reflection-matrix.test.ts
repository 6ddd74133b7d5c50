/**
 * Attack: the upstream echoes the credential in every must-tier spelling, in every framing, through the real sidecar
 * (guarantees A1, A2, A8, A13; rulings 2 and 4). Nothing may come through, lengths stay true, and what is around the
 * echo arrives as it was.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SHAPES } from "../support/canaries.ts";
import { createTestAuthority } from "../support/certificates.ts";
import {
  CODED_FRAMINGS,
  type FramedAnswer,
  type Framing,
  PLAIN_FRAMINGS,
  RANGE_FRAMINGS,
} from "../support/framings.ts";
import { leaksOf } from "../support/leaks.ts";
import { openTlsTunnel, type RawConnection, type RawResponse } from "../support/raw-client.ts";
import { type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { mustSpellings, type Spelling } from "../support/spellings.ts";

const HOST = "echo.test";
const USER = "agent-7";

interface Credential {
  readonly name: string;
  readonly secret: Buffer;
  readonly inject: string;
  /** What is echoed. */
  readonly echoed: Buffer;
  /** What the agent sends besides. */
  readonly lines?: readonly string[];
}

/** As the query and the path carry it: all bytes escaped but those that `plain` matches. */
const escaped = (secret: Buffer, plain: RegExp): Buffer =>
  Buffer.from(
    Array.from(secret, (byte) => {
      const char = String.fromCharCode(byte);
      return plain.test(char) ? char : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
    }).join(""),
  );

const PUNCTUATED = SHAPES["a password with punctuation"] ?? Buffer.alloc(0);
/** What a path can hold: no backslash and no slash. */
const FOR_PATH = Buffer.from(`p@ss"w:ord'<&>%+ é!$*(),=CANARY`);
const SWAPPED = SHAPES["a vendor's key"] ?? Buffer.alloc(0);
const PLACEHOLDER = "placeholder-0123456789";
/** The agent's choice, so nothing that could be known beforehand. */
const SOMEBODY = "somebody-else";
const basicOf = (password: Buffer | string): string =>
  Buffer.concat([Buffer.from(`${SOMEBODY}:`), Buffer.from(password)]).toString("base64");

/** Credentials whose form on the wire is not the secret's. */
const ELSEWHERE: readonly Credential[] = [
  {
    name: "a parameter of the query",
    secret: PUNCTUATED,
    inject: "{ kind: query, name: key }",
    echoed: escaped(PUNCTUATED, /[A-Za-z0-9._~-]/),
  },
  {
    name: "a prefix of the path",
    secret: FOR_PATH,
    inject: '{ kind: path, format: "/k{secret}" }',
    echoed: escaped(FOR_PATH, /[A-Za-z0-9._~!$&'()*+,=:@-]/),
  },
  {
    name: "a placeholder inside Basic",
    secret: SWAPPED,
    inject: `{ kind: placeholder, placeholder: ${PLACEHOLDER}, in: [basic] }`,
    echoed: SWAPPED,
    lines: [`Authorization: Basic ${basicOf(PLACEHOLDER)}`],
  },
];

const CREDENTIALS: readonly Credential[] = [
  ...Object.entries(SHAPES).map(([name, secret]) => ({ name, secret, inject: "{ kind: bearer }", echoed: secret })),
  ...Object.entries(SHAPES)
    .slice(0, 2)
    .map(([name, secret]) => ({
      name: `the Basic blob of ${name}`,
      secret,
      inject: `{ kind: basic, username: ${USER} }`,
      echoed: Buffer.from(Buffer.concat([Buffer.from(`${USER}:`), secret]).toString("base64")),
    })),
  ...ELSEWHERE,
];

const FRAMINGS = [...PLAIN_FRAMINGS, ...RANGE_FRAMINGS, ...CODED_FRAMINGS];
/** Part of a secret that is a leak: what base64 shows of its edges is shorter. */
const FRAGMENT = 6;
/** A 4 KB secret is echoed in all spellings with a Content-Length, and in these otherwise: they are up to 24 KB long. */
const OF_LONG_ONES: readonly string[] = [
  "literal",
  "JSON string",
  "JSON, every unit, lower",
  "percent as encodeURIComponent",
  "base64 at 1, 2 behind",
  "hex, lower",
  "UTF-16 LE",
];

let upstream: RawUpstream;
let sidecar: TestSidecar;
const answers = new Map<string, FramedAnswer>();
const tunnels = new Map<number, RawConnection>();

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startRawUpstream({
    tls: await authority.issue({ names: [HOST] }),
    script: async (request, peer) => {
      // A prefix and a parameter may have come to it.
      const [path = request.path] = /\/c\d+\/\d+/.exec(request.path) ?? [];
      const answer = answers.get(path);
      if (answer === undefined) throw new Error(`no answer for ${request.path}`);
      for (const piece of answer.pieces) await peer.send(piece);
      if (answer.closes === true) peer.end();
    },
  });
  sidecar = await startTestSidecar({
    files: { "ca.pem": authority.certificatePem },
    prepare: async (directory) => {
      mkdirSync(join(directory, "secrets"));
      CREDENTIALS.forEach(({ secret }, i) => {
        writeFileSync(join(directory, "secrets", `s${i}`), secret);
      });
    },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { file: { kind: file, root: ./secrets } }
upstream: { ca: ./ca.pem, connect: { "${HOST}:443": "${upstream.address}" } }
routes:
${CREDENTIALS.map(({ inject }, i) => `  r${i}: { match: "https://${HOST}/c${i}/**", secret: s${i}, inject: ${inject}, on_reflection: redact }`).join("\n")}
`,
  });
});

afterAll(async () => {
  for (const tunnel of tunnels.values()) tunnel.destroy();
  await sidecar.close();
  await upstream.close();
});

interface Received {
  readonly response: RawResponse;
  /** Every byte of this answer, its framing included. */
  readonly raw: Buffer;
}

const ask = async (credential: number, path: string, answer: FramedAnswer, canRetry = true): Promise<Received> => {
  answers.set(path, answer);
  let tunnel = tunnels.get(credential);
  if (tunnel === undefined || tunnel.socket.destroyed) {
    tunnel = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    tunnels.set(credential, tunnel);
  }
  const before = tunnel.transcript.length;
  const lines = [`Host: ${HOST}`, "Accept-Encoding: gzip, deflate, br", ...(CREDENTIALS[credential]?.lines ?? [])];
  tunnel.send(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  const response = await tunnel.receive().catch((error: unknown) => {
    tunnels.delete(credential);
    if (answer.closes === true && canRetry) return undefined;
    throw error;
  });
  // An upstream that has always given its bodies a length is not watched for a proper end, and then not believed.
  if (response === undefined) return ask(credential, path, answer, false);
  const received = { response, raw: tunnel.transcript.subarray(before) };
  answers.delete(path);
  // A transcript of a thousand answers is slow to read.
  if (tunnel.transcript.length > 200_000 || response.headers.get("connection")?.includes("close") === true) {
    tunnel.destroy();
    tunnels.delete(credential);
  }
  return received;
};

const spellingsFor = ({ echoed }: Credential, framing: Framing): readonly Spelling[] =>
  mustSpellings(echoed).filter(
    ({ name, printable }) =>
      (framing.headersOnly !== true || printable) &&
      (echoed.length < 1000 || framing.name === "Content-Length" || OF_LONG_ONES.includes(name)),
  );

const check = (credential: Credential, spelling: Spelling, answer: FramedAnswer, received: Received): void => {
  const { response, raw } = received;
  const what = `${spelling.name}: ${response.status}`;
  // In one piece where chunks cut it.
  const seen = response.headers.has("transfer-encoding") ? Buffer.concat([raw, response.body]) : raw;
  for (const value of new Set([credential.secret, credential.echoed])) {
    expect(leaksOf(seen, value, { fragment: FRAGMENT }), what).toEqual([]);
  }
  // A head of more than the limit is refused as a whole.
  if (response.status === 502 && Buffer.concat(answer.pieces).length > 16_000) {
    expect(response.headers.get("x-sidekey-error"), what).toEqual(["UPSTREAM_BAD_RESPONSE"]);
    return;
  }
  expect(response.status, what).toBe(answer.status);
  expect(response.body.length, what).toBe(answer.length);
  if (answer.counted === true) expect(response.headers.get("content-length"), what).toEqual([String(answer.length)]);
  expect(response.headers.has("content-encoding"), what).toBe(false);
  if (answer.body !== undefined) expect(response.body.equals(answer.body), what).toBe(true);
  else expect(response.body.toString("latin1"), what).toContain("[redac");
};

describe.each(CREDENTIALS.map((credential, index) => ({ ...credential, index })))("$name", (credential) => {
  test.each(FRAMINGS)("never comes back in $name", async (framing) => {
    const spellings = spellingsFor(credential, framing);
    for (const [i, spelling] of spellings.entries()) {
      const answer = framing.answer(spelling.bytes);
      const path = `/c${credential.index}/${i}`;
      check(credential, spelling, answer, await ask(credential.index, path, answer));
    }
    expect(spellings.length).toBeGreaterThan(3);
  });
});

test("not even cut at every place into two records", async () => {
  const index = 1;
  const credential = CREDENTIALS[index] as Credential;
  for (const spelling of mustSpellings(credential.echoed)) {
    if (!/^(?:literal|JSON|percent|base64)/.test(spelling.name)) continue;
    for (let at = 1; at < spelling.bytes.length; at++) {
      const halves = [spelling.bytes.subarray(0, at), spelling.bytes.subarray(at)];
      const pieces = [
        Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ...halves.map((half) => Buffer.from(`${half.length.toString(16)}\r\n${half.toString("latin1")}\r\n`, "latin1")),
        Buffer.from("0\r\n\r\n"),
      ];
      const answer = { pieces, length: spelling.bytes.length, status: 200 };
      check(credential, spelling, answer, await ask(index, `/c${index}/${at}`, answer));
    }
  }
});

test("the agent's own Basic, with our secret in it, is not echoed either", async () => {
  const index = CREDENTIALS.findIndex(({ lines }) => lines !== undefined);
  const credential = CREDENTIALS[index] as Credential;
  const blob = Buffer.from(basicOf(SWAPPED));
  const answer = (PLAIN_FRAMINGS[0] as Framing).answer(blob);
  check(credential, { name: "blob", bytes: blob, printable: true }, answer, await ask(index, `/c${index}/0`, answer));
  expect(upstream.transcript().includes(blob)).toBe(true);
});

test("every cell of the matrix would be a leak if nothing were scrubbed", () => {
  let cells = 0;
  for (const credential of CREDENTIALS) {
    for (const framing of FRAMINGS) {
      for (const { bytes, name } of spellingsFor(credential, framing)) {
        cells++;
        if (framing.name !== "Content-Length") continue;
        const sent = Buffer.concat(framing.answer(bytes).pieces);
        expect(leaksOf(sent, credential.echoed, { fragment: FRAGMENT }), name).not.toEqual([]);
      }
    }
  }
  console.info(`reflection matrix: ${cells} cells`);
});
