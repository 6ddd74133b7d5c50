import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AuditEvent, createPhrases, createTimestamp, encodeEvent, TEXT_CAPS } from "../../../src/audit/record.ts";

const TIME = "2026-01-02T03:04:05.678Z";

const full: AuditEvent = {
  metadata: '{"token_id":"t1"}',
  agentName: "researcher",
  ip: "192.0.2.7",
  actorType: "token",
  actor: "t1",
  event: "secret.read",
  reason: "why",
  outcome: "ok",
  count: 3,
  reflected: 2,
  ms: { upstream: 7.12345, source: 0.5, total: 12 },
  bytesDown: 20,
  bytesUp: 10,
  status: 200,
  code: "POLICY_DENIED",
  decision: "inject",
  path: "/v1/x",
  authority: "api.example.com",
  scheme: "https",
  method: "POST",
  version: "3",
  secret: "local:production/x/key",
  route: "x",
  agent: "default",
  attempt: 2,
  requestId: "r1",
  type: "outcome",
};

const parse = (event: AuditEvent): Record<string, unknown> => JSON.parse(`{${encodeEvent(event, TIME)}}`);

const HOSTILE = [
  'a"b\\c',
  'line\nfeed\r\n{"seq":1}',
  "\u001b[2J\u009b31m\u007f",
  "\u202eright to left\u2066\u200f",
  "\u2028\u2029\ufeff",
  "lone \ud800 and \udc00",
  "🔑 ключ",
  "\u0000",
  "x".repeat(1024 * 1024),
  "\ud83d".repeat(5000),
];

const TEXTS = {
  requestId: ["request_id", TEXT_CAPS.name],
  agent: ["agent", TEXT_CAPS.name],
  route: ["route", TEXT_CAPS.name],
  secret: ["secret", TEXT_CAPS.secret],
  version: ["version", TEXT_CAPS.name],
  method: ["method", TEXT_CAPS.method],
  authority: ["authority", TEXT_CAPS.authority],
  path: ["path", TEXT_CAPS.path],
  reason: ["reason", TEXT_CAPS.reason],
  event: ["event", TEXT_CAPS.name],
  actor: ["actor", TEXT_CAPS.name],
  actorType: ["actor_type", TEXT_CAPS.name],
  ip: ["ip", TEXT_CAPS.name],
  agentName: ["agent_name", TEXT_CAPS.name],
  metadata: ["metadata", TEXT_CAPS.metadata],
} as const;

describe("an encoded event", () => {
  it("has its keys in the order of the reference, whatever the order of the fields", () => {
    expect(Object.keys(parse(full))).toEqual(
      (
        "time type event request_id attempt agent actor actor_type ip agent_name route secret version method scheme " +
        "authority path decision code status bytes_up bytes_down ms reflected count outcome reason metadata"
      ).split(" "),
    );
    expect(parse(full)["ms"]).toEqual({ total: 12, source: 0.5, upstream: 7.123 });
    expect(Object.keys(parse(full)["ms"] as object)).toEqual(["total", "source", "upstream"]);
  });

  it("leaves absent, undefined and non-finite values out", () => {
    expect(parse({ type: "stop", agent: undefined, status: Number.NaN })).toEqual({ time: TIME, type: "stop" });
    expect(parse({ type: "outcome", ms: { total: Number.POSITIVE_INFINITY } })["ms"]).toEqual({});
    expect(parse({ type: "outcome", ms: { upstream: 1 } })["ms"]).toEqual({ upstream: 1 });
  });

  it("leaves out who did it where it does not say what", () => {
    const { event, ...unnamed } = full;
    expect(event).toBe("secret.read");
    const record = parse(unnamed);
    for (const key of ["event", "actor", "actor_type", "ip", "agent_name", "metadata"])
      expect(record).not.toHaveProperty(key);
  });

  it.each(Object.entries(TEXTS))(
    "gives hostile text in %s back up to its cap, in one printable line",
    (field, [key, cap]) => {
      for (const text of HOSTILE) {
        const line = encodeEvent({ type: "refusal", event: "secret.read", [field]: text }, TIME);
        expect(line).toMatch(/^[ -~]*$/);
        expect(JSON.parse(`{${line}}`)[key]).toBe(text.slice(0, cap));
      }
    },
  );

  it("gives any text back up to its cap", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 400 }), fc.string({ maxLength: 3000 }), (reason, path) => {
        const line = encodeEvent({ type: "refusal", reason, path }, TIME);
        expect(line).toMatch(/^[ -~]*$/);
        const record = JSON.parse(`{${line}}`);
        expect(record.reason).toBe(reason.slice(0, TEXT_CAPS.reason));
        expect(record.path).toBe(path.slice(0, TEXT_CAPS.path));
      }),
    );
  });
});

describe("phrases", () => {
  it("change nothing of what is said, whatever was said before", () => {
    const word = fc.option(fc.constantFrom("", "a", "b", "ü", "x".repeat(300)), { nil: undefined });
    const texts = ["agent", "route", "secret", "version", "method", "authority", "path", "event", "actor", "reason"];
    const event = fc.record(
      {
        type: fc.constantFrom("intent", "outcome", "refusal", "secret"),
        scheme: fc.constantFrom("http", "https", undefined),
        attempt: fc.constantFrom(undefined, 2),
        ...Object.fromEntries(texts.map((name) => [name, word])),
      },
      { requiredKeys: ["type"] },
    ) as fc.Arbitrary<AuditEvent>;
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        const phrases = createPhrases();
        for (const one of events) expect(encodeEvent(one, TIME, phrases)).toBe(encodeEvent(one, TIME));
      }),
      { numRuns: 300 },
    );
  });

  it("keep nothing apart that differs in one of its parts", () => {
    const phrases = createPhrases();
    const base: AuditEvent = {
      type: "intent",
      agent: "a",
      route: "r",
      secret: "s",
      version: "1",
      method: "GET",
      scheme: "https",
      authority: "h:1",
    };
    const others = {
      agent: "b",
      secret: "t",
      version: "2",
      method: "PUT",
      scheme: "http",
      authority: "h:2",
      event: "e",
    } as const;
    for (const [name, other] of Object.entries(others)) {
      for (const one of [base, { ...base, [name]: other }, { ...base, [name]: undefined }, base]) {
        expect(encodeEvent(one, TIME, phrases)).toBe(encodeEvent(one, TIME));
      }
    }
  });
});

describe("a timestamp", () => {
  it("follows the clock to the millisecond, backwards too", () => {
    let at = 0;
    const timestamp = createTimestamp(() => at);
    expect(timestamp()).toBe("1970-01-01T00:00:00.000Z");
    at = 1_700_000_000_123;
    expect(timestamp()).toBe("2023-11-14T22:13:20.123Z");
    expect(timestamp()).toBe("2023-11-14T22:13:20.123Z");
    at = 1;
    expect(timestamp()).toBe("1970-01-01T00:00:00.001Z");
  });
});
