/** D2, D3, D6: hostile bytes in a secret are on the wire exactly as they are, or refused with a code; never a second header. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { leaksOf } from "../support/leaks.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const C = "canary-6e1f0a94d7c2b835";

/** In Basic a space at an end is inside the base64, in a query it is escaped; in a header it would be lost. */
type Verdict = "sent" | "sent, but not in a header" | "SOURCE_BAD_VALUE" | "SOURCE_SECRET_MISSING";

interface Case {
  readonly value: Buffer;
  readonly verdict: Verdict;
  /** What is sent, where the source cuts something. */
  readonly sent?: Buffer;
  /** A variable of the environment can't hold it. */
  readonly fileOnly?: boolean;
}

const text = (value: string, verdict: Verdict, sent?: string): Case => ({
  value: Buffer.from(value, "utf8"),
  verdict,
  ...(sent !== undefined && { sent: Buffer.from(sent, "utf8") }),
});
const bytes = (value: Buffer, verdict: Verdict): Case => ({ value, verdict, fileOnly: true });

const CASES: Readonly<Record<string, Case>> = {
  plain: text(C, "sent"),
  "cr-inside": text(`${C}\r${C}`, "SOURCE_BAD_VALUE"),
  "lf-inside": text(`${C}\n${C}`, "SOURCE_BAD_VALUE"),
  "header-inside": text(`${C}\r\nX-Evil: 1`, "SOURCE_BAD_VALUE"),
  "request-inside": text(`${C}\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil.test\r\n\r\n`, "SOURCE_BAD_VALUE"),
  "lf-header-inside": text(`${C}\nX-Evil: 1`, "SOURCE_BAD_VALUE"),
  "two-newlines-at-the-end": text(`${C}\n\n`, "SOURCE_BAD_VALUE"),
  "newline-at-the-start": text(`\n${C}`, "SOURCE_BAD_VALUE"),
  "cr-at-the-end": text(`${C}\r`, "SOURCE_BAD_VALUE"),
  tab: text(`${C}\t${C}`, "SOURCE_BAD_VALUE"),
  "tab-at-the-end": text(`${C}\t`, "SOURCE_BAD_VALUE"),
  escape: text(`${C}\x1b[31m`, "SOURCE_BAD_VALUE"),
  delete: text(`${C}\x7f`, "SOURCE_BAD_VALUE"),
  nul: bytes(Buffer.from(`${C}\0`), "SOURCE_BAD_VALUE"),
  "nul-alone": bytes(Buffer.from("\0"), "SOURCE_BAD_VALUE"),
  "vertical-tab": text(`${C}\x0b`, "SOURCE_BAD_VALUE"),
  "space-before": text(` ${C}`, "sent, but not in a header"),
  "space-behind": text(`${C} `, "sent, but not in a header"),
  "only-spaces": text("   ", "SOURCE_BAD_VALUE"),
  empty: text("", "SOURCE_SECRET_MISSING"),
  "replace-pattern": text(`${C}$&$1$\`$'$$`, "sent"),
  template: text(`${C}{{secret}}{secret}\${HOME}%s`, "sent"),
  quotes: text(`"${C}'\\"`, "sent"),
  commas: text(`${C},Basic x; a=b`, "sent"),
  percent: text(`${C}%0d%0aX-Evil:%201`, "sent"),
  "escaped-line-break": text(`${C}\\r\\nX-Evil: 1`, "sent"),
  colon: text(`user:${C}:x`, "sent"),
  "space-inside": text(`${C} ${C}`, "sent"),
  umlaut: text(`${C}-ü`, "sent"),
  emoji: text(`${C}-🔑`, "sent"),
  "turns-into-cr-lf": text(`${C}\u010d\u010aX-Evil: 1`, "sent"),
  "line-separator": text(`${C}\u2028X-Evil: 1`, "sent"),
  "next-line": text(`${C}\u0085X-Evil: 1`, "sent"),
  "byte-order-mark": text(`\ufeff${C}`, "sent"),
  "no-utf-8": bytes(Buffer.concat([Buffer.from(C), Buffer.from([0xff, 0xfe, 0x80])]), "sent"),
  slash: text(`${C}/${C}`, "sent"),
  "dot-segment": text(`${C}/../${C}`, "sent"),
  "slash-behind": text(`${C}/`, "sent"),
  backslash: text(`${C}\\${C}`, "sent"),
  "another-parameter": text(`${C}&admin=1;x=y#z?`, "sent"),
  "another-cookie": text(`${C}; admin=1`, "sent"),
  "60-kib": text(`${C}${"a".repeat(60 * 1024)}`, "sent"),
  "past-64-kib": text(`${C}${"a".repeat(64 * 1024)}`, "SOURCE_BAD_VALUE"),
  proto: text("__proto__", "sent"),
};

interface KindCase {
  readonly yaml: string;
  /** The header's line. */
  readonly expected?: (value: Buffer) => Buffer;
  /** The request's target. Default: the agent's path. */
  readonly target?: (value: Buffer, path: string) => string;
  /** A code for what has no place there. */
  readonly refuses?: (value: Buffer) => string | undefined;
}

/** Escapes all bytes but those that `plain` matches. */
const escaped = (value: Buffer, plain: RegExp): string =>
  Array.from(value, (byte) => {
    const char = String.fromCharCode(byte);
    return plain.test(char) ? char : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
  }).join("");
const edgeSpace = (value: Buffer): string | undefined =>
  value.at(0) === 0x20 || value.at(-1) === 0x20 ? "SOURCE_BAD_VALUE" : undefined;

const KINDS: Readonly<Record<string, KindCase>> = {
  bearer: {
    refuses: edgeSpace,
    yaml: "{ kind: bearer }",
    expected: (value) => Buffer.concat([Buffer.from("Authorization: Bearer "), value]),
  },
  basic: {
    yaml: "{ kind: basic, username: user }",
    expected: (value) =>
      Buffer.from(`Authorization: Basic ${Buffer.concat([Buffer.from("user:"), value]).toString("base64")}`),
  },
  header: {
    refuses: edgeSpace,
    yaml: '{ kind: header, name: X-Api-Key, format: "key={secret}" }',
    expected: (value) => Buffer.concat([Buffer.from("X-Api-Key: key="), value]),
  },
  query: {
    yaml: "{ kind: query, name: key }",
    target: (value, path) => `${path}?key=${escaped(value, /[A-Za-z0-9._~-]/)}`,
    refuses: (value) => (value.length > 16_000 ? "INGRESS_URI_TOO_LONG" : undefined),
  },
  path: {
    yaml: '{ kind: path, format: "/k/{secret}" }',
    target: (value, path) => `/k/${escaped(value, /[A-Za-z0-9._~!$&'()*+,=:@/-]/)}${path}`,
    refuses: (value) => {
      if (value.length > 16_000) return "INGRESS_URI_TOO_LONG";
      return /\\|\.\.|\/$|%[0-9a-f]{2}/i.test(value.toString("latin1")) ? "SOURCE_BAD_VALUE" : undefined;
    },
  },
  cookie: {
    yaml: "{ kind: cookie, name: sid }",
    expected: (value) => Buffer.concat([Buffer.from("Cookie: sid="), value]),
    refuses: (value) => (/[ ",;\\\x80-\xff]/.test(value.toString("latin1")) ? "SOURCE_BAD_VALUE" : undefined),
  },
};

const SOURCES = ["file", "env"] as const;
const HOST = "api.test";
const pathOf = (kind: string, source: string, index: number): string => `/c${index}-${kind}-${source}`;
const variableOf = (index: number): string => `SECRET_${index}`;

let upstream: RawUpstream;
let sidecar: TestSidecar;

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startRawUpstream({
    tls: await authority.issue({ names: [HOST] }),
    script: (_request, peer) => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
  });
  const routes: string[] = [];
  const environment: Record<string, string> = {};
  const cases = Object.entries(CASES);
  cases.forEach(([name, { value, fileOnly }], index) => {
    if (fileOnly !== true) environment[variableOf(index)] = value.toString("utf8");
    for (const [kind, { yaml }] of Object.entries(KINDS)) {
      for (const source of SOURCES) {
        const where = `https://${HOST}${pathOf(kind, source, index)}`;
        const path = source === "file" ? `file:${name}` : `env:${variableOf(index)}`;
        routes.push(`  c${index}-${kind}-${source}: { match: "${where}", secret: "${path}", inject: ${yaml} }`);
      }
    }
  });
  sidecar = await startTestSidecar({
    environment,
    files: { "ca.pem": authority.certificatePem },
    prepare: async (directory) => {
      mkdirSync(join(directory, "secrets"));
      for (const [name, { value }] of cases) writeFileSync(join(directory, "secrets", name), value);
    },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { file: { kind: file, root: ./secrets }, env: { kind: env } }
upstream:
  ca: ./ca.pem
  connect: { "${HOST}:443": "${upstream.address}" }
routes:
${routes.join("\n")}
`,
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
});

const table = Object.entries(CASES).flatMap(([name, { fileOnly }], index) =>
  Object.keys(KINDS).flatMap((kind) =>
    SOURCES.filter((source) => source === "file" || fileOnly !== true).map(
      (source) => [name, kind, source, index] as const,
    ),
  ),
);

const HEADER_OF: Readonly<Record<string, readonly string[]>> = {
  header: ["x-api-key"],
  query: [],
  path: [],
  cookie: ["cookie"],
};

describe("a secret", () => {
  it.each(table)("of the kind %s, as %s from %s", async (name, kind, source, index) => {
    const { value, verdict, sent = value } = CASES[name] ?? text("", "sent");
    const before = upstream.requests.length;
    const connection = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    connection.send(`GET ${pathOf(kind, source, index)} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    const response = await connection.receive();
    connection.destroy();
    if (value.length > 8 && value.includes(C)) expect(leaksOf(connection.transcript, Buffer.from(C))).toEqual([]);
    const requests = upstream.requests.slice(before);
    const { expected, target, refuses } = KINDS[kind] as KindCase;
    const code = verdict.startsWith("sent") ? refuses?.(sent) : verdict;
    if (code !== undefined) {
      const status = code === "INGRESS_URI_TOO_LONG" ? 414 : 503;
      expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([status, [code]]);
      expect(requests).toEqual([]);
      return;
    }
    expect([response.status, requests.length]).toEqual([200, 1]);
    const lines = requests[0]?.head.split("\r\n").slice(1) ?? [];
    if (expected !== undefined) expect(lines).toContain(expected(sent).toString("latin1"));
    const path = pathOf(kind, source, index);
    expect(requests[0]?.path).toBe(target === undefined ? path : target(sent, path));
    // One request, of exactly the headers that every other one has.
    expect(lines.map((line) => line.split(":")[0]?.toLowerCase())).toEqual([
      "host",
      "connection",
      "accept-encoding",
      ...(HEADER_OF[kind] ?? ["authorization"]),
    ]);
  });

  it("is in no audit record", async () => {
    expect(JSON.stringify(await sidecar.audit())).not.toContain(C);
  });
});
